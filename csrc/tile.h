/* The register tile: R rows x P panels x V vectors of sums that stay in registers for the whole k
 * loop. Every product in rnnfast runs here: gates, matmul, and, with rows as its k axis, weight
 * gradients. P is 1, or 2 where rows are so few that one panel's sums would wait for each other.
 *
 * Each element is one chain of multiply-adds, fused where the instruction set can, in the order of
 * the operands and of k, whatever the tile's size: so results depend neither on threads nor on how
 * rows were dealt to tiles. */
#pragma once

#include "vec.h"

/* acc[j][r][first + v] += sum over n of a[r * row + n * step]
 *                                   * w[j * next + n * pitch + v * LANES + lane] */
typedef struct {
    const real *a;
    ptrdiff_t row, step;
    const real *w;
    ptrdiff_t next, pitch, n, first;
} operand;

/* Where the sums of a tile's rows start: at(r)[j * 4 + v], or at zero where `at` is NULL. */
typedef struct {
    const real *at;
    ptrdiff_t row;
} origin;

#define LINE       (RNNFAST_LINE / (ptrdiff_t)sizeof(real))
#define FETCHES(R) ((R) > 2 * TILE_ROWS / 3) /* tiles of fewer rows have no time to spare */

/* An operand's products, into vectors first to first + V of the W of each panel; for each k the
 * next of the lines that start at `line` comes to the second-level cache. */
INLINE void products(const int R, const int P, const int V, const int W, const int first,
                     vec s[TILE_ROWS][2 * RNNFAST_VECTORS], const operand *op, const real *line,
                     ptrdiff_t line_step)
{
    const real *a = op->a, *w = op->w;
    const ptrdiff_t row = op->row, step = op->step, pitch = op->pitch, next = op->next;
    for (ptrdiff_t n = op->n; n > 0; n--, a += step, w += pitch) {
        if (FETCHES(R)) {
            __builtin_prefetch(line, 0, 2);
            line += line_step;
        }
        vec weight[2 * RNNFAST_VECTORS];
        UNROLL
        for (int v = 0; v < P * V; v++) weight[v] = load(w + v / V * next + v % V * LANES);
        UNROLL
        for (int r = 0; r < R; r++) {
            const vec x = splat(a[r * row]);
            UNROLL
            for (int v = 0; v < P * V; v++) s[r][v / V * W + first + v % V] += x * weight[v];
        }
    }
}

/* acc [P][acc_next / 4][4] = origin + operands, or, unless `fresh`, is added to; a tile of fewer
 * vectors uses the first ones of each row. The origin may be acc itself. W: vectors of a row that
 * have a sum, V: those that an operand feeds; only a GRU's differ (4 and 3).
 *
 * Meanwhile lines that a later tile will read come to the second-level cache: those from `fetch`
 * on, if it is not NULL. Sums from zero are a weight gradient's, whose k are rows of a wide array:
 * there the next line of each row comes. */
INLINE void tile(const int R, const int P, const int V, const int W, vec *acc, ptrdiff_t acc_next,
                 const operand *op, int n_op, origin start, int fresh, const real *fetch)
{
    vec s[TILE_ROWS][2 * RNNFAST_VECTORS];
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int v = 0; v < P * W; v++)
            s[r][v] =
                start.at
                    ? load(start.at + r * start.row + (v / W * RNNFAST_VECTORS + v % W) * LANES)
                    : (vec){0};
    }
    for (; n_op > 0; n_op--, op++) {
        const real *line = !start.at ? op->a + LINE : fetch ? fetch : (const real *)acc;
        const ptrdiff_t line_step = !start.at ? op->step : fetch ? LINE : 0;
        if (W > V && op->first)
            products(R, P, V, W, W - V, s, op, line, line_step);
        else
            products(R, P, V, W, 0, s, op, line, line_step);
        if (fetch) fetch += op->n * LINE;
    }
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int v = 0; v < P * W; v++) {
            vec *sum = acc + v / W * acc_next + r * RNNFAST_VECTORS + v % W;
            *sum = fresh ? s[r][v] : *sum + s[r][v];
        }
    }
}

