/* A time step: the tile forms the sums of a panel, then the equations of the cell finish them while
 * they are in the first-level cache. Backward likewise: first the sums that are dh, then the cell.
 */
#pragma once

#include "group.h"
#include "tile.h"

/* The equations of a cell, forward: from the sums of the n vectors of a group, acc[e * next +
 * slot], to h and all else that a step writes. */
typedef void (*finish_fn)(const rnnfast_step *, int n, const group *, const vec *acc,
                          ptrdiff_t next);

/* Finishes one vector of units, from u on, of rows from b on. */
INLINE void finish_rows(const rnnfast_step *s, ptrdiff_t b, ptrdiff_t rows, ptrdiff_t u,
                        const vec *acc, finish_fn finish)
{
    ptrdiff_t r = 0;
    for (; r + GROUP <= rows; r += GROUP)
        finish(s, GROUP, &(group){b + r, u, 1, 0}, acc + r * RNNFAST_VECTORS, RNNFAST_VECTORS);
    for (; r < rows; r++)
        finish(s, 1, &(group){b + r, u, 1, 0}, acc + r * RNNFAST_VECTORS, RNNFAST_VECTORS);
}

/* The sums of rows from b on start from the bias, or from the input product, which includes it. */
INLINE origin sums_start(const rnnfast_step *s, ptrdiff_t b, ptrdiff_t p)
{
    const ptrdiff_t at = p * RNNFAST_VECTORS * LANES;
    return s->product ? (origin){(const real *)s->product + b * s->ldp + at, s->ldp}
                      : (origin){(const real *)s->bias + at, 0};
}

/* The operands of gate_sums for panel p and rows from b on: x unless its product is given, and h if
 * `recurrent`. Returns how many there are. */
INLINE int gate_operands(const rnnfast_step *s, const int gates, int recurrent, ptrdiff_t b,
                         ptrdiff_t p, int V, operand *op)
{
    const int pitch = gates == 1 ? RNNFAST_VECTORS : gates, wanted = !s->product;
    if (wanted) rows_times_panel(op, s->x, s->ldx, b, s->weight_x, s->input, p, V, pitch);
    if (recurrent) {
        op += wanted;
        rows_times_panel(op, s->h, s->ldh, b, s->weight_h, s->recurrent, p, V, pitch);
        op->first = gates == 3;
    }
    return wanted + recurrent;
}

/* For each panel and block of rows forms the sums, bias + x W_x + h W_h, and calls `finish`. There
 * are four patterns of slots. gates 1: a panel is V vectors of units. gates 2: both feed two slots.
 * gates 3 (GRU; MinLSTM, without h): x feeds the first three of four slots, h the last three.
 * gates 4: both feed all four. */
INLINE void gate_sums(const rnnfast_step *s, const int gates, int recurrent, ptrdiff_t b0,
                      ptrdiff_t b1, ptrdiff_t p0, ptrdiff_t p1, finish_fn finish)
{
    for (ptrdiff_t p = p0, P; p < p1; p += P) {
        const int V = gates == 1 ? panel_vectors(s->hidden, p) : gates;
        const ptrdiff_t whole = gates == 1 ? whole_panels(s->hidden, p, p1) : p1 - p;
        P = panels_together(gates, b1 - b0, whole, s->fetch);
        for (ptrdiff_t b = b0, rows; b < b1; b += rows) {
            rows = b1 - b < ROW_BLOCK ? b1 - b : ROW_BLOCK;
            vec acc[ROW_BLOCK * RNNFAST_VECTORS];
            operand op[2];
            const int n = gate_operands(s, gates, recurrent, b, p, V, op);
            add_products(acc, rows, P, V, gates, op, n, sums_start(s, b, p), s->fetch);
            for (ptrdiff_t j = 0; j < P; j++) {
                const vec *sums = acc + j * rows * RNNFAST_VECTORS;
                ptrdiff_t u = (p + j) * (gates == 1 ? RNNFAST_VECTORS : 1) * LANES;
                for (int v = 0; v < (gates == 1 ? V : 1); v++, u += LANES)
                    finish_rows(s, b, rows, u, sums + v, finish);
            }
        }
    }
}

/* P panels of V vectors of one row: the tile and the cell are one function. */
INLINE void row_panels(const rnnfast_step *s, const int gates, int recurrent, ptrdiff_t b,
                       ptrdiff_t p, const int P, const int V, finish_fn finish)
{
    const int W = gates == 3 ? 4 : V, next = RNNFAST_VECTORS;
    vec acc[2 * RNNFAST_VECTORS];
    operand op[2];
    const int n = gate_operands(s, gates, recurrent, b, p, V, op);
    tile(1, P, V, W, acc, next, op, n, sums_start(s, b, p), 1, NULL);
    if (gates != 1)
        finish(s, P, &(group){b, p * LANES, 0, LANES}, acc, next);
    else
        for (int j = 0; j < P; j++)
            finish(s, V, &(group){b, (p + j) * next * LANES, 0, LANES}, acc + j * next, 1);
}

