/* 128-bit vectors, what every processor of the platform has: SSE2 on x86-64, NEON on aarch64. */
#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "rnnfast.h"

#define ISA          baseline
#define VECTOR_BYTES 16
#if defined(__aarch64__)
#define TILE_ROWS 6 /* 32 registers */
#else
#define TILE_ROWS 3 /* 16 registers */
#endif

#define X86_PREFIX _mm
#define REAL_BITS  32
#include "step.h"
#undef REAL_BITS
#define REAL_BITS 64
#include "step.h"
