/* The contract between the time loops (rnnfast/core) and the kernels (csrc).
 *
 * A kernel computes one time step, or one matrix product, for rows [b0, b1) and panels [p0, p1) of
 * what its struct describes. Kernels allocate nothing, start no threads and know nothing of Python.
 * Any number of threads may therefore run the same struct on disjoint rows or panels.
 *
 * Sizes: B batch, T time steps, I input, H hidden, P projection, K recurrent state (P with a
 * projection, else H), G gates that have weights, S slots of a gate row.
 *
 * Pointers are void because the same time loop serves float and double; `rnnfast_kernels.itemsize`
 * says which. Strides ("ld...") count elements from one row to the next. Arrays must not alias
 * unless a comment allows it.
 *
 * The engine pads its own rows to whole cache lines (rnnfast_padded), so that kernels load and
 * store whole vectors. A gate row holds S slots side by side, each of them a padded H long. Lanes
 * past H hold arbitrary numbers and never enter a sum. */
#ifndef RNNFAST_H
#define RNNFAST_H

#include <stddef.h>

enum { RNNFAST_LINE = 64 };        /* bytes; rows, panels and blocks are aligned to it */
enum { RNNFAST_VECTORS = 4 };      /* vectors across a tile, and so across a panel */
enum { RNNFAST_BLOCK_ROWS = 128 }; /* rows in one partial sum of a weight gradient */
enum { RNNFAST_MASK_GROUP = 64 };  /* mask elements drawn together */
#define RNNFAST_NORM_EPS 1e-5      /* added to the variance in layer normalisation */

/* What the time loops need to know about a cell. A slot is the place of one gate in a gate row. The
 * input product feeds slots [x_slot, x_slot + gates), the recurrent product slots
 * [h_slot, h_slot + gates). Slot s takes the weights of gate order[s] in PyTorch's order. A GRU has
 * the slots n_x, r, z, n_h, so that each product feeds three neighbouring slots. */
typedef struct {
    const char *name;
    int gates, slots, x_slot, h_slot;
    int has_cell_state; /* whether there is a c beside h; the carry of backward is then dc */
    int carries_dh;     /* the carry of backward is the part of dh that bypasses the gates */
    int reset_before;   /* slots n, r, z; the recurrent product of n is of r h: see reset_forward */
    int input_only;     /* no recurrent product: the gates are of x alone */
    int order[RNNFAST_VECTORS];
    int own[RNNFAST_VECTORS]; /* of each slot: 1 + its row in the cell's own vectors, or 0 */
    int panel_gates;          /* gates side by side in a panel of packed weights */
    int has_norm;             /* whether there is a norm_forward */
} rnnfast_cell;

extern const rnnfast_cell rnnfast_cells[]; /* the rows of cells.h, then one without a name */

/* Packed weights are a sequence of panels. With several gates a panel holds LANES hidden units, all
 * slots of a unit together: [panel][k][slot][lane]. With a single gate it holds 4 x LANES units:
 * [panel][k][vector][lane], the last panel only as many vectors as it needs. A packed bias, and a
 * row of an input product, is [panel][4][lane].
 *
 * With `reset_before` n is packed as a single gate, and r and z together as another one of twice
 * the padded H. Their biases and input products follow those of n. */

/* One forward step: h_out = cell(x W_x + h W_h + bias). */
typedef struct {
    ptrdiff_t input, recurrent, hidden; /* I, K, H */
    int fetch;     /* of weights: 0 none, 1 from the third-level cache, 2 from memory */
    const void *x; /* (B, I); not read where `product` is given */
    ptrdiff_t ldx;
    const void *h;      /* (B, K) the operand of W_h: h_prev, its masked copy, or r h; not read
                           without weight_h */
    const void *h_prev; /* (B, K) the state before the step; only cells that carry dh read it */
    ptrdiff_t ldh;
    const void *weight_x, *weight_h, *bias; /* weight_h NULL: no recurrent product */
    const void *product; /* (B, panels, 4, LANES) x W_x + bias computed earlier, or NULL */
    ptrdiff_t ldp;
    const void *c; /* (B, H) LSTM: the cell state before the step */
    void *c_out;   /* (B, H) written; may be c itself */
    ptrdiff_t ldc;
    const void *own; /* (S, padded H) of a cell with vectors of its own, such as peepholes */
    void *h_out;     /* (B, H) written; must be neither h nor h_prev */
    ptrdiff_t ldh_out;
    void *y; /* (B, H) written, not beyond: h_out once more, for whoever reads it next; or NULL */
    ptrdiff_t ldy;
    void *gates; /* (B, S, padded H) written: activated gates. NULL at inference, except with
                    `reset_before`, whose reset_forward leaves z here for `forward` */
    void *sums;  /* (B, S, padded H) written by slot_sums: the gates before their activations */
    ptrdiff_t ldg;
    void *product_out; /* (B, panels, 4, LANES) written by input_product: a later `product`;
                          vectors without a slot are arbitrary */
} rnnfast_step;

