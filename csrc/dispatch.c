/* Which instruction sets were compiled in, which of them this processor runs, and the state of its
 * floating-point unit. The ladder is ordered slowest first; the last usable row is the default. */
#include "rnnfast.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define TABLES(isa) extern const rnnfast_kernels rnnfast_table_f32_##isa, rnnfast_table_f64_##isa;
TABLES(baseline)
#if defined(__x86_64__)
TABLES(avx2)
TABLES(avx512)

/* __builtin_cpu_supports also asks the operating system whether it saves the wide registers. */
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

const rnnfast_cell rnnfast_cells[RNNFAST_CELLS] = {
    [RNNFAST_RNN_TANH] = {.name = "rnn_tanh", .gates = 1, .slots = 1},
    [RNNFAST_RNN_RELU] = {.name = "rnn_relu", .gates = 1, .slots = 1},
    [RNNFAST_LSTM] =
        {.name = "lstm", .gates = 4, .slots = 4, .has_cell_state = 1, .order = {0, 1, 2, 3}},
    [RNNFAST_GRU] = {.name = "gru",
                     .gates = 3,
                     .slots = 4,
                     .h_slot = 1,
                     .carries_dh = 1,
                     .order = {2, 0, 1, 2}},
    [RNNFAST_GRU_RESET_BEFORE] = {.name = "gru_reset_before",
                                  .gates = 3,
                                  .slots = 3,
                                  .carries_dh = 1,
                                  .reset_before = 1,
                                  .order = {2, 0, 1}},
};

#if defined(__x86_64__)
enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040 };

unsigned long long rnnfast_fp_enter(void)
{
    const unsigned state = _mm_getcsr();
    _mm_setcsr(state | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
    return state;
}

/* Flags that the call raised are dropped with the rest: the caller's state comes back whole. */
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
