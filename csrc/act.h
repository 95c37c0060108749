/* exp, sigmoid and tanh of vectors, in place, with an error of less than 4 ulp. docs/numerics.md
 * has the errors that benchmarks/accuracy.py measured. NaN stays NaN.
 *
 * Each function takes the n vectors of a group and applies one operation after the other to all of
 * them: see group.h. */
#pragma once

#include "group.h"

/* exp(y) = 2^n (1 + p) with y = n ln 2 + r, |r| <= ln 2 / 2 and p = exp(r) - 1. The polynomial for
 * p is r + r^2 q(r), where q interpolates in Chebyshev nodes (mpmath.chebyfit). ln 2 is split in
 * two so that n times the high part is exact. Adding 1.5 * 2^mantissa rounds to an integer. */
#if REAL_BITS == 32
#define EXP_BOUND 87.0f /* exp(+-87) is a normal float */
#define EXP_BIAS  127
#define MANTISSA  23
#define ROUNDER   12582912.0f
#define LOG2E     1.4426950408889634f
#define LN2_HIGH  0.693145751953125f
#define LN2_LOW   1.428606765330187e-06f
static const float exp_q[] = {1.39261840e-3f, 8.36317893e-3f, 4.16665561e-2f, 1.66665763e-1f, 0.5f};
#else
#define EXP_BOUND 708.0
#define EXP_BIAS  1023
#define MANTISSA  52
#define ROUNDER   6755399441055744.0
#define LOG2E     1.4426950408889634
#define LN2_HIGH  0.6931471805592082
#define LN2_LOW   7.371002565167799e-13
static const double exp_q[] = {2.510038549551032e-08,  2.7620088445409746e-07,
                               2.7557268459997064e-06, 2.4801521295954376e-05,
                               1.9841269863053618e-04, 1.3888888917213717e-03,
                               8.3333333333300615e-03, 4.1666666666624129e-02,
                               1.6666666666666669e-01, 0.5};
#endif

/* p and scale with exp(y) = scale (1 + p), for |y| <= EXP_BOUND. */
INLINE void exp_parts(const int n, const vec *y, vec *p, vec *scale)
{
    vec r[GROUP], q[GROUP];
    EACH(e) scale[e] = y[e] * LOG2E + ROUNDER;
    EACH(e) q[e] = scale[e] - ROUNDER;
    EACH(e) r[e] = y[e] - q[e] * LN2_HIGH;
    EACH(e) r[e] = r[e] - q[e] * LN2_LOW;
    EACH(e) q[e] = splat(exp_q[0]);
    UNROLL
    for (size_t i = 1; i < sizeof exp_q / sizeof(real); i++)
        EACH(e) q[e] = q[e] * r[e] + exp_q[i];
    EACH(e) scale[e] = (vec)(((ivec)scale[e] + EXP_BIAS) << MANTISSA);
    EACH(e) p[e] = r[e] * r[e];
    EACH(e) p[e] = p[e] * q[e] + r[e];
}

/* 1 / (1 + exp(-x)). The left tail keeps its relative accuracy down to x = -EXP_BOUND. */
INLINE void sigmoid(const int n, vec *x)
{
    vec p[GROUP], scale[GROUP];
    EACH(e) x[e] = vmin(-x[e], EXP_BOUND);
    EACH(e) x[e] = vmax(x[e], -EXP_BOUND);
    exp_parts(n, x, p, scale);
    EACH(e) p[e] = scale[e] * p[e] + scale[e];
    EACH(e) p[e] = 1 + p[e];
    EACH(e) x[e] = 1 / p[e];
}

/* tanh |x| = m / (m + 2) with m = exp(2 |x|) - 1, which does not cancel near 0. For
 * |x| > EXP_BOUND / 4 it rounds to 1. */
INLINE void vtanh(const int n, vec *x)
{
    vec p[GROUP], scale[GROUP], y[GROUP];
    const ivec sign = (ivec)splat((real)-0.0);
    EACH(e) y[e] = vmin((vec)((ivec)x[e] & ~sign), EXP_BOUND / 4);
    EACH(e) y[e] = y[e] + y[e];
    exp_parts(n, y, p, scale);
    EACH(e) y[e] = scale[e] - 1;
    EACH(e) p[e] = scale[e] * p[e] + y[e];
    EACH(e) y[e] = p[e] + 2;
    EACH(e) y[e] = p[e] / y[e];
    EACH(e) x[e] = (vec)((ivec)y[e] | ((ivec)x[e] & sign));
}
