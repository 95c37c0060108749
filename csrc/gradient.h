/* Weight gradients: products whose k axis is the rows of the batch. */
#pragma once

#include "tile.h"

/* A tile covers up to TILE_ROWS rows of the gradient, all in one run, and one panel of its columns.
 * Tiles are numbered band by band, and in a band panel by panel: of a block of rows of the batch,
 * the columns of g that a band needs, BAND_BYTES, stay in the second-level cache while all panels
 * use them. */
enum { BAND = BAND_BYTES / (RNNFAST_BLOCK_ROWS * TILE_ROWS * sizeof(real)) };

INLINE ptrdiff_t tiles_per_run(ptrdiff_t run_length)
{
    return (run_length + TILE_ROWS - 1) / TILE_ROWS;
}

static ptrdiff_t tiles_per_panel(ptrdiff_t n_runs, ptrdiff_t run_length)
{
    return n_runs * tiles_per_run(run_length);
}

/* The place of a tile: panel p of columns, and tile i of a run. With it `left` tiles of its band
 * lie in the panel. The first `longer` tiles of a run have one row more than the others. */
typedef struct {
    ptrdiff_t p, run, i, left, per_run, rows, longer;
} place;

INLINE place tile_place(const rnnfast_outer *o, ptrdiff_t q)
{
    const ptrdiff_t per_run = tiles_per_run(o->run_length), per_panel = o->n_runs * per_run;
    const ptrdiff_t panels = rnnfast_panels(o->n_a, 1, LANES), start = q / (BAND * panels) * BAND;
    const ptrdiff_t width = start + BAND < per_panel ? BAND : per_panel - start;
    const ptrdiff_t within = q - start * panels, at = start + within % width;
    return (place){.p = within / width,
                   .run = at / per_run,
                   .i = at % per_run,
                   .left = width - within % width,
                   .per_run = per_run,
                   .rows = o->run_length / per_run,
                   .longer = o->run_length % per_run};
}

/* The next one in the panel. */
INLINE void next_tile(place *at)
{
    if (++at->i < at->per_run) return;
    at->i = 0;
    at->run++;
}

INLINE int tile_rows(const place *at, ptrdiff_t *first)
{
    *first = at->i * at->rows + (at->i < at->longer ? at->i : at->longer);
    return (int)(at->rows + (at->i < at->longer));
}

/* `count` tiles of a panel. A block of rows of the batch is one chain of multiply-adds, whose
 * result is added to the tile's `sums`. The panel of `a` in that block is copied first, because all
 * tiles read it, and the next one prefetched. With `fetch` each tile prefetches the lines of g that
 * the following ones need. */
static void outer_panel(const rnnfast_outer *o, const rnnfast_run *runs, int n_runs, int fresh,
                        place at, ptrdiff_t count, vec *sums, int fetch)
{
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
        for (ptrdiff_t n = 0; n < runs[j].count; n++, a += o->lda) {
            for (ptrdiff_t u = RNNFAST_VECTORS * LANES; u < 2 * RNNFAST_VECTORS * LANES; u += LINE)
                __builtin_prefetch(a + u, 0, 2);
            for (int v = 0; v < V; v++)
                *to++ = load_before(a + v * LANES, o->n_a - k - v * LANES, end);
        }
    }
    for (; count > 0; count--, sums += TILE_ROWS * RNNFAST_VECTORS) {
        ptrdiff_t first;
        const int R = tile_rows(&at, &first);
        for (int j = 0; j < n_runs; j++)
            op[j].a = (const real *)o->g + runs[j].start * o->ldg + at.run * o->run_pitch + first;
        /* The first tile that reads a line of each row of g prefetches the next line. */
        const int enters = first == 0 || (first - 1) / LINE != (first + R - 1) / LINE;
        tiles[R - 1][V - 1](sums, 0, op, n_runs, (origin){0}, fresh,
                            fetch && enters && FETCHES(R, V) ? &(prefetch){NULL, o->ldg, 1} : NULL);
        next_tile(&at);
    }
}

static void outer(const rnnfast_outer *o, const rnnfast_run *runs, int n_runs, int fresh,
                  ptrdiff_t q0, ptrdiff_t q1)
{
    vec *sums = o->sums;
    for (ptrdiff_t q = q0, n; q < q1; q += n, sums += n * TILE_ROWS * RNNFAST_VECTORS) {
        const place at = tile_place(o, q);
        n = at.left < q1 - q ? at.left : q1 - q;
        outer_panel(o, runs, n_runs, fresh, at, n, sums, q - q0 < BAND);
    }
}

static void outer_add(const rnnfast_outer *o, ptrdiff_t q0, ptrdiff_t q1)
{
    const vec *sums = o->sums;
    for (ptrdiff_t q = q0; q < q1; q++, sums += TILE_ROWS * RNNFAST_VECTORS) {
        const place at = tile_place(o, q);
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
