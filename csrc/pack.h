/* Packing: weights in the order in which the tile reads them. */
#pragma once

#include "tile.h"

/* LANES vectors to their transpose: each round rotates the bits of (vector, lane) by one. */
INLINE void transpose(vec *a)
{
    UNROLL
    for (int round = 1; round < LANES; round *= 2) {
        vec b[LANES];
        UNROLL
        for (int i = 0; i < LANES / 2; i++) {
            b[i] = evens(a[2 * i], a[2 * i + 1]);
            b[i + LANES / 2] = odds(a[2 * i], a[2 * i + 1]);
        }
        memcpy(a, b, sizeof b);
    }
}

/* LANES of k for n units, whose weights are rows of `from`. */
INLINE void pack_square(real *to, ptrdiff_t next, const real *from, ptrdiff_t row, ptrdiff_t n)
{
    vec a[LANES];
    for (int l = 0; l < LANES; l++) a[l] = l < n ? load(from + l * row) : (vec){0};
    transpose(a);
    for (int k = 0; k < LANES; k++) store(to + k * next, a[k]);
}

/* V vectors of the n units from `from` on, whose weights are `column` apart: k by k, as each may be
 * in a page of its own. */
INLINE void pack_columns(real *to, const real *from, ptrdiff_t column, ptrdiff_t n, ptrdiff_t n_in,
                         int V)
{
    for (ptrdiff_t k = 0; k < n_in; k++, from += column)
        for (int v = 0; v < V; v++, to += LANES) store(to, load_n(from + v * LANES, n - v * LANES));
}

static void pack(void *dst, const void *src, ptrdiff_t row, ptrdiff_t column, ptrdiff_t hidden,
                 ptrdiff_t n_in, ptrdiff_t at, ptrdiff_t n_all, int gates, const int *order,
                 ptrdiff_t p0, ptrdiff_t p1)
{
    for (ptrdiff_t p = p0; p < p1; p++) {
        const int V = gates == 1 ? panel_vectors(hidden, p) : gates;
        real *panel = (real *)dst + p * n_all * (gates == 1 ? RNNFAST_VECTORS : gates) * LANES;
        if (gates == 1 && row == 1) {
            const ptrdiff_t u = p * RNNFAST_VECTORS * LANES;
            pack_columns(panel + at * V * LANES, (const real *)src + u, column, hidden - u, n_in,
                         V);
            continue;
        }
        for (int v = 0; v < V; v++) {
            const ptrdiff_t u = (gates == 1 ? p * RNNFAST_VECTORS + v : p) * LANES;
            const ptrdiff_t n = hidden - u < LANES ? hidden - u : LANES;
            const ptrdiff_t gate = gates == 1 ? 0 : order[v];
            const real *from = (const real *)src + (gate * hidden + u) * row;
            const ptrdiff_t next = V * LANES; /* from one k to the next */
            real *to = panel + (at * V + v) * LANES;
            ptrdiff_t k = 0;
            for (; column == 1 && k + LANES <= n_in; k += LANES, to += LANES * next)
                pack_square(to, next, from + k, row, n);
            for (; k < n_in; k++, to += next) {
                for (ptrdiff_t l = 0; l < n; l++) to[l] = from[l * row + k * column];
                for (ptrdiff_t l = n; l < LANES; l++) to[l] = 0;
            }
        }
    }
}