/* Zoneout: to = mask old + (1 - mask) fresh. Dropout, where `old` is NULL: to = mask fresh. `to`
 * may alias `fresh` or `old`. */
typedef struct {
    ptrdiff_t columns;
    void *to;
    const void *fresh, *old; /* padded rows, as those of `to` */
    ptrdiff_t ld;
    const void *mask; /* rows of `columns` elements, not padded */
    ptrdiff_t ldm;
    const ptrdiff_t *mask_row; /* row of the mask for row b; NULL: b itself */
} rnnfast_masked;

/* One step of BPTT: dh = dh_in + dgates_next W_h, then the derivative of the cell. Recurrent
 * dropout multiplies the product by its mask. With zoneout the fraction 1 - mask of the gradient of
 * h, or of c, goes through the cell. `kept` takes the other fraction to the previous step. */
typedef struct {
    ptrdiff_t hidden;  /* H */
    int fetch;         /* as in rnnfast_step */
    int carries_dh;    /* as in rnnfast_cell */
    const void *dh_in; /* (B, H) gradient of h from outside the recurrence */
    ptrdiff_t ldd;
    const void *next; /* (B, ...) the operand of weight_h: dgates of the following step, for
                         reset_backward dn of this one; NULL: no product */
    ptrdiff_t ldn;    /*   its rows, */
    ptrdiff_t n_runs; /*   each with n_runs runs of run_length elements, run_pitch apart */
    ptrdiff_t run_length, run_pitch;
    const ptrdiff_t *cut;   /* of each row: whether `next` does not reach it; or NULL */
    const void *weight_h;   /* packed transpose, with H outputs */
    const void *h_prev, *h; /* (B, H) states before and after the step; RNNs read h, cells that
                               carry dh read h_prev */
    ptrdiff_t ldh;
    const void *c_prev, *c; /* (B, H) LSTM */
    ptrdiff_t ldc;
    const void *own; /* as in rnnfast_step */
    void *d_own; /* (B, S, padded H), rows as those of gates: each row added to its own; or NULL */
    void *gates; /* (B, S, padded H) in: activated gates; out: gradients of their pre-activations */
    ptrdiff_t ldg;
    void *carry; /* (B, H) in and out: dc; with carries_dh what bypasses the gates of dh */
    ptrdiff_t ldk;
    const void *drop, *zone_h, *zone_c; /* masks as in rnnfast_masked, or NULL */
    ptrdiff_t ld_drop, ld_zone_h, ld_zone_c;
    const ptrdiff_t *mask_row;
    void *kept_h; /* (B, H) in and out; rows as those of h */
    void *kept_c; /* (B, H) scratch, added to the carry in the end; rows as those of carry */
    void *dh;     /* (B, H) written by recurrent_gradient; rows as those of h; may be dh_in */
} rnnfast_backstep;

/* Layer normalisation of the sums of a step. Each slot of each row is normalised over its H units.
 * The rows of these arrays are laid out like gate rows: S slots of a padded H, ld apart. */
typedef struct {
    ptrdiff_t hidden; /* H */
    void *normal;     /* (B, S, padded H) forward: in: sums; out: normalised. backward: read */
    void *rstd;       /* (B, S) dense, written by forward: 1 / sqrt(variance + eps) */
    const void *gamma, *beta; /* (S, padded H) */
    ptrdiff_t ld;
    void *gates; /* backward: in: gradients of the pre-activations; out: gradients of the sums */
    void *dgamma, *dbeta; /* backward: (B, S, padded H), each row added to its own; or NULL */
} rnnfast_norm;

/* The layer LayerNorm: y = n gamma + beta with n = (x - mean) rstd, row by row. */
typedef struct {
    ptrdiff_t columns;
    const void *x, *gamma, *beta; /* (rows, columns), (columns,), (columns,) */
    double eps;
    void *y, *mean, *rstd; /* (rows, columns), (rows,), (rows,); written */
    const void *dy;
    void *dx, *dgamma, *dbeta; /* dx is written, the others are added to */
} rnnfast_layer_norm;

/* out[row] = bias + a[row] W for N = n_out columns, or out[row] += a[row] W with `accumulate`. */
typedef struct {
    const void *a; /* (rows, n_runs x run_length), runs run_pitch apart; must not alias out */
    ptrdiff_t lda, n_runs, run_length, run_pitch;
    const void *weight, *bias; /* packed as a single gate; bias NULL: none, as with accumulate */
    void *out;                 /* (rows, N) written; columns past N are left alone */
    ptrdiff_t ldo, n_out;
    const ptrdiff_t *out_row; /* row of `out` for row b; NULL: b itself */
    int accumulate, fetch;    /* fetch as in rnnfast_step */
} rnnfast_matmul;

