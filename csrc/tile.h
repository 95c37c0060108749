/* The register tile: the sums of R rows x P panels x V vectors, which stay in registers for the
 * whole loop over k. Every matrix product runs here: gates, matmul and weight gradients, whose k
 * are the rows of the batch. P is 2 or 3 where so few rows are left that the sums of one panel
 * would not hide the latency of an FMA, else 1.
 *
 * Each sum is one chain of multiply-adds, fused where the instruction set has FMA, in the order of
 * the operands and of k. The order does not depend on the size of the tile. So results depend
 * neither on the number of threads nor on how rows are dealt to tiles. */
#pragma once

#include "vec.h"

/* One product that a tile adds: acc[j][r][first + v] += sum over n of
 * a[r * row + n * step] * w[j * next + n * pitch + v * LANES + lane]. */
typedef struct {
    const real *a;
    ptrdiff_t row, step;
    const real *w;
    ptrdiff_t next, pitch, n, first;
} operand;

/* Where the sums of a tile start: vector j * 4 + v of row r at `at`, or zero if that is NULL. */
typedef struct {
    const real *at;
    ptrdiff_t row;
} origin;

/* What tiles prefetch into the second-level cache meanwhile: for each k what is at `at`, which then
 * moves by `step`. With `beside` a tile starts at the line beside its rows of a. */
typedef struct {
    const real *at;
    ptrdiff_t step;
    int beside;
} prefetch;

#define LINE (RNNFAST_LINE / (ptrdiff_t)sizeof(real))
/* TILE_ROWS x TILE_VECTORS is the shape of isa/ whose sums, weights and splat fill the registers. A
 * tile of more sums is formed in two parts, of half its vectors each. Three vectors do not halve:
 * they take fewer rows. */
#define TILE_SUMS    (TILE_ROWS * TILE_VECTORS)
#define PARTS(R, V)  ((R) * (V) > TILE_SUMS ? 2 : 1)
#define MOST_ROWS(V) ((V) == 3 && PARTS(TILE_ROWS, 3) > 1 ? TILE_SUMS / 3 : TILE_ROWS)
/* Smaller tiles have no time to prefetch weights that the third-level cache holds. */
#define FETCHES(R, V) ((R) > 2 * MOST_ROWS(V) / 3)
/* Whether the loop over k takes two at a time: one row, where the loop's own instructions are many
 * beside its few multiply-adds; and tiles whose sums, weights and splat fit 16 registers. */
#define IN_PAIRS(R, V) ((R) == 1 || (K_IN_PAIRS && (R) * (V) + (V) < 16))
#define PAIR           _Pragma("GCC unroll 2")

