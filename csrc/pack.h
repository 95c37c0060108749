/* Packing: weights in the order in which the tile reads them. */
#pragma once

#include "tile.h"

static void pack(void *dst, const void *src, ptrdiff_t row, ptrdiff_t column, ptrdiff_t hidden,
                 ptrdiff_t n_in, ptrdiff_t at, ptrdiff_t n_all, int gates, const int *order,
                 ptrdiff_t p0, ptrdiff_t p1)
{
    for (ptrdiff_t p = p0; p < p1; p++) {
        const int V = gates == 1 ? panel_vectors(hidden, p) : gates;
        real *panel = (real *)dst + p * n_all * (gates == 1 ? RNNFAST_VECTORS : gates) * LANES;
        for (int v = 0; v < V; v++) {
            const ptrdiff_t u = (gates == 1 ? p * RNNFAST_VECTORS + v : p) * LANES;
            const ptrdiff_t n = hidden - u < LANES ? hidden - u : LANES;
            const ptrdiff_t gate = gates == 1 ? 0 : order[v];
            const real *from = (const real *)src + (gate * hidden + u) * row;
            for (ptrdiff_t k = 0; k < n_in; k++) {
                real *to = panel + ((at + k) * V + v) * LANES;
                for (ptrdiff_t l = 0; l < n; l++) to[l] = from[l * row + k * column];
                for (ptrdiff_t l = n; l < LANES; l++) to[l] = 0;
            }
        }
    }
}