typedef void (*tile_fn)(vec *acc, ptrdiff_t acc_next, const operand *op, int n_op, origin start,
                        int fresh, const real *fetch);

#define TILE(R, P, V, W)                                                                           \
    static void tile_##R##x##P##x##V##x##W(vec *acc, ptrdiff_t acc_next, const operand *op,        \
                                           int n_op, origin start, int fresh, const real *fetch)   \
    {                                                                                              \
        tile(R, P, V, W, acc, acc_next, op, n_op, start, fresh, fetch);                            \
    }
#define TILES(R)                                                                                   \
    TILE(R, 1, 1, 1) TILE(R, 1, 2, 2) TILE(R, 1, 3, 3) TILE(R, 1, 4, 4) TILE(R, 1, 3, 4)
#define TWO_PANELS(R) TILE(R, 2, 4, 4) TILE(R, 2, 3, 4)
#define TILE_NAMES(R)                                                                              \
    {tile_##R##x1x1x1, tile_##R##x1x2x2, tile_##R##x1x3x3, tile_##R##x1x4x4, tile_##R##x1x3x4}
#define TWO_PANELS_NAMES(R) {tile_##R##x2x4x4, tile_##R##x2x3x4}
TILES(1)
TILES(2)
TILES(3)
TWO_PANELS(1)
#if TILE_ROWS == 6
TILES(4)
TILES(5)
TILES(6)
TWO_PANELS(2)
TWO_PANELS(3)
#endif
/* By rows and vectors; the last column is a GRU's. */
static const tile_fn tiles[TILE_ROWS][RNNFAST_VECTORS + 1] = {
    TILE_NAMES(1), TILE_NAMES(2), TILE_NAMES(3),
#if TILE_ROWS == 6
    TILE_NAMES(4), TILE_NAMES(5), TILE_NAMES(6),
#endif
};
static const tile_fn two_panels[TILE_ROWS / 2][2] = {
    TWO_PANELS_NAMES(1),
#if TILE_ROWS == 6
    TWO_PANELS_NAMES(2),
    TWO_PANELS_NAMES(3),
#endif
};

/* Rows of the next tile when `left` rows are left: as even as can be (16 = 6 + 5 + 5). */
INLINE int deal(ptrdiff_t left)
{
    const ptrdiff_t tiles = (left + TILE_ROWS - 1) / TILE_ROWS;
    return (int)((left + tiles - 1) / tiles);
}

/* Vectors that panel p of a single-gate pack of n outputs holds. */
INLINE int panel_vectors(ptrdiff_t n, ptrdiff_t p)
{
    const ptrdiff_t vectors = (n + LANES - 1) / LANES - p * RNNFAST_VECTORS;
    return (int)(vectors < RNNFAST_VECTORS ? vectors : RNNFAST_VECTORS);
}

/* Of panels [p, p1) of such a pack, those with all four vectors. */
INLINE ptrdiff_t whole_panels(ptrdiff_t n, ptrdiff_t p, ptrdiff_t p1)
{
    const ptrdiff_t end = (n + LANES - 1) / LANES / RNNFAST_VECTORS;
    return (p1 < end ? p1 : end) - p;
}

/* How many of these go together over `rows` rows. */
INLINE int panels_together(ptrdiff_t rows, ptrdiff_t whole)
{
    return rows <= TILE_ROWS / 2 && whole >= 2 ? 2 : 1;
}

/* acc (rows, 4 vectors) = origin + operands, whose `a` ends up past the last row. Of the `lines`
 * from `fetch` on, as many are fetched as there is time for. */
INLINE void add_pass(vec *acc, ptrdiff_t rows, int column, operand *op, int n_op, origin start,
                     const real *fetch, ptrdiff_t lines)
{
    for (ptrdiff_t b = 0, R; b < rows; b += R) {
        R = deal(rows - b);
        tiles[R - 1][column](acc + b * RNNFAST_VECTORS, 0, op, n_op, start, 1,
                             lines > 0 ? fetch : NULL);
        start.at += R * start.row;
        for (int i = 0; i < n_op; i++) {
            op[i].a += R * op[i].row;
            fetch += op[i].n * LINE;
            lines -= op[i].n;
        }
    }
}

/* acc (P, rows, 4 vectors) = origin + operands, whose `a` points at row 0 and is the same operand
 * for each row; of V vectors each, 3 of 4 for a GRU (`gates` 3). Long sums go in passes of DEPTH,
 * so that a pass of the panel stays in the second-level cache while all rows go over it; the order
 * of each sum is the same. `fetch`: the weights do not all stay there, so each pass fetches those
 * of the next. Uses `op` up. */
enum { DEPTH = 32768 / VECTOR_BYTES };

INLINE void add_products(vec *acc, ptrdiff_t rows, int P, int V, int gates, operand *op, int n_op,
                         origin start, int fetch)
{
    const int column = gates == 3 ? RNNFAST_VECTORS : V - 1;
    if (P == 2) {
        two_panels[rows - 1][gates == 3](acc, rows * RNNFAST_VECTORS, op, n_op, start, 1, NULL);
        return;
    }
    const real *next_panel = n_op ? op->w + op->next : NULL;
    ptrdiff_t total = 0, done = 0; /* of *op */
    for (int i = 0; i < n_op; i++) total += op[i].n;
    if (total <= DEPTH) {
        add_pass(acc, rows, column, op, n_op, start, next_panel,
                 fetch ? total * op->pitch / LINE : 0);
        return;
    }
    while (n_op > 0) {
        operand pass[RNNFAST_VECTORS];
        int n = 0;
        ptrdiff_t lines = 0;
        for (ptrdiff_t left = DEPTH; n_op > 0 && left > 0 && n < RNNFAST_VECTORS; n++) {
            const ptrdiff_t take = op->n - done < left ? op->n - done : left;
            pass[n] = *op;
            pass[n].a += done * op->step;
            pass[n].w += done * op->pitch;
            pass[n].n = take;
            lines += take * op->pitch / LINE;
            left -= take;
            done += take;
            if (done == op->n) op++, n_op--, done = 0;
        }
        add_pass(acc, rows, column, pass, n, start,
                 n_op > 0 ? op->w + done * op->pitch : next_panel, fetch ? lines : 0);
        start = (origin){(const real *)acc, RNNFAST_VECTORS * LANES};
    }
}

/* Rows whose sums wait between passes. */
enum { ROW_BLOCK = 16 * TILE_ROWS };

/* Rows at `a` times panel p of a pack with V vectors a k. Field by field, here and below: a struct
 * that is written so and read back whole makes the processor wait. */
INLINE void rows_times_panel(operand *op, const void *a, ptrdiff_t lda, ptrdiff_t b,
                             const void *weight, ptrdiff_t k, ptrdiff_t p, int V, int panel_pitch)
{
    op->a = (const real *)a + b * lda;
    op->row = lda;
    op->step = 1;
    op->next = k * panel_pitch * LANES;
    op->w = (const real *)weight + p * op->next;
    op->pitch = V * LANES;
    op->n = k;
    op->first = 0;
}

/* The same for rows of several runs, one operand a run. */
INLINE void runs_times_panel(operand *op, const void *a, ptrdiff_t lda, ptrdiff_t b,
                             ptrdiff_t n_runs, ptrdiff_t length, ptrdiff_t pitch,
                             const void *weight, ptrdiff_t p, int V)
{
    const ptrdiff_t panel = n_runs * length * RNNFAST_VECTORS * LANES;
    for (ptrdiff_t i = 0; i < n_runs; i++) {
        op[i].a = (const real *)a + b * lda + i * pitch;
        op[i].row = lda;
        op[i].step = 1;
        op[i].w = (const real *)weight + p * panel + i * length * V * LANES;
        op[i].next = panel;
        op[i].pitch = V * LANES;
        op[i].n = length;
        op[i].first = 0;
    }
}
