/* exp, sigmoid and tanh on vectors, within 4 ulp: benchmarks/accuracy.py measures them, figures in
 * docs/numerics.md. NaN stays NaN. */

/* exp(y) - 1 = 2^n (1 + p) - 1 with y = n ln 2 + r, |r| <= ln 2 / 2 and p = exp(r) - 1 by a
 * polynomial, r + r^2 q(r), with q interpolated in Chebyshev nodes (mpmath.chebyfit). ln 2 is split
 * so that n times its high part is exact. Adding 1.5 * 2^mantissa rounds to an integer. */
#if REAL_BITS == 32
#define EXP_BOUND 87.0f /* exp(+-87) is a normal float */
#define EXP_BIAS  127
#define MANTISSA  23
#define ROUNDER   12582912.0f
#define LOG2E     1.4426950408889634f
#define LN2_HIGH  0.693145751953125f
#define LN2_LOW   1.428606765330187e-06f
static const float NAME(exp_q)[] = {1.39261840e-3f, 8.36317893e-3f, 4.16665561e-2f, 1.66665763e-1f,
                                    0.5f};
#else
#define EXP_BOUND 708.0
#define EXP_BIAS  1023
#define MANTISSA  52
#define ROUNDER   6755399441055744.0
#define LOG2E     1.4426950408889634
#define LN2_HIGH  0.6931471805592082
#define LN2_LOW   7.371002565167799e-13
static const double NAME(exp_q)[] = {2.510038549551032e-08,  2.7620088445409746e-07,
                                     2.7557268459997064e-06, 2.4801521295954376e-05,
                                     1.9841269863053618e-04, 1.3888888917213717e-03,
                                     8.3333333333300615e-03, 4.1666666666624129e-02,
                                     1.6666666666666669e-01, 0.5};
#endif

/* For |y| <= EXP_BOUND: p and scale with exp(y) = scale (1 + p). */
INLINE vec NAME(exp_parts)(vec y, vec *scale)
{
    const vec shifted = y * LOG2E + ROUNDER;
    const vec n = shifted - ROUNDER;
    const vec r = (y - n * LN2_HIGH) - n * LN2_LOW;
    vec q = splat(NAME(exp_q)[0]);
    for (size_t i = 1; i < sizeof NAME(exp_q) / sizeof(real); i++) q = q * r + NAME(exp_q)[i];
    *scale = (vec)(((ivec)shifted + EXP_BIAS) << MANTISSA);
    const vec rr = r * r;
    return rr * q + r;
}

/* 1 / (1 + exp(-x)); its left tail keeps relative accuracy down to x = -EXP_BOUND. */
INLINE vec NAME(sigmoid)(vec x)
{
    vec scale;
    const vec p = NAME(exp_parts)(vmax(vmin(-x, EXP_BOUND), -EXP_BOUND), &scale);
    const vec e = scale * p + scale;
    return 1 / (1 + e);
}

/* tanh |x| = m / (m + 2), m = exp(2 |x|) - 1, accurate near 0 since no digits cancel there;
 * |x| > EXP_BOUND / 4 is 1 to the last bit. */
INLINE vec NAME(tanh)(vec x)
{
    const ivec sign = (ivec)x & (ivec)splat((real)-0.0);
    const vec magnitude = vmin((vec)((ivec)x ^ sign), EXP_BOUND / 4);
    vec scale;
    const vec p = NAME(exp_parts)(magnitude + magnitude, &scale);
    const vec m = scale * p + (scale - 1);
    return (vec)((ivec)(m / (m + 2)) | sign);
}

#define sigmoid NAME(sigmoid)
#define vtanh   NAME(tanh)

#undef EXP_BOUND
#undef EXP_BIAS
#undef MANTISSA
#undef ROUNDER
#undef LOG2E
#undef LN2_HIGH
#undef LN2_LOW
