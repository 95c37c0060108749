/* The state of the floating-point unit. While the engine computes, denormals are flushed to zero:
 * operations on them take many times as long. */
#include "rnnfast.h"

#if defined(__x86_64__)
#include <immintrin.h>

enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040 };

unsigned long long rnnfast_fp_enter(void)
{
    const unsigned state = _mm_getcsr();
    _mm_setcsr(state | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    return state;
}

/* The caller's whole state comes back, so flags raised in between are dropped. */
void rnnfast_fp_leave(unsigned long long state) { _mm_setcsr((unsigned)state); }
#elif defined(__aarch64__)
unsigned long long rnnfast_fp_enter(void)
{
    unsigned long long state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state));
    __asm__ volatile("msr fpcr, %0" : : "r"(state | 1ull << 24));
    return state;
}

void rnnfast_fp_leave(unsigned long long state) { __asm__ volatile("msr fpcr, %0" : : "r"(state)); }
#else
unsigned long long rnnfast_fp_enter(void) { return 0; }

void rnnfast_fp_leave(unsigned long long state) { (void)state; }
#endif