/* Random masks: each of the `size` elements of out[entry][row] is `value` where the upper 24 bits
 * of a random word are below `kept`, else 0. The word of an element depends on key, call, index +
 * entry, first + row and the position in the row, on nothing else. */
typedef struct {
    unsigned key[4], call, index;
    ptrdiff_t first, rows, size;
    int kept;
    double value;
    void *out; /* (entries, rows, size) dense */
} rnnfast_mask;

/* Rows [start, start + count) of a flattened (T, B). */
typedef struct {
    ptrdiff_t start, count;
} rnnfast_run;

/* A weight gradient: out[m][k] += sum over rows of g[row][m] a[row][k]. The sum over all rows of a
 * call is formed first, in blocks of RNNFAST_BLOCK_ROWS, and then added to `out` once. */
typedef struct {
    const void *a; /* (rows, K) */
    ptrdiff_t lda, n_a;
    const void *g; /* (rows, n_runs x run_length), runs run_pitch apart */
    ptrdiff_t ldg, n_runs, run_length, run_pitch;
    const int *order; /* index in `out` of each run; NULL: its own */
    void *out;        /* (n_runs x run_length, K) dense; outer_add adds to it */
    void *sums;       /* tile_bytes for each tile of the call, aligned to a cache line */
} rnnfast_outer;

typedef struct {
    void (*forward)(const rnnfast_step *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0, ptrdiff_t p1);
    void (*backward)(const rnnfast_backstep *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                     ptrdiff_t p1);
    /* With layer normalisation, in place of `forward`: normalises the sums that slot_sums left,
     * then applies the cell. NULL without `has_norm`. */
    void (*norm_forward)(const rnnfast_step *, const rnnfast_norm *, ptrdiff_t b0, ptrdiff_t b1);
} rnnfast_cell_kernels;

/* The fused update of an optimiser for elements [i0, i1). optim.h has the formulas, and the order
 * of `running`, what is kept of each parameter, NULL where it is not, and of `settings`. */
typedef struct {
    const char *name;
    void (*update)(void *param, const void *grad, void *const *running, const double *settings,
                   ptrdiff_t i0, ptrdiff_t i1);
} rnnfast_optimiser;

