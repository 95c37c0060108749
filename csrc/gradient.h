/* Weight gradients: products whose k axis is the rows of the batch. */
#pragma once

#include "tile.h"

/* A tile covers up to TILE_ROWS rows of the gradient, all in one run, and one panel of its columns.
 * A block of rows of the batch is one chain of multiply-adds, whose result is added to the tile's
 * `sums`. The panel of `a` in that block is copied first, because all tiles of the panel read it.
 * Each tile prefetches the lines of g that the following ones need. */
static ptrdiff_t tiles_per_panel(ptrdiff_t n_runs, ptrdiff_t run_length)
{
    return n_runs * ((run_length + TILE_ROWS - 1) / TILE_ROWS);
}

/* The place of a tile: panel p of columns, and tile i of a run. The first `longer` tiles of a run
 * have one row more than the others. */
typedef struct {
    ptrdiff_t p, run, i, per_run, rows, longer;
} place;

INLINE place tile_place(const rnnfast_outer *o, ptrdiff_t q)
{
    const ptrdiff_t per_run = (o->run_length + TILE_ROWS - 1) / TILE_ROWS, run = q / per_run;
    return (place){.p = run / o->n_runs,
                   .run = run % o->n_runs,
                   .i = q % per_run,
                   .per_run = per_run,
                   .rows = o->run_length / per_run,
                   .longer = o->run_length % per_run};
}

INLINE void next_tile(const rnnfast_outer *o, place *at)
{
    if (++at->i < at->per_run) return;
    at->i = 0;
    if (++at->run < o->n_runs) return;
    at->run = 0;
    at->p++;
}

INLINE int tile_rows(const place *at, ptrdiff_t *first)
{
    *first = at->i * at->rows + (at->i < at->longer ? at->i : at->longer);
    return (int)(at->rows + (at->i < at->longer));
}

static void outer(const rnnfast_outer *o, const rnnfast_run *runs, int n_runs, int fresh,
                  ptrdiff_t q0, ptrdiff_t q1)
{
    place at = tile_place(o, q0);
    const ptrdiff_t k = at.p * RNNFAST_VECTORS * LANES;
    const int V = panel_vectors(o->n_a, at.p);
    vec panel[RNNFAST_BLOCK_ROWS * RNNFAST_VECTORS];
    operand op[RNNFAST_BLOCK_ROWS];
    vec *to = panel;
    const rnnfast_run *last = runs + n_runs - 1;
    const real *end = (const real *)o->a + (last->start + last->count - 1) * o->lda + o->n_a;
    for (int j = 0; j < n_runs; j++) {
        op[j].row = 1;
        op[j].step = o->ldg;
        op[j].w = (const real *)to;
        op[j].next = 0;
        op[j].pitch = V * LANES;
        op[j].n = runs[j].count;
        op[j].first = 0;
        const real *a = (const real *)o->a + runs[j].start * o->lda + k;
        for (ptrdiff_t n = 0; n < runs[j].count; n++, a += o->lda)
            for (int v = 0; v < V; v++)
                *to++ = load_before(a + v * LANES, o->n_a - k - v * LANES, end);
    }
    vec *sums = o->sums;
    for (ptrdiff_t q = q0; q < q1; q++, sums += TILE_ROWS * RNNFAST_VECTORS) {
        ptrdiff_t first;
        const int R = tile_rows(&at, &first);
        for (int j = 0; j < n_runs; j++)
            op[j].a = (const real *)o->g + runs[j].start * o->ldg + at.run * o->run_pitch + first;
        /* The first tile that reads a line of each row of g prefetches the next line. */
        const int enters = first == 0 || (first - 1) / LINE != (first + R - 1) / LINE;
        tiles[R - 1][V - 1](sums, 0, op, n_runs, (origin){0}, fresh, enters ? op->a : NULL);
        next_tile(o, &at);
    }
}

static void outer_add(const rnnfast_outer *o, ptrdiff_t q0, ptrdiff_t q1)
{
    place at = tile_place(o, q0);
    const vec *sums = o->sums;
    for (ptrdiff_t q = q0; q < q1; q++, sums += TILE_ROWS * RNNFAST_VECTORS) {
        const ptrdiff_t k = at.p * RNNFAST_VECTORS * LANES;
        const int V = panel_vectors(o->n_a, at.p);
        ptrdiff_t first;
        const int R = tile_rows(&at, &first);
        const ptrdiff_t row = (o->order ? o->order[at.run] : at.run) * o->run_length + first;
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) {
                real *out = (real *)o->out + (row + r) * o->n_a + k + v * LANES;
                const ptrdiff_t n = o->n_a - k - v * LANES;
                store_n(out, load_n(out, n) + sums[r * RNNFAST_VECTORS + v], n);
            }
        next_tile(o, &at);
    }
}

/* The transpose: the rows of a tile are columns of `a`, and g is read in place. */
static void narrow(const void *a, ptrdiff_t lda, ptrdiff_t n_a, const void *g, ptrdiff_t ldg,
                   const rnnfast_run *runs, int n_runs, ptrdiff_t columns, void *sums,
                   ptrdiff_t lds)
{
    static const real one = 1;
    operand op[RNNFAST_BLOCK_ROWS];
    vec acc[TILE_ROWS * RNNFAST_VECTORS];
    for (ptrdiff_t p = 0; p * RNNFAST_VECTORS * LANES < columns; p++) {
        const int V = panel_vectors(columns, p);
        const ptrdiff_t c = p * RNNFAST_VECTORS * LANES;
        for (ptrdiff_t k = 0, R; k < n_a; k += R) {
            R = deal(n_a - k, V);
            for (int j = 0; j < n_runs; j++) {
                op[j].a = a ? (const real *)a + runs[j].start * lda + k : &one;
                op[j].row = a ? 1 : 0;
                op[j].step = a ? lda : 0;
                op[j].w = (const real *)g + runs[j].start * ldg + c;
                op[j].next = 0;
                op[j].pitch = ldg;
                op[j].n = runs[j].count;
                op[j].first = 0;
            }
            tiles[R - 1][V - 1](acc, 0, op, n_runs, (origin){0}, 1, NULL);
            for (ptrdiff_t r = 0; r < R; r++)
                for (int v = 0; v < V; v++) {
                    real *sum = (real *)sums + (k + r) * lds + c + v * LANES;
                    store(sum, load(sum) + acc[r * RNNFAST_VECTORS + v]);
                }
        }
    }
}
