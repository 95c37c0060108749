/* The vector type of one instruction set (a file of isa/) and one real type (REAL_BITS), and its
 * few operations. All kernels stand on this file. */
#pragma once

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "rnnfast.h"

#define STRING_(x) #x
#define STRING(x)  STRING_(x)

/* From here on the compiler may use what TARGET lists; Clang wants its end, which table.h has. */
#ifdef TARGET
#if defined(__clang__)
#define TARGET_STARTS clang attribute push(__attribute__((target(TARGET))), apply_to = function)
_Pragma(STRING(TARGET_STARTS))
#else
_Pragma(STRING(GCC target(TARGET)))
#endif
#endif

#if REAL_BITS == 32
    typedef float real;
typedef int bits;
#define LANES     (VECTOR_BYTES / 4)
#define REAL_SQRT __builtin_sqrtf
#else
typedef double real;
typedef long long bits;
#define LANES     (VECTOR_BYTES / 8)
#define REAL_SQRT __builtin_sqrt
#endif

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef bits ivec __attribute__((vector_size(VECTOR_BYTES)));
/* The same vector at any address: loads and stores never fault on alignment. */
typedef real uvec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

/* Before the compiler places arrays of vectors, so that it sees no array but registers. */
#define UNROLL _Pragma("GCC unroll 8")

#define INLINE static inline __attribute__((always_inline))

INLINE vec splat(real x) { return x - (vec){0}; /* x - 0 keeps the sign of zero, x + 0 does not */ }

INLINE vec load(const real *p) { return *(const uvec *)p; }

INLINE void store(real *p, vec a) { *(uvec *)p = a; }

/* Lane by lane whether it is one of the first n. */
INLINE ivec first_lanes(ptrdiff_t n)
{
    ivec lane;
    for (int l = 0; l < LANES; l++) lane[l] = l;
    return lane < (bits)n;
}

/* Lane by lane m ? a : b, for a mask as comparisons make it. */
INLINE vec choose(ivec m, vec a, vec b) { return (vec)((m & (ivec)a) | (~m & (ivec)b)); }

/* Instructions that compilers do not reliably find for themselves. */
#if defined(__x86_64__)
#define X86_PASTE(prefix, op, type) prefix##_##op##_##type
#define X86_NAME(prefix, op, type)  X86_PASTE(prefix, op, type)
#define X86(op)                     X86_NAME(X86_PREFIX, op, X86_TYPE)
#if REAL_BITS == 32
#define X86_TYPE ps
#else
#define X86_TYPE pd
#endif
#else
#define X86_min(bound, a) choose(bound < a, bound, a)
#define X86_max(bound, a) choose(bound > a, bound, a)
#define X86(op)           X86_##op
#endif

/* The first n of LANES elements; the other lanes read as zero. */
INLINE vec load_n(const real *p, ptrdiff_t n)
{
    if (n >= LANES) return load(p);
#if VECTOR_BYTES == 64
    return (vec)X86(maskz_loadu)((__mmask16)((1u << n) - 1), p);
#elif VECTOR_BYTES == 32
    return (vec)X86(maskload)(p, (__m256i)first_lanes(n));
#else
    vec a = {0};
    for (ptrdiff_t l = 0; l < n; l++) a[l] = p[l];
    return a;
#endif
}

/* The same where all of [p, end) may be read: the other lanes are then whatever comes next. */
INLINE vec load_before(const real *p, ptrdiff_t n, const real *end)
{
    return end - p >= LANES ? load(p) : load_n(p, n);
}

INLINE void store_n(real *p, vec a, ptrdiff_t n)
{
    if (n >= LANES) {
        store(p, a);
        return;
    }
#if VECTOR_BYTES == 64
    X86(mask_storeu)(p, (__mmask16)((1u << n) - 1), a);
#elif VECTOR_BYTES == 32
    X86(maskstore)(p, (__m256i)first_lanes(n), a);
#else
    for (ptrdiff_t l = 0; l < n; l++) p[l] = a[l];
#endif
}

/* The smaller, or larger, of a and `bound`; NaN stays NaN. */
INLINE vec vmin(vec a, real bound) { return (vec)X86(min)(splat(bound), a); }

INLINE vec vmax(vec a, real bound) { return (vec)X86(max)(splat(bound), a); }

/* Every second lane of a and then of b, from lane 0 on and from lane 1 on. */
#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (ivec){__VA_ARGS__})
#endif
#if LANES == 2
#define EVEN_LANES 0, 2
#define ODD_LANES  1, 3
#elif LANES == 4
#define EVEN_LANES 0, 2, 4, 6
#define ODD_LANES  1, 3, 5, 7
#elif LANES == 8
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14
#define ODD_LANES  1, 3, 5, 7, 9, 11, 13, 15
#else
#define EVEN_LANES 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD_LANES  1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#endif
INLINE vec evens(vec a, vec b) { return SHUFFLE(a, b, EVEN_LANES); }

INLINE vec odds(vec a, vec b) { return SHUFFLE(a, b, ODD_LANES); }

INLINE vec square_root(vec a)
{
    vec y;
    for (int l = 0; l < LANES; l++) y[l] = REAL_SQRT(a[l]);
    return y;
}
