/* One table of kernels for one real type (REAL_BITS) and one instruction set (ISA, VECTOR_BYTES,
 * TILE_ROWS). Included twice by each kernels_*.c. */

#define PASTE(a, b, c, d)   a##b##c##d
#define NAME3(x, bits, isa) PASTE(x, bits, _, isa)
#if REAL_BITS == 32
#define NAME(x)   NAME3(x##_f, 32, ISA)
#define LANES     (VECTOR_BYTES / 4)
#define REAL_SQRT __builtin_sqrtf
#else
#define NAME(x)   NAME3(x##_f, 64, ISA)
#define LANES     (VECTOR_BYTES / 8)
#define REAL_SQRT __builtin_sqrt
#endif
#define STRING_(x) #x
#define STRING(x)  STRING_(x)

#include "vec.h"

#include "act.h"

#include "tile.h"

#include "cell_gru.h"
#include "cell_lstm.h"
#include "cell_rnn.h"
#include "gradient.h"

/* Rows at `a` times panel p of a pack with V vectors a k. Field by field, here and below: a struct
 * that is written so and read back whole makes the processor wait. */
INLINE void NAME(rows_times_panel)(operand *op, const void *a, ptrdiff_t lda, ptrdiff_t b,
                                   const void *weight, ptrdiff_t k, ptrdiff_t p, int V,
                                   int panel_pitch)
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
INLINE void NAME(runs_times_panel)(operand *op, const void *a, ptrdiff_t lda, ptrdiff_t b,
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

/* Takes the sums of n <= GROUP vectors, acc[e * next], to h and what else a step writes. */
typedef void (*NAME(finish_fn))(const rnnfast_step *, int n, const group *, const vec *acc,
                                ptrdiff_t next);

/* One vector of units, from u on, of rows from b on. */
INLINE void NAME(finish_rows)(const rnnfast_step *s, ptrdiff_t b, ptrdiff_t rows, ptrdiff_t u,
                              const vec *acc, NAME(finish_fn) finish)
{
    ptrdiff_t r = 0;
    for (; r + GROUP <= rows; r += GROUP)
        finish(s, GROUP, &(group){b + r, u, 1, 0}, acc + r * RNNFAST_VECTORS, RNNFAST_VECTORS);
    for (; r < rows; r++)
        finish(s, 1, &(group){b + r, u, 1, 0}, acc + r * RNNFAST_VECTORS, RNNFAST_VECTORS);
}

/* Where the sums of rows from b on start: at the bias, or at the input product. */
INLINE origin NAME(sums_start)(const rnnfast_step *s, ptrdiff_t b, ptrdiff_t p)
{
    const ptrdiff_t at = p * RNNFAST_VECTORS * LANES;
    return s->product ? (origin){(const real *)s->product + b * s->ldp + at, s->ldp}
                      : (origin){(const real *)s->bias + at, 0};
}

/* What gate_sums multiplies for panel p and rows from b on: x and h, as far as they are wanted. */
INLINE int NAME(gate_operands)(const rnnfast_step *s, const int gates, const int recurrent,
                               ptrdiff_t b, ptrdiff_t p, int V, operand *op)
{
    const int pitch = gates == 1 ? RNNFAST_VECTORS : gates, wanted = !s->product;
    if (wanted) NAME(rows_times_panel)(op, s->x, s->ldx, b, s->weight_x, s->input, p, V, pitch);
    if (recurrent) {
        op += wanted;
        NAME(rows_times_panel)(op, s->h, s->ldh, b, s->weight_h, s->recurrent, p, V, pitch);
        op->first = gates == 3;
    }
    return wanted + recurrent;
}

/* A single row and two panels: the sums never leave the registers. */
INLINE void NAME(one_row)(const rnnfast_step *s, const int gates, const int recurrent, ptrdiff_t b,
                          ptrdiff_t p, NAME(finish_fn) finish)
{
    const int V = gates == 1 ? RNNFAST_VECTORS : gates;
    vec acc[2 * RNNFAST_VECTORS];
    operand op[2];
    const int n = NAME(gate_operands)(s, gates, recurrent, b, p, V, op);
    NAME(tile)
    (1, 2, V, RNNFAST_VECTORS, acc, RNNFAST_VECTORS, op, n, NAME(sums_start)(s, b, p), 1, NULL);
    if (gates == 1) {
        for (int j = 0; j < 2; j++)
            finish(s, GROUP, &(group){b, (p + j) * V * LANES, 0, LANES}, acc + j * V, 1);
    } else {
        finish(s, 2, &(group){b, p * LANES, 0, LANES}, acc, RNNFAST_VECTORS);
    }
}

/* For each panel and block of rows: acc = bias or input product, + x W_x and h W_h as asked for,
 * then `finish` while the sums are in the first-level cache. gates 1: a panel is V vectors of
 * units; gates 3 (GRU): x feeds the first three of four vectors, h the last three; gates 4: both
 * feed all. */
INLINE void NAME(gate_sums)(const rnnfast_step *s, const int gates, const int recurrent,
                            ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0, ptrdiff_t p1,
                            NAME(finish_fn) finish)
{
    for (ptrdiff_t p = p0, P; p < p1; p += P) {
        const int V = gates == 1 ? panel_vectors(s->hidden, p) : gates;
        P = panels_together(b1 - b0, gates == 1 ? whole_panels(s->hidden, p, p1) : p1 - p);
        if (P == 2 && b1 - b0 == 1) {
            NAME(one_row)(s, gates, recurrent, b0, p, finish);
            continue;
        }
        for (ptrdiff_t b = b0, rows; b < b1; b += rows) {
            rows = b1 - b < NAME(ROW_BLOCK) ? b1 - b : NAME(ROW_BLOCK);
            vec acc[NAME(ROW_BLOCK) * RNNFAST_VECTORS];
            operand op[2];
            const int n = NAME(gate_operands)(s, gates, recurrent, b, p, V, op);
            add_products(acc, rows, P, V, gates, op, n, NAME(sums_start)(s, b, p), s->fetch);
            for (ptrdiff_t j = 0; j < P; j++) {
                const vec *sums = acc + j * rows * RNNFAST_VECTORS;
                ptrdiff_t u = (p + j) * (gates == 1 ? RNNFAST_VECTORS : 1) * LANES;
                for (int v = 0; v < (gates == 1 ? V : 1); v++, u += LANES)
                    NAME(finish_rows)(s, b, rows, u, sums + v, finish);
            }
        }
    }
}

/* The vectors of a mask that go with a group's. */
INLINE vec NAME(mask_of)(const rnnfast_backstep *s, const void *mask, ptrdiff_t ld, const group *g,
                         int e)
{
    const ptrdiff_t b = g->b + e * g->rows, u = g->u + e * g->units;
    return load_n((const real *)mask + (s->mask_row ? s->mask_row[b] : b) * ld + u, s->hidden - u);
}

/* From the sums to the cell's share of dh, and of a gradient of c that waits in `carry`. A GRU's
 * carry is part of dh, so with zoneout the cell finds none. */
INLINE void NAME(before_cell)(const rnnfast_backstep *s, const int n, const group *g, vec *dh)
{
    if (s->drop && s->next) EACH(e)
    dh[e] =
        NAME(mask_of)(s, s->drop, s->ld_drop, g, e) * dh[e] + load(where(s->dh_in, s->ldd, g, e));
    if (s->zone_h) EACH(e)
        {
            real *kept = where(s->kept_h, s->ldh, g, e), *carry = where(s->carry, s->ldk, g, e);
            const vec share = NAME(mask_of)(s, s->zone_h, s->ld_zone_h, g, e);
            dh[e] += load(kept);
            if (s->carries_dh) {
                dh[e] += load(carry);
                store(carry, (vec){0});
            }
            store(kept, share * dh[e]);
            dh[e] *= 1 - share;
        }
    if (s->zone_c) EACH(e)
        {
            real *carry = where(s->carry, s->ldk, g, e);
            const vec share = NAME(mask_of)(s, s->zone_c, s->ld_zone_c, g, e), dc = load(carry);
            store(where(s->kept_c, s->ldk, g, e), share * dc);
            store(carry, (1 - share) * dc);
        }
}

INLINE void NAME(after_cell)(const rnnfast_backstep *s, const int n, const group *g)
{
    if (s->zone_c) EACH(e)
        {
            real *carry = where(s->carry, s->ldk, g, e);
            store(carry, load(carry) + load(where(s->kept_c, s->ldk, g, e)));
        }
}

/* A cell's backward: dh, then `finish` takes it through the cell. */
INLINE void NAME(cell_backward)(const rnnfast_backstep *s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                                ptrdiff_t p1,
                                void (*finish)(const rnnfast_backstep *, int n, const group *,
                                               const vec *dh))
{
    for (ptrdiff_t p = p0, P; p < p1; p += P) {
        const int V = panel_vectors(s->hidden, p);
        P = panels_together(b1 - b0, whole_panels(s->hidden, p, p1));
        for (ptrdiff_t b = b0, rows; b < b1; b += rows) {
            rows = b1 - b < NAME(ROW_BLOCK) ? b1 - b : NAME(ROW_BLOCK);
            vec acc[NAME(ROW_BLOCK) * RNNFAST_VECTORS];
            operand op[RNNFAST_VECTORS];
            origin start = {(const real *)s->dh_in + b * s->ldd + p * RNNFAST_VECTORS * LANES,
                            s->ldd};
            if (s->next && s->drop) start = (origin){0};
            if (s->next) NAME(runs_times_panel)
            (op, s->next, s->ldn, b, s->n_runs, s->run_length, s->run_pitch, s->weight_h, p, V);
            add_products(acc, rows, P, V, 1, op, s->next ? (int)s->n_runs : 0, start, s->fetch);
            for (ptrdiff_t j = 0; j < P; j++)
                for (ptrdiff_t r = 0; r < rows; r++) {
                    vec *dh = acc + (j * rows + r) * RNNFAST_VECTORS;
                    const ptrdiff_t u = (p + j) * RNNFAST_VECTORS * LANES;
                    if (V == GROUP) {
                        const group g = {b + r, u, 0, LANES};
                        NAME(before_cell)(s, GROUP, &g, dh);
                        finish(s, GROUP, &g, dh);
                        NAME(after_cell)(s, GROUP, &g);
                        continue;
                    }
                    for (int v = 0; v < V; v++) {
                        const group g = {b + r, u + v * LANES, 0, 0};
                        NAME(before_cell)(s, 1, &g, dh + v);
                        finish(s, 1, &g, dh + v);
                        NAME(after_cell)(s, 1, &g);
                    }
                }
        }
    }
}

INLINE void NAME(store_dh)(const rnnfast_backstep *s, const int n, const group *g, const vec *dh)
{
    EACH(e) store(where(s->dh, s->ldh, g, e), dh[e]);
}

static void NAME(recurrent_gradient)(const rnnfast_backstep *s, ptrdiff_t b0, ptrdiff_t b1,
                                     ptrdiff_t p0, ptrdiff_t p1)
{
    NAME(cell_backward)(s, b0, b1, p0, p1, NAME(store_dh));
}

#include "norm.h"
#include "masks.h"

/* The entries of a cell in the table. */
#define CELL(cell, gates)                                                                          \
    _Static_assert(gates == 1 || gates == 3 || gates == 4, "gate_sums knows no other layout");     \
    static void NAME(cell##_forward_step)(const rnnfast_step *s, ptrdiff_t b0, ptrdiff_t b1,       \
                                          ptrdiff_t p0, ptrdiff_t p1)                              \
    {                                                                                              \
        NAME(gate_sums)(s, gates, 1, b0, b1, p0, p1, NAME(cell##_forward));                        \
    }                                                                                              \
    static void NAME(cell##_backward_step)(const rnnfast_backstep *s, ptrdiff_t b0, ptrdiff_t b1,  \
                                           ptrdiff_t p0, ptrdiff_t p1)                             \
    {                                                                                              \
        NAME(cell_backward)(s, b0, b1, p0, p1, NAME(cell##_backward));                             \
    }
#define NORM(cell, gates)                                                                          \
    static void NAME(cell##_norm_step)(const rnnfast_step *s, const rnnfast_norm *m, ptrdiff_t b0, \
                                       ptrdiff_t b1)                                               \
    {                                                                                              \
        NAME(norm_forward)(s, m, gates == 1 ? 1 : RNNFAST_VECTORS, b0, b1, NAME(cell##_forward));  \
    }
CELL(rnn_tanh, 1)
CELL(rnn_relu, 1)
CELL(lstm, 4)
CELL(gru, 3)
CELL(gru_reset_before, 1)
CELL(reset, 1)
NORM(rnn_tanh, 1)
NORM(rnn_relu, 1)
NORM(lstm, 4)
NORM(gru, 3)
#undef CELL
#undef NORM

INLINE void NAME(store_units)(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                              ptrdiff_t next)
{
    EACH(e) store(where(s->gates, s->ldp, g, e), acc[e * next]);
}

INLINE void NAME(store_gates)(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                              ptrdiff_t next)
{
    EACH(e)
    {
        real *product = (real *)s->gates + (g->b + e * g->rows) * s->ldp +
                        (g->u + e * g->units) * RNNFAST_VECTORS;
        for (int v = 0; v < RNNFAST_VECTORS; v++) store(product + v * LANES, acc[e * next + v]);
    }
}

static void NAME(input_product)(const rnnfast_step *s, int gates, ptrdiff_t b0, ptrdiff_t b1,
                                ptrdiff_t p0, ptrdiff_t p1)
{
    if (gates == 1)
        NAME(gate_sums)(s, 1, 0, b0, b1, p0, p1, NAME(store_units));
    else if (gates == 3)
        NAME(gate_sums)(s, 3, 0, b0, b1, p0, p1, NAME(store_gates));
    else
        NAME(gate_sums)(s, 4, 0, b0, b1, p0, p1, NAME(store_gates));
}

INLINE void NAME(store_slot)(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                             ptrdiff_t next)
{
    EACH(e) store(where(s->gates, s->ldg, g, e), acc[e * next]);
}

INLINE void NAME(store_slots)(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                              ptrdiff_t next)
{
    const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
    EACH(e)
    for (int v = 0; v < RNNFAST_VECTORS; v++)
        store(where(s->gates, s->ldg, g, e) + v * H, acc[e * next + v]);
}

static void NAME(slot_sums)(const rnnfast_step *s, int gates, ptrdiff_t b0, ptrdiff_t b1,
                            ptrdiff_t p0, ptrdiff_t p1)
{
    if (gates == 1)
        NAME(gate_sums)(s, 1, 1, b0, b1, p0, p1, NAME(store_slot));
    else if (gates == 3)
        NAME(gate_sums)(s, 3, 1, b0, b1, p0, p1, NAME(store_slots));
    else
        NAME(gate_sums)(s, 4, 1, b0, b1, p0, p1, NAME(store_slots));
}

static void NAME(matmul)(const rnnfast_matmul *m, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                         ptrdiff_t p1)
{
    static const real zeros[RNNFAST_VECTORS * LANES];
    for (ptrdiff_t p = p0; p < p1; p++) {
        const int V = panel_vectors(m->n_out, p);
        const ptrdiff_t u = p * RNNFAST_VECTORS * LANES, n = m->n_out - u;
        for (ptrdiff_t b = b0, rows; b < b1; b += rows) {
            rows = b1 - b < NAME(ROW_BLOCK) ? b1 - b : NAME(ROW_BLOCK);
            vec acc[NAME(ROW_BLOCK) * RNNFAST_VECTORS];
            real *out[NAME(ROW_BLOCK)];
            origin start = {m->bias ? (const real *)m->bias + u : zeros, 0};
            if (m->accumulate) start = (origin){(const real *)acc, RNNFAST_VECTORS * LANES};
            for (ptrdiff_t r = 0; r < rows; r++) {
                out[r] = (real *)m->out + (m->out_row ? m->out_row[b + r] : b + r) * m->ldo + u;
                for (int v = 0; v < V && m->accumulate; v++)
                    acc[r * RNNFAST_VECTORS + v] = load_n(out[r] + v * LANES, n - v * LANES);
            }
            operand op[RNNFAST_VECTORS];
            NAME(runs_times_panel)
            (op, m->a, m->lda, b, m->n_runs, m->run_length, m->run_pitch, m->weight, p, V);
            add_products(acc, rows, 1, V, 1, op, (int)m->n_runs, start, m->fetch);
            for (ptrdiff_t r = 0; r < rows; r++)
                for (int v = 0; v < V; v++)
                    store_n(out[r] + v * LANES, acc[r * RNNFAST_VECTORS + v], n - v * LANES);
        }
    }
}

#define STEPS(cell) NAME(cell##_forward_step), NAME(cell##_backward_step)
#define CELL(cell)  {STEPS(cell), NAME(cell##_norm_step)}
const rnnfast_kernels NAME(rnnfast_table) = {
    .isa = STRING(ISA),
    .itemsize = sizeof(real),
    .lanes = LANES,
    .rows = TILE_ROWS,
    .tile_bytes = TILE_ROWS * RNNFAST_VECTORS * VECTOR_BYTES,
    .cell = {[RNNFAST_RNN_TANH] = CELL(rnn_tanh),
             [RNNFAST_RNN_RELU] = CELL(rnn_relu),
             [RNNFAST_LSTM] = CELL(lstm),
             [RNNFAST_GRU] = CELL(gru),
             [RNNFAST_GRU_RESET_BEFORE] = {STEPS(gru_reset_before), NULL}},
    .reset_forward = NAME(reset_forward_step),
    .reset_backward = NAME(reset_backward_step),
    .input_product = NAME(input_product),
    .slot_sums = NAME(slot_sums),
    .recurrent_gradient = NAME(recurrent_gradient),
    .norm_backward = NAME(norm_backward),
    .layer_norm = NAME(layer_norm),
    .layer_norm_backward = NAME(layer_norm_backward),
    .layer_norm_columns = NAME(layer_norm_columns),
    .matmul = NAME(matmul),
    .outer = NAME(outer),
    .outer_add = NAME(outer_add),
    .tiles_per_panel = NAME(tiles_per_panel),
    .narrow = NAME(narrow),
    .pack = NAME(pack),
    .add = NAME(add),
    .multiply = NAME(multiply),
    .mask_rows = NAME(mask_rows),
    .sum_squares = NAME(sum_squares),
    .activate = NAME(activate),
    .fill_mask = NAME(fill_mask),
    .sgd = NAME(sgd),
    .adam = NAME(adam),
    .nadam = NAME(nadam),
    .rmsprop = NAME(rmsprop),
    .fma_loop = NAME(fma_loop),
    .read_loop = NAME(read_loop),
};
#undef STEPS
#undef CELL

#undef PASTE
#undef NAME3
#undef NAME
#undef LANES
#undef REAL_SQRT
#undef STRING_
#undef STRING
#undef real
#undef vec
#undef ivec
#undef INLINE
#undef splat
#undef load
#undef store
#undef load_n
#undef store_n
#undef load_before
#undef vmin
#undef vmax
#undef choose
#undef sigmoid
#undef vtanh
#undef GROUP
#undef EACH
#undef group
#undef where
#undef operand
#undef origin
#undef whole_panels
#undef panels_together
#undef deal
#undef add_products
#undef LINE
#undef FETCHES
#undef LINE_VECTORS
#undef first_lanes
#undef only
#undef line_means
#undef UNROLL
#undef panel_vectors
