/* Which instruction sets were compiled in, and which of them this processor runs. The ladder is
 * ordered slowest first; the last usable row is the default. */
#include "rnnfast.h"

#include <string.h>

#define TABLES(isa) extern const rnnfast_kernels rnnfast_table_f32_##isa, rnnfast_table_f64_##isa;
TABLES(baseline)
#if defined(__x86_64__)
TABLES(avx2)
TABLES(avx512)

/* __builtin_cpu_supports also checks that the operating system saves the wide registers. */
static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

static int always(void) { return 1; }

static const struct {
    const char *name;
    int (*usable)(void);
    const rnnfast_kernels *f32, *f64;
} ladder[] = {
#define ROW(isa, usable) {#isa, usable, &rnnfast_table_f32_##isa, &rnnfast_table_f64_##isa}
    ROW(baseline, always),
#if defined(__x86_64__)
    ROW(avx2, has_avx2),
    ROW(avx512, has_avx512),
#endif
};

int rnnfast_isa_count(void) { return (int)(sizeof ladder / sizeof *ladder); }

const char *rnnfast_isa_name(int isa) { return ladder[isa].name; }

int rnnfast_isa_usable(int isa) { return ladder[isa].usable(); }

int rnnfast_isa_find(const char *name)
{
    for (int isa = rnnfast_isa_count() - 1; isa >= 0; isa--)
        if (name ? !strcmp(name, ladder[isa].name) : ladder[isa].usable()) return isa;
    return -1;
}

const rnnfast_kernels *rnnfast_table(int isa, int itemsize)
{
    return itemsize == 4 ? ladder[isa].f32 : ladder[isa].f64;
}