/* A panel of V vectors of one row, which go through memory. */
INLINE void row_panel(const rnnfast_step *s, int recurrent, ptrdiff_t b, ptrdiff_t p, int V,
                      finish_fn finish)
{
    vec acc[RNNFAST_VECTORS];
    operand op[2];
    const int n = gate_operands(s, 1, recurrent, b, p, V, op);
    tiles[0][V - 1](acc, 0, op, n, sums_start(s, b, p), 1, NULL);
    for (int v = 0; v < V; v++)
        finish(s, 1, &(group){b, (p * RNNFAST_VECTORS + v) * LANES, 0, 0}, acc + v, 1);
}

/* gate_sums for one row. */
INLINE void row_sums(const rnnfast_step *s, const int gates, int recurrent, ptrdiff_t b,
                     ptrdiff_t p0, ptrdiff_t p1, finish_fn finish)
{
    for (ptrdiff_t p = p0, P; p < p1; p += P) {
        const int V = gates == 1 ? panel_vectors(s->hidden, p) : gates;
        const ptrdiff_t whole = gates == 1 ? whole_panels(s->hidden, p, p1) : p1 - p;
        P = whole >= 2 ? 2 : 1;
        if (P == 2)
            row_panels(s, gates, recurrent, b, p, 2, gates == 1 ? RNNFAST_VECTORS : gates, finish);
        else if (gates != 1)
            row_panels(s, gates, recurrent, b, p, 1, gates, finish);
        else if (V == 4)
            row_panels(s, 1, recurrent, b, p, 1, 4, finish);
        else if (V == 2)
            row_panels(s, 1, recurrent, b, p, 1, 2, finish);
        else
            row_panel(s, recurrent, b, p, V, finish);
    }
}

INLINE void store_units(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                        ptrdiff_t next)
{
    EACH(e) store(where(s->product_out, s->ldp, g, e), acc[e * next]);
}

INLINE void store_gates(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                        ptrdiff_t next)
{
    EACH(e) {
        real *product = (real *)s->product_out + (g->b + e * g->rows) * s->ldp +
                        (g->u + e * g->units) * RNNFAST_VECTORS;
        for (int v = 0; v < RNNFAST_VECTORS; v++) store(product + v * LANES, acc[e * next + v]);
    }
}

static void input_product(const rnnfast_step *s, int gates, ptrdiff_t b0, ptrdiff_t b1,
                          ptrdiff_t p0, ptrdiff_t p1)
{
    if (gates == 1)
        gate_sums(s, 1, 0, b0, b1, p0, p1, store_units);
    else if (gates == 2)
        gate_sums(s, 2, 0, b0, b1, p0, p1, store_gates);
    else if (gates == 3)
        gate_sums(s, 3, 0, b0, b1, p0, p1, store_gates);
    else
        gate_sums(s, 4, 0, b0, b1, p0, p1, store_gates);
}

INLINE void store_slot(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                       ptrdiff_t next)
{
    EACH(e) store(where(s->sums, s->ldg, g, e), acc[e * next]);
}

INLINE void store_slots(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                        ptrdiff_t next)
{
    const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
    EACH(e)
        for (int v = 0; v < RNNFAST_VECTORS; v++)
            store(where(s->sums, s->ldg, g, e) + v * H, acc[e * next + v]);
}

static void slot_sums(const rnnfast_step *s, int gates, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                      ptrdiff_t p1)
{
    if (gates == 1)
        gate_sums(s, 1, 1, b0, b1, p0, p1, store_slot);
    else if (gates == 3)
        gate_sums(s, 3, 1, b0, b1, p0, p1, store_slots);
    else
        gate_sums(s, 4, 1, b0, b1, p0, p1, store_slots);
}

/* The mask of vector e of a group. */
INLINE vec mask_of(const rnnfast_backstep *s, const void *mask, ptrdiff_t ld, const group *g, int e)
{
    const ptrdiff_t b = g->b + e * g->rows, u = g->u + e * g->units;
    return load_n((const real *)mask + (s->mask_row ? s->mask_row[b] : b) * ld + u, s->hidden - u);
}

/* Applies the masks to dh, the sums, and to the dc in `carry`: recurrent dropout, then zoneout,
 * after which dh and dc are the fractions that go through the cell. The carry of a GRU is a part of
 * dh; with zoneout it is added here, so that the cell finds none. */
