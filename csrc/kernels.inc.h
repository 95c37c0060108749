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
#include "dense.h"

/* acc of rows [b, b + R) starts from the bias or from the input product of panel p. */
INLINE void NAME(start)(const rnnfast_step *s, ptrdiff_t b, int R, ptrdiff_t p, int V, vec *acc)
{
    const ptrdiff_t at = p * RNNFAST_VECTORS * LANES;
    const real *from =
        s->product ? (const real *)s->product + b * s->ldp + at : (const real *)s->bias + at;
    for (int r = 0; r < R; r++, from += s->product ? s->ldp : 0)
        for (int v = 0; v < V; v++) acc[r * RNNFAST_VECTORS + v] = load(from + v * LANES);
}

/* Rows [b, b + R) of panel p of a pack of V vectors a k, as an operand of the tile. */
INLINE operand NAME(rows_times_panel)(const void *a, ptrdiff_t lda, ptrdiff_t b, const void *weight,
                                      ptrdiff_t k, ptrdiff_t p, int V, int panel_pitch)
{
    return (operand){(const real *)a + b * lda,
                     lda,
                     1,
                     (const real *)weight + p * k * panel_pitch * LANES,
                     V * LANES,
                     k};
}

/* A cell's forward: its sums, then `finish` on each row while they are in the first-level cache.
 * gates 1: a panel is V vectors of units, finished one by one; gates 3 (GRU): x feeds the first
 * three vectors, h the last three; gates 4: both feed all. */
INLINE void NAME(cell_forward)(const rnnfast_step *s, const int gates, ptrdiff_t b0, ptrdiff_t b1,
                               ptrdiff_t p0, ptrdiff_t p1,
                               void (*finish)(const rnnfast_step *, ptrdiff_t, ptrdiff_t,
                                              const vec *))
{
    const int pitch = gates == 1 ? RNNFAST_VECTORS : gates;
    for (ptrdiff_t p = p0; p < p1; p++) {
        const int V = gates == 1 ? panel_vectors(s->hidden, p) : gates;
        for (ptrdiff_t b = b0, R; b < b1; b += R) {
            R = deal(b1 - b);
            vec acc[TILE_ROWS * RNNFAST_VECTORS];
            NAME(start)(s, b, R, p, gates == 1 ? V : RNNFAST_VECTORS, acc);
            const operand op[2] = {
                NAME(rows_times_panel)(s->x, s->ldx, b, s->weight_x, s->input, p, V, pitch),
                NAME(rows_times_panel)(s->h, s->ldh, b, s->weight_h, s->recurrent, p, V, pitch)};
            if (gates == 3) {
                if (!s->product) run_tile(R, 3, acc, op, 1);
                run_tile(R, 3, acc + 1, op + 1, 1);
            } else if (s->product) {
                run_tile(R, V, acc, op + 1, 1);
            } else {
                run_tile(R, V, acc, op, 2);
            }
            for (int r = 0; r < R; r++) {
                const vec *row = acc + r * RNNFAST_VECTORS;
                if (gates == 1)
                    for (int v = 0; v < V; v++)
                        finish(s, b + r, (p * RNNFAST_VECTORS + v) * LANES, row + v);
                else
                    finish(s, b + r, p * LANES, row);
            }
        }
    }
}

/* A cell's backward: dh, then `finish` takes it through the cell. */
INLINE void NAME(cell_backward)(const rnnfast_backstep *s, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                                ptrdiff_t p1,
                                void (*finish)(const rnnfast_backstep *, ptrdiff_t, ptrdiff_t, vec))
{
    const ptrdiff_t k = s->n_runs * s->run_length;
    for (ptrdiff_t p = p0; p < p1; p++) {
        const int V = panel_vectors(s->hidden, p);
        const ptrdiff_t u = p * RNNFAST_VECTORS * LANES;
        const real *weight = (const real *)s->weight_h + p * k * RNNFAST_VECTORS * LANES;
        for (ptrdiff_t b = b0, R; b < b1; b += R) {
            R = deal(b1 - b);
            vec acc[TILE_ROWS * RNNFAST_VECTORS];
            for (int r = 0; r < R; r++)
                for (int v = 0; v < V; v++)
                    acc[r * RNNFAST_VECTORS + v] =
                        load((const real *)s->dh_in + (b + r) * s->ldd + u + v * LANES);
            if (s->next) {
                operand op[RNNFAST_VECTORS];
                for (ptrdiff_t i = 0; i < s->n_runs; i++)
                    op[i] = (operand){(const real *)s->next + b * s->ldn + i * s->run_pitch,
                                      s->ldn,
                                      1,
                                      weight + i * s->run_length * V * LANES,
                                      V * LANES,
                                      s->run_length};
                run_tile(R, V, acc, op, (int)s->n_runs);
            }
            for (int r = 0; r < R; r++)
                for (int v = 0; v < V; v++)
                    finish(s, b + r, u + v * LANES, acc[r * RNNFAST_VECTORS + v]);
        }
    }
}

