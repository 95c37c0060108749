/* 256-bit vectors with fused multiply-add: 16 registers. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "rnnfast.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,tune=haswell"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,tune=haswell")
#endif

#define ISA          avx2
#define VECTOR_BYTES 32
#define TILE_ROWS    3

#define X86_PREFIX _mm256
#define REAL_BITS  32
#include "step.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "step.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