INLINE void before_cell(const rnnfast_backstep *s, const int n, const group *g, vec *dh)
{
    if (s->drop && s->next)
        EACH(e)
            dh[e] =
                mask_of(s, s->drop, s->ld_drop, g, e) * dh[e] + load(where(s->dh_in, s->ldd, g, e));
    if (s->zone_h)
        EACH(e) {
            real *kept = where(s->kept_h, s->ldh, g, e), *carry = where(s->carry, s->ldk, g, e);
            const vec share = mask_of(s, s->zone_h, s->ld_zone_h, g, e);
            dh[e] += load(kept);
            if (s->carries_dh) {
                dh[e] += load(carry);
                store(carry, (vec){0});
            }
            store(kept, share * dh[e]);
            dh[e] *= 1 - share;
        }
    if (s->zone_c)
        EACH(e) {
            real *carry = where(s->carry, s->ldk, g, e);
            const vec share = mask_of(s, s->zone_c, s->ld_zone_c, g, e), dc = load(carry);
            store(where(s->kept_c, s->ldk, g, e), share * dc);
            store(carry, (1 - share) * dc);
        }
}

INLINE void after_cell(const rnnfast_backstep *s, const int n, const group *g)
{
    EACH(e) {
        real *carry = where(s->carry, s->ldk, g, e);
        store(carry, load(carry) + load(where(s->kept_c, s->ldk, g, e)));
    }
}

/* Both for GROUP vectors or one: functions of their own, because every cell has them and few calls
 * have masks. */
static __attribute__((noinline)) void masks_before(const rnnfast_backstep *s, int n, const group *g,
                                                   vec *dh)
{
    if (n == GROUP)
        before_cell(s, GROUP, g, dh);
    else
        before_cell(s, 1, g, dh);
}

static __attribute__((noinline)) void masks_after(const rnnfast_backstep *s, int n, const group *g)
{
    if (n == GROUP)
        after_cell(s, GROUP, g);
    else
        after_cell(s, 1, g);
}

/* The sums of row r and panel j without the product. */
INLINE void restart(vec *dh, const int V, origin start, ptrdiff_t r, ptrdiff_t j)
{
    for (int v = 0; v < V; v++)
        dh[v] = start.at ? load(start.at + r * start.row + (j * RNNFAST_VECTORS + v) * LANES)
                         : (vec){0};
}

/* Forms dh for each panel and block of rows, and calls `finish`, the derivative of a cell. */
INLINE void
cell_backward(const rnnfast_backstep *s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0, ptrdiff_t p1,
              void (*finish)(const rnnfast_backstep *, int n, const group *, const vec *dh))
{
    const int masked = s->drop || s->zone_h || s->zone_c;
    for (ptrdiff_t p = p0, P; p < p1; p += P) {
        const int V = panel_vectors(s->hidden, p);
        P = panels_together(1, b1 - b0, whole_panels(s->hidden, p, p1), s->fetch);
        for (ptrdiff_t b = b0, rows; b < b1; b += rows) {
            rows = b1 - b < ROW_BLOCK ? b1 - b : ROW_BLOCK;
            vec acc[ROW_BLOCK * RNNFAST_VECTORS];
            operand op[RNNFAST_VECTORS];
            origin start = {(const real *)s->dh_in + b * s->ldd + p * RNNFAST_VECTORS * LANES,
                            s->ldd};
            if (s->next && s->drop) start = (origin){0};
            if (s->next)
                runs_times_panel(op, s->next, s->ldn, b, s->n_runs, s->run_length, s->run_pitch,
                                 s->weight_h, p, V);
            add_products(acc, rows, P, V, 1, op, s->next ? (int)s->n_runs : 0, start, s->fetch);
            for (ptrdiff_t j = 0; j < P; j++)
                for (ptrdiff_t r = 0; r < rows; r++) {
                    vec *dh = acc + (j * rows + r) * RNNFAST_VECTORS;
                    const ptrdiff_t u = (p + j) * RNNFAST_VECTORS * LANES;
                    if (s->cut && s->cut[b + r]) restart(dh, V, start, r, j);
                    if (V == GROUP) {
                        const group g = {b + r, u, 0, LANES};
                        if (masked) masks_before(s, GROUP, &g, dh);
                        finish(s, GROUP, &g, dh);
                        if (s->zone_c) masks_after(s, GROUP, &g);
                        continue;
                    }
                    for (int v = 0; v < V; v++) {
                        const group g = {b + r, u + v * LANES, 0, 0};
                        if (masked) masks_before(s, 1, &g, dh + v);
                        finish(s, 1, &g, dh + v);
                        if (s->zone_c) masks_after(s, 1, &g);
                    }
                }
        }
    }
}

INLINE void store_dh(const rnnfast_backstep *s, const int n, const group *g, const vec *dh)
{
    EACH(e) store(where(s->dh, s->ldh, g, e), dh[e]);
}

static void recurrent_gradient(const rnnfast_backstep *s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                               ptrdiff_t p1)
{
    cell_backward(s, b0, b1, p0, p1, store_dh);
}
