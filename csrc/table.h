/* The table of kernels for one real type (REAL_BITS) and one instruction set (a header of isa/,
 * which defines nothing where it is one of another processor). */
#ifdef ISA

#include "cells.h"
#include "elementwise.h"
#include "gradient.h"
#include "masks.h"
#include "matmul.h"
#include "norm.h"
#include "optim.h"
#include "pack.h"
#include "step.h"
#include "yardstick.h"

/* The kernels of a cell, and those of `reset`, which runs ahead of gru_reset_before. */
#define STEPS(cell, panel)                                                                         \
    _Static_assert(panel >= 1 && panel <= 4, "gate_sums knows no other layout");                   \
    static void cell##_forward_step(const rnnfast_step *s, ptrdiff_t b0, ptrdiff_t b1,             \
                                    ptrdiff_t p0, ptrdiff_t p1)                                    \
    {                                                                                              \
        if (b1 - b0 == 1)                                                                          \
            row_sums(s, panel, s->weight_h != NULL, b0, p0, p1, cell##_forward);                   \
        else                                                                                       \
            gate_sums(s, panel, s->weight_h != NULL, b0, b1, p0, p1, cell##_forward);              \
    }                                                                                              \
    static void cell##_backward_step(const rnnfast_backstep *s, ptrdiff_t b0, ptrdiff_t b1,        \
                                     ptrdiff_t p0, ptrdiff_t p1)                                   \
    {                                                                                              \
        cell_backward(s, b0, b1, p0, p1, cell##_backward);                                         \
    }
#define NORM_STEP_0(cell, panel)
#define NORM_STEP_1(cell, panel)                                                                   \
    _Static_assert(panel != 2, "slot_sums writes one slot or four");                               \
    static void cell##_norm_step(const rnnfast_step *s, const rnnfast_norm *m, ptrdiff_t b0,       \
                                 ptrdiff_t b1)                                                     \
    {                                                                                              \
        norm_forward(s, m, panel == 1 ? 1 : RNNFAST_VECTORS, b0, b1, cell##_forward);              \
    }
#define KERNELS(cell, panel, norm, ...) STEPS(cell, panel) NORM_STEP_##norm(cell, panel)
RNNFAST_EACH_CELL(KERNELS)
STEPS(reset, 1)

#define NORM_ENTRY_0(cell) NULL
#define NORM_ENTRY_1(cell) cell##_norm_step
#define ENTRY(cell, panel, norm, ...)                                                              \
    {cell##_forward_step, cell##_backward_step, NORM_ENTRY_##norm(cell)},
static const rnnfast_cell_kernels cell_kernels[] = {RNNFAST_EACH_CELL(ENTRY)};

#define TABLE_NAME_(bits, isa) rnnfast_table_f##bits##_##isa
#define TABLE_NAME(bits, isa)  TABLE_NAME_(bits, isa)
const rnnfast_kernels TABLE_NAME(REAL_BITS, ISA) = {
    .isa = STRING(ISA),
    .itemsize = sizeof(real),
    .lanes = LANES,
    .rows = TILE_ROWS,
    .tile_bytes = TILE_ROWS * RNNFAST_VECTORS * VECTOR_BYTES,
    .cell = cell_kernels,
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
    .optimisers = optimisers,
    .fma_loop = fma_loop,
    .read_loop = read_loop,
};

#if defined(__clang__) && defined(TARGET)
#pragma clang attribute pop
#endif
#endif