/* Adds one k, a column of rows at a times the vectors at w; with `fetches` prefetches `line`. */
INLINE void add_k(const int R, const int P, const int V, const int W, const int first,
                  vec s[TILE_ROWS][2 * RNNFAST_VECTORS], const real *a, ptrdiff_t row,
                  const real *w, ptrdiff_t next, const int fetches, const real *line)
{
    if (fetches) __builtin_prefetch(line, 0, 2);
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

/* Adds an operand, whose vectors begin at w, to vectors first to first + V of the W vectors of each
 * panel. With `fetches` each k prefetches one more line, from `line` on, into the second-level
 * cache. */
INLINE void add_operand(const int R, const int P, const int V, const int W, const int first,
                        vec s[TILE_ROWS][2 * RNNFAST_VECTORS], const operand *op, const real *w,
                        const int fetches, const real *line, const ptrdiff_t line_step)
{
    const real *a = op->a;
    const ptrdiff_t row = op->row, step = op->step, pitch = op->pitch, next = op->next;
    if (IN_PAIRS(R, P * V))
        PAIR for (ptrdiff_t n = op->n; n > 0; n--, a += step, w += pitch, line += line_step)
            add_k(R, P, V, W, first, s, a, row, w, next, fetches, line);
    else
        for (ptrdiff_t n = op->n; n > 0; n--, a += step, w += pitch, line += line_step)
            add_k(R, P, V, W, first, s, a, row, w, next, fetches, line);
}

/* The same; without a prefetch a loop of its own, as two instructions a k less are up to a tenth of
 * the time. Even odds, or GCC aligns only the loop that it takes to be the usual one. */
INLINE void products(const int R, const int P, const int V, const int W, const int first,
                     vec s[TILE_ROWS][2 * RNNFAST_VECTORS], const operand *op, const real *w,
                     prefetch *ahead)
{
    if (R > 1 && __builtin_expect_with_probability(ahead != NULL, 1, 0.5)) {
        add_operand(R, P, V, W, first, s, op, w, 1, ahead->at, ahead->step);
        ahead->at += op->n * ahead->step;
    } else {
        add_operand(R, P, V, W, first, s, op, w, 0, w, 0);
    }
}

/* The part of a tile from vector `from` on, whose sums stay in registers. */
INLINE void part(const int R, const int P, const int V, const int W, const int from, vec *acc,
                 ptrdiff_t acc_next, const operand *op, int n_op, origin start, int fresh,
                 prefetch *ahead)
{
    vec s[TILE_ROWS][2 * RNNFAST_VECTORS];
    acc += from;
    UNROLL
    for (int r = 0; r < R; r++) {
        UNROLL
        for (int v = 0; v < P * W; v++)
            s[r][v] = start.at ? load(start.at + r * start.row +
                                      (v / W * RNNFAST_VECTORS + from + v % W) * LANES)
                               : (vec){0};
    }
    for (; n_op > 0; n_op--, op++) {
        if (ahead && ahead->beside) ahead->at = op->a + R - 1 + LINE;
        const real *w = op->w + from * LANES;
        if (W > V && op->first)
            products(R, P, V, W, W - V, s, op, w, ahead);
        else
            products(R, P, V, W, 0, s, op, w, ahead);
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

/* A GRU's tile whose four sums a row exceed the registers: only the three that an operand feeds are
 * there. */
INLINE void gru_tile(const int R, vec *acc, const operand *op, int n_op, origin start,
                     prefetch *ahead)
{
    for (int r = 0; r < R; r++)
        for (int v = 0; v < RNNFAST_VECTORS; v++)
            acc[r * RNNFAST_VECTORS + v] = load(start.at + r * start.row + v * LANES);
    for (; n_op > 0; n_op--, op++) {
        vec *sums = acc + op->first;
        start = (origin){(const real *)sums, RNNFAST_VECTORS * LANES};
        part(R, 1, 3, 3, 0, sums, 0, op, 1, start, 1, ahead);
    }
}

/* acc [P][acc_next / 4][4] = origin + operands, or += with `fresh` 0. Of the four vectors of a row
 * the first W have a sum, V of which each operand feeds; the two differ only for a GRU (4 and 3).
 * The origin may be acc itself.
 *
 * Unless `ahead` is NULL, the tile prefetches meanwhile what a later one will read. A weight
 * gradient, whose sums start from zero and whose k are rows of a wide array, prefetches the next
 * line of each row. */
INLINE void tile(const int R, const int P, const int V, const int W, vec *acc, ptrdiff_t acc_next,
                 const operand *op, int n_op, origin start, int fresh, prefetch *ahead)
{
    const int half = (V + 1) / 2;
    if (PARTS(R, P * W) == 1) {
        part(R, P, V, W, 0, acc, acc_next, op, n_op, start, fresh, ahead);
    } else if (W > V) {
        gru_tile(R, acc, op, n_op, start, ahead);
    } else {
        part(R, P, half, half, 0, acc, acc_next, op, n_op, start, fresh, ahead);
        if (ahead && ahead->beside) ahead = NULL;
        part(R, P, V - half, V - half, half, acc, acc_next, op, n_op, start, fresh, ahead);
    }
}

/* Three of the twelve vectors of three panels, `from` and those behind: acc [3][acc_next / 4][4] =
 * origin + operands. For three or four rows: a panel of three leaves no register for weights, and
 * half a panel has too few sums to hide the latency of an FMA. */
INLINE void tile_of_three(const int R, const int from, vec *acc, ptrdiff_t acc_next,
                          const operand *op, int n_op, origin start)
{
    const int panel = from / 4, at = from % 4;
    vec s[4][3];
    UNROLL
    for (int r = 0; r < R; r++)
        for (int v = 0; v < 3; v++)
            s[r][v] = start.at ? load(start.at + r * start.row + (from + v) * LANES) : (vec){0};
    for (; n_op > 0; n_op--, op++) {
        const ptrdiff_t row = op->row, step = op->step, pitch = op->pitch, next = op->next;
        const real *a = op->a, *w = op->w + panel * next + at * LANES;
        PAIR for (ptrdiff_t n = op->n; n > 0; n--, a += step, w += pitch)
        {
            vec weight[3];
            UNROLL
            for (int v = 0; v < 3; v++)
                weight[v] = load(w + v * LANES + (at + v < 4 ? 0 : next - 4 * LANES));
            UNROLL
            for (int r = 0; r < R; r++) {
                const vec x = splat(a[r * row]);
                UNROLL
                for (int v = 0; v < 3; v++) s[r][v] += x * weight[v];
            }
        }
    }
    UNROLL
    for (int r = 0; r < R; r++)
        for (int v = 0; v < 3; v++)
            acc[(from + v) / 4 * acc_next + r * RNNFAST_VECTORS + (from + v) % 4] = s[r][v];
}

typedef void (*tile_fn)(vec *acc, ptrdiff_t acc_next, const operand *op, int n_op, origin start,
                        int fresh, prefetch *ahead);
typedef void (*three_fn)(vec *acc, ptrdiff_t acc_next, const operand *op, int n_op, origin start);

#define TILE(R, P, V, W)                                                                           \
    static void tile_##R##x##P##x##V##x##W(vec *acc, ptrdiff_t acc_next, const operand *op,        \
                                           int n_op, origin start, int fresh, prefetch *ahead)     \
    {                                                                                              \
        tile(R, P, V, W, acc, acc_next, op, n_op, start, fresh, ahead);                            \
    }
#define TILES(R)            TILE(R, 1, 1, 1) TILE(R, 1, 2, 2) TILE(R, 1, 3, 3) TILE(R, 1, 4, 4)
#define TILE_NAMES(R)       {tile_##R##x1x1x1, tile_##R##x1x2x2, tile_##R##x1x3x3, tile_##R##x1x4x4},
#define GRU_TILE(R)         TILE(R, 1, 3, 4)
#define GRU_TILE_NAME(R)    tile_##R##x1x3x4,
#define TWO_PANELS(R)       TILE(R, 2, 4, 4) TILE(R, 2, 3, 4)
#define TWO_PANELS_NAMES(R) {tile_##R##x2x4x4, tile_##R##x2x3x4},
#define OF_THREE(R, from)                                                                          \
    static void tile_##R##x3x3_##from(vec *acc, ptrdiff_t acc_next, const operand *op, int n_op,   \
                                      origin start)                                                \
    {                                                                                              \
        tile_of_three(R, from, acc, acc_next, op, n_op, start);                                    \
    }
#define THREE_PANELS(R) OF_THREE(R, 0) OF_THREE(R, 3) OF_THREE(R, 6) OF_THREE(R, 9)
#define THREE_PANELS_NAMES(R)                                                                      \
    {tile_##R##x3x3_0, tile_##R##x3x3_3, tile_##R##x3x3_6, tile_##R##x3x3_9},
#define UP_TO_1(X) X(1)
#define UP_TO_3(X) X(1) X(2) X(3)
#define UP_TO_4(X) UP_TO_3(X) X(4)
#define UP_TO_6(X) UP_TO_4(X) X(5) X(6)
#if TILE_ROWS == 6
#define EACH_ROWS UP_TO_6
#else
#define EACH_ROWS UP_TO_3
#endif
#if MOST_ROWS(3) == 4
#define EACH_GRU_ROWS UP_TO_4
#else
#define EACH_GRU_ROWS EACH_ROWS
#endif
#if TILE_SUMS == 24
#define EACH_FEW_ROWS UP_TO_3
#else
#define EACH_FEW_ROWS UP_TO_1
#endif
EACH_ROWS(TILES)
EACH_GRU_ROWS(GRU_TILE)
EACH_FEW_ROWS(TWO_PANELS)
static const tile_fn tiles[][RNNFAST_VECTORS] = {EACH_ROWS(TILE_NAMES)}; /* by rows and vectors */
static const tile_fn gru_tiles[] = {EACH_GRU_ROWS(GRU_TILE_NAME)};
static const tile_fn two_panels[][2] = {EACH_FEW_ROWS(TWO_PANELS_NAMES)};

#if TILE_VECTORS == 2
THREE_PANELS(3)
THREE_PANELS(4)
static const three_fn three_panels[][4] = {THREE_PANELS_NAMES(3) THREE_PANELS_NAMES(4)};
#endif

/* Rows of the next tile of V vectors when `left` rows remain. They are dealt evenly: 16 is 6, 5
 * and 5. */
INLINE int deal(ptrdiff_t left, int V)
{
    const ptrdiff_t most = MOST_ROWS(V), tiles = (left + most - 1) / most;
    return (int)((left + tiles - 1) / tiles);
}

/* Vectors in panel p of a single-gate pack of n outputs. */
INLINE int panel_vectors(ptrdiff_t n, ptrdiff_t p)
{
    const ptrdiff_t vectors = (n + LANES - 1) / LANES - p * RNNFAST_VECTORS;
    return (int)(vectors < RNNFAST_VECTORS ? vectors : RNNFAST_VECTORS);
}

/* How many of panels [p, p1) of such a pack have all four vectors. */
INLINE ptrdiff_t whole_panels(ptrdiff_t n, ptrdiff_t p, ptrdiff_t p1)
{
    const ptrdiff_t end = (n + LANES - 1) / LANES / RNNFAST_VECTORS;
    return (p1 < end ? p1 : end) - p;
}

/* How many whole panels `rows` rows take at once. Three prefetch nothing. */
INLINE int panels_together(int gates, ptrdiff_t rows, ptrdiff_t whole, int fetch)
{
    if (gates == 2) return 1;
    if (PARTS(rows, 2 * RNNFAST_VECTORS) == 1) return whole >= 2 ? 2 : 1;
    const int R = deal(rows, RNNFAST_VECTORS);
    return TILE_VECTORS == 2 && gates != 3 && (R == 3 || R == 4) && whole >= 3 && fetch < 2 ? 3 : 1;
}

#if TILE_VECTORS == 2
/* acc (3, rows, 4 vectors) = origin + operands. Restores the operands. */
static __attribute__((noinline)) void add_three_panels(vec *acc, ptrdiff_t rows, operand *op,
                                                       int n_op, origin start)
{
    for (int i = 0; i < 4; i++) {
        origin at = start;
        for (ptrdiff_t b = 0, R; b < rows; b += R) {
            R = deal(rows - b, 3);
            three_panels[R - 3][i](acc + b * RNNFAST_VECTORS, rows * RNNFAST_VECTORS, op, n_op, at);
            if (at.at) at.at += R * at.row;
            for (int j = 0; j < n_op; j++) op[j].a += R * op[j].row;
        }
        for (int j = 0; j < n_op; j++) op[j].a -= rows * op[j].row;
    }
}
#endif

/* acc (rows, 4 vectors) = origin + operands, tile by tile. Where a tile would be formed in parts,
 * all rows go through the one part of the weights, which the first-level cache holds, then through
 * the other. Moves the `a` of the operands past the last row, and their `w` past the vectors.
 *
 * With `fetch` the tiles prefetch up to `lines` lines from `next` on, a line for each k; from
 * memory down to one for four k, the fewer the more rows there are, because more at once than the
 * processor keeps in flight hold up its loads. Then several k prefetch the same line, which costs
 * less than a loop that counts. */
INLINE void add_pass(vec *acc, ptrdiff_t rows, int V, int gates, operand *op, int n_op,
                     origin start, const real *next, ptrdiff_t lines, int fetch)
{
    const int width = gates == 3 ? V : V / PARTS(deal(rows, V), V);
    prefetch ahead = {next, LINE, 0};
    const real *end = fetch ? next + lines * LINE : next;
    if (fetch > 1) {
        ptrdiff_t n = 0;
        for (int i = 0; i < n_op; i++) n += op[i].n;
        n *= (rows + MOST_ROWS(V) - 1) / MOST_ROWS(V) * (V / width);
        if (lines < n) ahead.step = 4 * lines < n ? LINE / 4 : (lines * LINE + n - 1) / n;
    }
    for (int from = 0; from < V; from += width) {
        origin at = {start.at ? start.at + from * LANES : NULL, start.row};
        for (ptrdiff_t b = 0, R; b < rows; b += R) {
            R = deal(rows - b, V);
            const tile_fn form = gates == 3 ? gru_tiles[R - 1] : tiles[R - 1][width - 1];
            form(acc + b * RNNFAST_VECTORS + from, 0, op, n_op, at, 1,
                 ahead.at < end && (fetch > 1 || FETCHES(R, V)) ? &ahead : NULL);
            at.at += R * at.row;
            for (int i = 0; i < n_op; i++) op[i].a += R * op[i].row;
        }
        for (int i = 0; i < n_op; i++) {
            if (from + width < V) op[i].a -= rows * op[i].row;
            op[i].w += width * LANES;
        }
    }
}

/* acc (rows, 4 vectors) = origin + operands in passes of DEPTH, so that the weights of a pass stay
 * in a cache while all rows use them; the order of a sum does not change. With `fetch` each pass
 * prefetches the weights of the next, the last those of `next_panel`. */
static __attribute__((noinline)) void add_passes(vec *acc, ptrdiff_t rows, int V, int gates,
                                                 const operand *op, int n_op, origin start,
                                                 const real *next_panel, int fetch)
{
    ptrdiff_t done = 0; /* of *op: how much of it earlier passes took */
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
        add_pass(acc, rows, V, gates, pass, n, start,
                 n_op > 0 ? op->w + done * op->pitch : next_panel, lines, fetch);
        start = (origin){(const real *)acc, RNNFAST_VECTORS * LANES};
    }
}

/* acc (P, rows, 4 vectors) = origin + operands, whose `a` points at row 0. Each operand feeds V
 * vectors, for a GRU (`gates` 3) three of four. Overwrites `op`. */
INLINE void add_products(vec *acc, ptrdiff_t rows, int P, int V, int gates, operand *op, int n_op,
                         origin start, int fetch)
{
    const real *next_panel = n_op ? op->w + op->next : NULL;
    ptrdiff_t total = 0;
    for (int i = 0; i < n_op; i++) total += op[i].n;
    if (P == 2)
        two_panels[rows - 1][gates == 3](acc, rows * RNNFAST_VECTORS, op, n_op, start, 1, NULL);
#if TILE_VECTORS == 2
    else if (P == 3)
        add_three_panels(acc, rows, op, n_op, start);
#endif
    else if (total <= DEPTH)
        add_pass(acc, rows, V, gates, op, n_op, start, next_panel, total * op->pitch / LINE, fetch);
    else
        add_passes(acc, rows, V, gates, op, n_op, start, next_panel, fetch);
}

/* Rows whose sums are kept between passes. */
enum { ROW_BLOCK = 16 * TILE_ROWS };

/* The operand for rows at `a` times panel p of a pack with V vectors for each k. The fields are
 * stored in place, here and below: copying a struct just built from them is a wide load of narrow
 * stores, a store-forwarding stall. */
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

/* The same for rows of several runs: one operand for each. */
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
