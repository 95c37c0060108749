/* 512-bit vectors: 32 registers. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "rnnfast.h"

#if defined(__clang__)
#pragma clang attribute push(                                                                      \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,tune=haswell"))),           \
    apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,tune=haswell")
#endif

#define ISA          avx512
#define VECTOR_BYTES 64
#define TILE_ROWS    6

#define X86_PREFIX _mm512
#define REAL_BITS  32
#include "step.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "step.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