/* The two entries of a cell in the table. */
#define CELL(cell, gates)                                                                          \
    static void NAME(cell##_forward_step)(const rnnfast_step *s, ptrdiff_t b0, ptrdiff_t b1,       \
                                          ptrdiff_t p0, ptrdiff_t p1)                              \
    {                                                                                              \
        NAME(cell_forward)(s, gates, b0, b1, p0, p1, NAME(cell##_forward));                        \
    }                                                                                              \
    static void NAME(cell##_backward_step)(const rnnfast_backstep *s, ptrdiff_t b0, ptrdiff_t b1,  \
                                           ptrdiff_t p0, ptrdiff_t p1)                             \
    {                                                                                              \
        NAME(cell_backward)(s, b0, b1, p0, p1, NAME(cell##_backward));                             \
    }
CELL(rnn_tanh, 1)
CELL(rnn_relu, 1)
CELL(lstm, 4)
CELL(gru, 3)
#undef CELL

static void NAME(input_product)(const rnnfast_step *s, int gates, void *product, ptrdiff_t b0,
                                ptrdiff_t b1, ptrdiff_t p0, ptrdiff_t p1)
{
    const int pitch = gates == 1 ? RNNFAST_VECTORS : gates;
    for (ptrdiff_t p = p0; p < p1; p++) {
        const int V = gates == 1 ? panel_vectors(s->hidden, p) : gates;
        for (ptrdiff_t b = b0, R; b < b1; b += R) {
            R = deal(b1 - b);
            vec acc[TILE_ROWS * RNNFAST_VECTORS];
            NAME(start)(s, b, R, p, gates == 1 ? V : RNNFAST_VECTORS, acc);
            const operand op =
                NAME(rows_times_panel)(s->x, s->ldx, b, s->weight_x, s->input, p, V, pitch);
            run_tile(R, V, acc, &op, 1);
            for (int r = 0; r < R; r++)
                for (int v = 0; v < (gates == 1 ? V : RNNFAST_VECTORS); v++)
                    store((real *)product + (b + r) * s->ldp + (p * RNNFAST_VECTORS + v) * LANES,
                          acc[r * RNNFAST_VECTORS + v]);
        }
    }
}

const rnnfast_kernels NAME(rnnfast_table) = {
    .isa = STRING(ISA),
    .itemsize = sizeof(real),
    .lanes = LANES,
    .rows = TILE_ROWS,
    .cell = {[RNNFAST_RNN_TANH] = {NAME(rnn_tanh_forward_step), NAME(rnn_tanh_backward_step)},
             [RNNFAST_RNN_RELU] = {NAME(rnn_relu_forward_step), NAME(rnn_relu_backward_step)},
             [RNNFAST_LSTM] = {NAME(lstm_forward_step), NAME(lstm_backward_step)},
             [RNNFAST_GRU] = {NAME(gru_forward_step), NAME(gru_backward_step)}},
    .input_product = NAME(input_product),
    .matmul = NAME(matmul),
    .outer = NAME(outer),
    .outer_tiles = NAME(outer_tiles),
    .pack = NAME(pack),
    .unpack = NAME(unpack),
    .add = NAME(add),
    .multiply = NAME(multiply),
    .activate = NAME(activate),
    .sgd = NAME(sgd),
    .adam = NAME(adam),
    .rmsprop = NAME(rmsprop),
    .fma_loop = NAME(fma_loop),
};

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
#undef vmin
#undef vmax
#undef choose
#undef sigmoid
#undef vtanh
#undef operand
#undef run_tile
#undef deal
#undef panel_vectors
