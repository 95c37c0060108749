/* Loops that measure the peak of a processor: FMAs a second, and bandwidth. */
#pragma once

#include "tile.h"

/* The FMAs of a whole tile, on registers and the first-level cache alone. The operands come from a
 * volatile, so that the compiler cannot know the sums. */
static double fma_loop(ptrdiff_t loops)
{
    volatile real opaque = 0;
    real weight[RNNFAST_VECTORS * LANES], x[TILE_ROWS];
    for (int i = 0; i < RNNFAST_VECTORS * LANES; i++) weight[i] = opaque;
    for (int r = 0; r < TILE_ROWS; r++) x[r] = opaque;
    vec acc[TILE_ROWS * RNNFAST_VECTORS];
    const operand op = {.a = x, .row = 1, .w = weight, .n = loops};
    tiles[TILE_ROWS - 1][RNNFAST_VECTORS - 1](acc, 0, &op, 1, (origin){weight, 0}, 1, NULL);
    for (int i = 0; i < TILE_ROWS * RNNFAST_VECTORS; i++) opaque = acc[i][0];
    return 2.0 * TILE_ROWS * RNNFAST_VECTORS * LANES * (double)loops;
}

/* Reads x, n numbers, `loops` times: the bandwidth of the cache, or memory, that holds them. */
static double read_loop(const void *x, ptrdiff_t n, ptrdiff_t loops)
{
    enum { CHAINS = 8 };
    volatile real opaque;
    vec acc[CHAINS] = {{0}};
    n -= n % (CHAINS * LANES);
    for (ptrdiff_t k = 0; k < loops; k++)
        for (ptrdiff_t i = 0; i < n; i += CHAINS * LANES) {
            UNROLL
            for (int j = 0; j < CHAINS; j++) acc[j] += load((const real *)x + i + j * LANES);
        }
    for (int j = 0; j < CHAINS; j++) opaque = acc[j][0];
    (void)opaque;
    return (double)loops * (double)(n * (ptrdiff_t)sizeof(real));
}
