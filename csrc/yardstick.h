/* Loops that measure the peak of a processor: FMAs a second, and bandwidth. */
#pragma once

#include "tile.h"

/* As many independent chains of FMAs as a tile has sums, on registers alone: the tile itself may be
 * slower. Without FMA such a chain waits for two instructions, so that the tile is faster. The
 * operands come from a volatile: the compiler can neither know the sums nor that they are equal. */
static double fma_loop(ptrdiff_t loops)
{
    volatile real opaque = 0;
#if VECTOR_BYTES > 16 || defined(__aarch64__)
    const vec x = splat(opaque), y = splat(opaque);
    vec s[TILE_ROWS][TILE_VECTORS];
    UNROLL
    for (int r = 0; r < TILE_ROWS; r++) {
        UNROLL
        for (int v = 0; v < TILE_VECTORS; v++) s[r][v] = splat(opaque);
    }
    for (ptrdiff_t n = 0; n < loops; n++) {
        UNROLL
        for (int r = 0; r < TILE_ROWS; r++) {
            UNROLL
            for (int v = 0; v < TILE_VECTORS; v++) s[r][v] = s[r][v] * x + y;
        }
    }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < TILE_VECTORS; v++) opaque = s[r][v][0];
#else
    real weight[RNNFAST_VECTORS * LANES], x[TILE_ROWS];
    for (int i = 0; i < RNNFAST_VECTORS * LANES; i++) weight[i] = opaque;
    for (int r = 0; r < TILE_ROWS; r++) x[r] = opaque;
    vec acc[TILE_SUMS];
    const operand op = {.a = x, .row = 1, .w = weight, .n = loops};
    tiles[TILE_ROWS - 1][RNNFAST_VECTORS - 1](acc, 0, &op, 1, (origin){weight, 0}, 1, NULL);
    for (int i = 0; i < TILE_SUMS; i++) opaque = acc[i][0];
#endif
    return 2.0 * TILE_SUMS * LANES * (double)loops;
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
