/* The vector type for one instruction set (a header of isa/) and one real type (REAL_BITS), and its
 * basic operations. Every kernel builds on this file. */
#pragma once

#include <math.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "rnnfast.h"

#define STRING_(x) #x
#define STRING(x)  STRING_(x)

/* From here on the compiler may use the extensions that TARGET lists. Clang also needs an end,
 * which stands in table.h. */
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
/* The same vector at any address, so that loads and stores need no alignment. */
typedef real uvec __attribute__((vector_size(VECTOR_BYTES), aligned(sizeof(real)), may_alias));

/* Unrolls early, before the compiler decides where arrays live, so that small arrays of vectors end
 * up in registers. */
#define UNROLL _Pragma("GCC unroll 8")

#define INLINE static inline __attribute__((always_inline))

INLINE vec splat(real x) { return x - (vec){0}; /* unlike x + 0, keeps the sign of a zero */ }

INLINE vec load(const real *p) { return *(const uvec *)p; }

INLINE void store(real *p, vec a) { *(uvec *)p = a; }

/* A mask of the first n lanes. */
INLINE ivec first_lanes(ptrdiff_t n)
{
    ivec lane;
    for (int l = 0; l < LANES; l++) lane[l] = l;
    return lane < (bits)n;
}

/* m ? a : b in each lane, where m is the result of a comparison. */
INLINE vec choose(ivec m, vec a, vec b) { return (vec)((m & (ivec)a) | (~m & (ivec)b)); }

/* Instructions that compilers do not reliably select by themselves. */
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

/* The first n elements; the other lanes are zero. */
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

/* The same where everything in [p, end) may be read: the other lanes are arbitrary. */
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

/* The minimum, or maximum, of a and `bound`; a NaN in a stays. */
INLINE vec vmin(vec a, real bound) { return (vec)X86(min)(splat(bound), a); }

INLINE vec vmax(vec a, real bound) { return (vec)X86(max)(splat(bound), a); }

/* The even lanes of a, then those of b; likewise the odd lanes. */
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
