// Between the program and the C library: fails the Nth aligned allocation, which the engine alone
// makes, and counts those not yet freed.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
long countdown, alive;
enum { N = 256 };
static void *kept[N];
int posix_memalign(void **p, size_t alignment, size_t size)
{
    static int (*real)(void **, size_t, size_t);
    if (!real) real = (int (*)(void **, size_t, size_t))dlsym(RTLD_NEXT, "posix_memalign");
    if (countdown > 0 && --countdown == 0) return ENOMEM;
    const int failed = real(p, alignment, size);
    for (int i = 0; i < N && !failed; i++)
        if (!kept[i]) { kept[i] = *p; alive++; break; }
    return failed;
}
void free(void *p)
{
    static void (*real)(void *);
    if (!real) real = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    for (int i = 0; i < N && p && alive; i++)
        if (kept[i] == p) { kept[i] = NULL; alive--; break; }
    real(p);
}