typedef struct {
    const char *isa;
    int itemsize, lanes, rows;
    ptrdiff_t tile_bytes;             /* size of the sums of a tile of a weight gradient */
    const rnnfast_cell_kernels *cell; /* in the order of rnnfast_cells */
    /* Cells with `reset_before` need two more kernels. reset_forward runs ahead of `forward`: it
     * computes r and z as one gate of `hidden` units, writes them to `gates`, which points to slot
     * r, and r h to h_out. reset_backward runs after `backward`: it takes the gradient of r h from
     * dn, computes dr from it, and adds r times it to the carry. */
    void (*reset_forward)(const rnnfast_step *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                          ptrdiff_t p1);
    void (*reset_backward)(const rnnfast_backstep *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                           ptrdiff_t p1);
    /* product_out[row] = x[row] W_x + bias. The argument `gates` is the cell's panel_gates. Reads
     * neither h nor c. */
    void (*input_product)(const rnnfast_step *, int gates, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                          ptrdiff_t p1);
    /* sums[row] = x[row] W_x + h[row] W_h + bias. */
    void (*slot_sums)(const rnnfast_step *, int gates, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                      ptrdiff_t p1);
    /* dh = dh_in + next W_h with masks as for `backward`, but no cell; the same for every cell. */
    void (*recurrent_gradient)(const rnnfast_backstep *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                               ptrdiff_t p1);
    void (*norm_backward)(const rnnfast_norm *, int slots, ptrdiff_t b0, ptrdiff_t b1);
    void (*layer_norm)(const rnnfast_layer_norm *, ptrdiff_t b0, ptrdiff_t b1);
    /* dx of rows [b0, b1). */
    void (*layer_norm_backward)(const rnnfast_layer_norm *, ptrdiff_t b0, ptrdiff_t b1);
    /* Columns [u0, u1) of dgamma and dbeta, sums over all rows. */
    void (*layer_norm_columns)(const rnnfast_layer_norm *, ptrdiff_t rows, ptrdiff_t u0,
                               ptrdiff_t u1);
    void (*matmul)(const rnnfast_matmul *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0, ptrdiff_t p1);
    /* Adds a block of rows to the sums of tiles [q0, q1); with `fresh` sets the sums instead. The
     * block is a list of runs, RNNFAST_BLOCK_ROWS rows at most. There are tiles_per_panel tiles for
     * each panel of columns. Callers deal whole tiles to threads. */
    void (*outer)(const rnnfast_outer *, const rnnfast_run *runs, int n_runs, int fresh,
                  ptrdiff_t q0, ptrdiff_t q1);
    void (*outer_add)(const rnnfast_outer *, ptrdiff_t q0, ptrdiff_t q1); /* out += sums */
    ptrdiff_t (*tiles_per_panel)(ptrdiff_t n_runs, ptrdiff_t run_length);
    /* The transpose, for an `a` of few columns: sums[k][c] += sum over a block's rows of a[row][k]
     * g[row][c]. NULL stands for a column of ones. Rows of g and of sums are padded to whole
     * vectors, and the padding is added too. */
    void (*narrow)(const void *a, ptrdiff_t lda, ptrdiff_t n_a, const void *g, ptrdiff_t ldg,
                   const rnnfast_run *runs, int n_runs, ptrdiff_t columns, void *sums,
                   ptrdiff_t lds);
    /* Packs weights into panels [p0, p1) of dst. The weight of input k for unit u of slot s is
     * src[(order[s] * hidden + u) * row + k * column]. With `gates` 1 dst is a single-gate pack and
     * order is not read. dst has n_all inputs, of which this call writes [at, at + n_in). */
    void (*pack)(void *dst, const void *src, ptrdiff_t row, ptrdiff_t column, ptrdiff_t hidden,
                 ptrdiff_t n_in, ptrdiff_t at, ptrdiff_t n_all, int gates, const int *order,
                 ptrdiff_t p0, ptrdiff_t p1);
    /* to[i step] += what[i] */
    void (*add)(void *to, ptrdiff_t step, const void *what, ptrdiff_t n);
    void (*multiply)(void *to, const void *by, ptrdiff_t n); /* to[i] *= by[i] */
    /* Columns [u0, u1) of rows [b0, b1). u0 must be a multiple of LANES; whole vectors are written.
     */
    void (*mask_rows)(const rnnfast_masked *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t u0,
                      ptrdiff_t u1);
    double (*sum_squares)(const void *x, ptrdiff_t n);
    /* y[i] = f(x[i]) with f 0 the sigmoid, 1 tanh. y may be x. */
    void (*activate)(int f, const void *x, void *y, ptrdiff_t n);
    void (*fill_mask)(const rnnfast_mask *, ptrdiff_t g0, ptrdiff_t g1); /* groups [g0, g1) */
    const rnnfast_optimiser *optimisers;                                 /* the last has no name */
    /* Runs `loops` rounds of independent FMAs, to measure the FMA peak; returns how many
     * floating-point operations these were. */
    double (*fma_loop)(ptrdiff_t loops);
    /* Reads n numbers `loops` times, to measure bandwidth; returns how many bytes these were. */
    double (*read_loop)(const void *x, ptrdiff_t n, ptrdiff_t loops);
} rnnfast_kernels;

/* Length of a row of n elements when padded to whole cache lines. */
static inline ptrdiff_t rnnfast_padded(ptrdiff_t n, ptrdiff_t itemsize)
{
    const ptrdiff_t per_line = RNNFAST_LINE / itemsize;
    return (n + per_line - 1) / per_line * per_line;
}

/* Distance between such rows: an odd number of lines, so that they spread over all cache sets. */
static inline ptrdiff_t rnnfast_stride(ptrdiff_t n, ptrdiff_t itemsize)
{
    const ptrdiff_t per_line = RNNFAST_LINE / itemsize;
    return (rnnfast_padded(n, itemsize) / per_line | 1) * per_line;
}

/* Number of groups in a row of a mask. */
static inline ptrdiff_t rnnfast_mask_groups(ptrdiff_t size)
{
    return (size + RNNFAST_MASK_GROUP - 1) / RNNFAST_MASK_GROUP;
}

/* Number of panels in a pack. */
static inline ptrdiff_t rnnfast_panels(ptrdiff_t hidden, int gates, int lanes)
{
    const ptrdiff_t units = gates == 1 ? RNNFAST_VECTORS * lanes : lanes;
    return (hidden + units - 1) / units;
}

/* Instruction sets that were compiled in, by index, slowest first. rnnfast_isa_find returns the
 * index of a name, for NULL that of the fastest set that this processor runs, or -1. */
int rnnfast_isa_count(void);
const char *rnnfast_isa_name(int isa);
int rnnfast_isa_usable(int isa);
int rnnfast_isa_find(const char *name);
const rnnfast_kernels *rnnfast_table(int isa, int itemsize);

/* From here on this thread flushes denormals to zero. Returns the state for rnnfast_fp_leave. */
unsigned long long rnnfast_fp_enter(void);
void rnnfast_fp_leave(unsigned long long state);

#endif
