/* Element-wise operations on arrays, and the sum of squares. */
#pragma once

#include "act.h"

static void add(void *to, ptrdiff_t step, const void *what, ptrdiff_t n)
{
    if (step == 1)
        for (ptrdiff_t i = 0; i < n; i++) ((real *)to)[i] += ((const real *)what)[i];
    else
        for (ptrdiff_t i = 0; i < n; i++) ((real *)to)[i * step] += ((const real *)what)[i];
}

static void multiply(void *to, const void *by, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) ((real *)to)[i] *= ((const real *)by)[i];
}

/* Adds into SUMS interleaved sums, the same on every instruction set. */
static double sum_squares(const void *x, ptrdiff_t n)
{
    enum { SUMS = 16 };
    double sums[SUMS] = {0}, total = 0;
    const real *p = x;
    ptrdiff_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int l = 0; l < SUMS; l++) sums[l] += (double)p[i + l] * p[i + l];
    for (int l = 0; i < n; i++, l++) sums[l] += (double)p[i] * p[i];
    for (int l = 0; l < SUMS; l++) total += sums[l];
    return total;
}

static void activate(int f, const void *x, void *y, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        vec a = load_n((const real *)x + i, n - i);
        if (f)
            vtanh(1, &a);
        else
            sigmoid(1, &a);
        store_n((real *)y + i, a, n - i);
    }
}
