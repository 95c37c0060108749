/* One table of kernels for one real type (REAL_BITS) and one instruction set (ISA, VECTOR_BYTES,
 * TILE_ROWS). */
#ifdef ISA /* else it belongs to another processor */

#include "cell_gru.h"
#include "cell_lstm.h"
#include "cell_rnn.h"
#include "elementwise.h"
#include "gradient.h"
#include "masks.h"
#include "matmul.h"
#include "norm.h"
#include "optim.h"
#include "pack.h"
#include "step.h"
#include "yardstick.h"

/* The entries of a cell in the table. */
#define CELL(cell, gates)                                                                          \
    _Static_assert(gates == 1 || gates == 3 || gates == 4, "gate_sums knows no other layout");     \
    static void cell##_forward_step(const rnnfast_step *s, ptrdiff_t b0, ptrdiff_t b1,             \
                                    ptrdiff_t p0, ptrdiff_t p1)                                    \
    {                                                                                              \
        gate_sums(s, gates, 1, b0, b1, p0, p1, cell##_forward);                                    \
    }                                                                                              \
    static void cell##_backward_step(const rnnfast_backstep *s, ptrdiff_t b0, ptrdiff_t b1,        \
                                     ptrdiff_t p0, ptrdiff_t p1)                                   \
    {                                                                                              \
        cell_backward(s, b0, b1, p0, p1, cell##_backward);                                         \
    }
#define NORM(cell, gates)                                                                          \
    static void cell##_norm_step(const rnnfast_step *s, const rnnfast_norm *m, ptrdiff_t b0,       \
                                 ptrdiff_t b1)                                                     \
    {                                                                                              \
        norm_forward(s, m, gates == 1 ? 1 : RNNFAST_VECTORS, b0, b1, cell##_forward);              \
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

#define STEPS(cell)            cell##_forward_step, cell##_backward_step
#define STEPS_AND_NORM(cell)   {STEPS(cell), cell##_norm_step}
#define TABLE_NAME_(bits, isa) rnnfast_table_f##bits##_##isa
#define TABLE_NAME(bits, isa)  TABLE_NAME_(bits, isa)
const rnnfast_kernels TABLE_NAME(REAL_BITS, ISA) = {
    .isa = STRING(ISA),
    .itemsize = sizeof(real),
    .lanes = LANES,
    .rows = TILE_ROWS,
    .tile_bytes = TILE_ROWS * RNNFAST_VECTORS * VECTOR_BYTES,
    .cell = {[RNNFAST_RNN_TANH] = STEPS_AND_NORM(rnn_tanh),
             [RNNFAST_RNN_RELU] = STEPS_AND_NORM(rnn_relu),
             [RNNFAST_LSTM] = STEPS_AND_NORM(lstm),
             [RNNFAST_GRU] = STEPS_AND_NORM(gru),
             [RNNFAST_GRU_RESET_BEFORE] = {STEPS(gru_reset_before), NULL}},
    .reset_forward = reset_forward_step,
    .reset_backward = reset_backward_step,
    .input_product = input_product,
    .slot_sums = slot_sums,
    .recurrent_gradient = recurrent_gradient,
    .norm_backward = norm_backward,
    .layer_norm = layer_norm,
    .layer_norm_backward = layer_norm_backward,
    .layer_norm_columns = layer_norm_columns,
    .matmul = matmul,
    .outer = outer,
    .outer_add = outer_add,
    .tiles_per_panel = tiles_per_panel,
    .narrow = narrow,
    .pack = pack,
    .add = add,
    .multiply = multiply,
    .mask_rows = mask_rows,
    .sum_squares = sum_squares,
    .activate = activate,
    .fill_mask = fill_mask,
    .sgd = sgd,
    .adam = adam,
    .nadam = nadam,
    .rmsprop = rmsprop,
    .fma_loop = fma_loop,
    .read_loop = read_loop,
};

#if defined(__clang__) && defined(TARGET)
#pragma clang attribute pop
#endif
#endif
