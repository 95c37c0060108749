/* The contract between the time loops (rnnfast/core) and the kernels (csrc).
 *
 * A kernel does one time step, or one matrix product, on rows [b0, b1) and panels [p0, p1) of
 * what its struct describes. Kernels allocate nothing, start no thread and know no Python, so
 * any number of threads may run the same struct on disjoint rows or panels.
 *
 * Sizes: B batch, T time steps, I input, H hidden, P projection (recurrent size K = P or H),
 * G gates of the weights, S gate slots that a row stores.
 *
 * Pointers are void because one time loop serves float and double: `rnnfast_kernels.itemsize`
 * fixes the type. Strides ("ld...") count elements between rows. Nothing may alias unless said.
 *
 * Rows the engine owns are padded to whole cache lines (rnnfast_padded), and a gate row holds its
 * S slots one padded H after the other, so kernels load and store whole vectors. Lanes past H
 * hold arbitrary numbers and are never an operand of a sum. */
#ifndef RNNFAST_H
#define RNNFAST_H

#include <stddef.h>

enum { RNNFAST_LINE = 64 };        /* bytes; rows, panels and blocks are aligned to it */
enum { RNNFAST_VECTORS = 4 };      /* vectors across a tile, hence across a panel */
enum { RNNFAST_BLOCK_ROWS = 128 }; /* rows that one partial sum of a weight gradient covers */
enum { RNNFAST_MASK_GROUP = 64 };  /* numbers of a mask that are drawn together */
enum { RNNFAST_CELLS = 5 };        /* rows of cells.h, whose order every table of cells has */
#define RNNFAST_NORM_EPS 1e-5      /* added to the variance in layer normalisation */

/* What the time loops must know of a cell. The input product feeds slots [x_slot, x_slot + gates)
 * of a row, the recurrent product slots [h_slot, h_slot + gates); slot s takes its weights from
 * PyTorch's gate order[s]. A GRU stores n_x, r, z, n_h, so that both products see one run. */
typedef struct {
    const char *name;
    int gates, slots, x_slot, h_slot;
    int has_cell_state; /* c beside h; the backward's carry is then dc */
    int carries_dh;     /* the carry is the share of dh that skips the gates */
    int reset_before;   /* slots n, r, z; n's product is of r h: see reset_forward */
    int order[RNNFAST_VECTORS];
    int panel_gates; /* gates side by side in a panel of packed weights */
    int has_norm;    /* whether there is a norm_forward */
} rnnfast_cell;

extern const rnnfast_cell rnnfast_cells[RNNFAST_CELLS];

/* Packed weights: panels of LANES hidden units with the slots side by side,
 * [panel][k][slot][lane], or, with a single gate, of 4 x LANES units, [panel][k][vector][lane]
 * (the last panel only as many vectors as it needs). A packed bias, and a row of an input product,
 * is [panel][4][lane]. With `reset_before`, n is a single gate, and r and z together are another,
 * of 2 padded H units; their biases, and products of the input, follow those of n. */

/* One forward step: h_out = cell(x W_x + h W_h + bias). */
typedef struct {
    ptrdiff_t input, recurrent, hidden; /* I, K, H */
    int fetch;     /* whether the weights are too large for the second-level cache */
    const void *x; /* (B, I), read unless `product` is given */
    ptrdiff_t ldx;
    const void *h;      /* (B, K) what W_h multiplies: h_prev, its masked copy, or r h */
    const void *h_prev; /* (B, K) state before the step; neither may alias h_out */
    ptrdiff_t ldh;
    const void *weight_x, *weight_h, *bias;
    const void *product; /* (B, panels, 4, LANES) x W_x + bias, already computed; or NULL */
    ptrdiff_t ldp;
    const void *c; /* (B, H) cell state before the step, LSTM only */
    void *c_out;   /* (B, H) written, may be c itself */
    ptrdiff_t ldc;
    void *h_out; /* (B, H) written */
    ptrdiff_t ldh_out;
    void *gates; /* (B, S, padded H) activated gates, written; or NULL at inference, but with
                    `reset_before` never: r and z wait there for n */
    ptrdiff_t ldg;
} rnnfast_step;

/* to = mask old + (1 - mask) fresh (zoneout), or, where `old` is NULL, mask fresh (dropout). `to`
 * may be either. */
typedef struct {
    ptrdiff_t columns;
    void *to;
    const void *fresh, *old; /* rows like those of `to`, padded */
    ptrdiff_t ld;
    const void *mask; /* rows of `columns` numbers, not padded */
    ptrdiff_t ldm;
    const ptrdiff_t *mask_row; /* row of the mask that is row b's, or NULL: b itself */
} rnnfast_masked;

/* One step of BPTT: dh = dh_in + dgates_next W_h, then the derivative of the cell. With recurrent
 * dropout its factors are on the product. With zoneout the cell takes 1 - share of the gradient of
 * h, or c, and `kept` the rest, which is part of the one of the step before. */
typedef struct {
    ptrdiff_t hidden;  /* H */
    int fetch;         /* as in rnnfast_step */
    int carries_dh;    /* as in rnnfast_cell */
    const void *dh_in; /* (B, H) gradient that reaches h from outside the recurrence */
    ptrdiff_t ldd;
    const void *next; /* (B, ...) what weight_h multiplies: dgates of the step after, or, for
                         reset_backward, of n; or NULL */
    ptrdiff_t ldn;    /*   its rows */
    ptrdiff_t n_runs; /*   and in each row n_runs runs of run_length, run_pitch apart */
    ptrdiff_t run_length, run_pitch;
    const void *weight_h;   /* transposed pack of H outputs */
    const void *h_prev, *h; /* (B, H) state before and after the step; h: RNN, h_prev: GRU */
    ptrdiff_t ldh;
    const void *c_prev, *c; /* (B, H) LSTM */
    ptrdiff_t ldc;
    void *gates; /* (B, S, padded H) in: activated gates, out: their gradients before activation */
    ptrdiff_t ldg;
    void *carry; /* (B, H) in and out: dc (LSTM) or the share of dh that skips the gates (GRU) */
    ptrdiff_t ldk;
    const void *drop, *zone_h, *zone_c; /* masks as in rnnfast_masked; NULL: none */
    ptrdiff_t ld_drop, ld_zone_h, ld_zone_c;
    const ptrdiff_t *mask_row;
    void *kept_h; /* (B, H) in and out, rows like those of h */
    void *kept_c; /* (B, H) scratch, rows like those of carry, which gets it back */
    void *dh;     /* (B, H) of recurrent_gradient: written, rows like those of h; may be dh_in */
} rnnfast_backstep;

/* Layer normalisation of a step's sums, each slot of a row over its H units. A row of these arrays
 * holds S slots one padded H after the other, like a gate row, and ld apart. */
typedef struct {
    ptrdiff_t hidden;         /* H */
    void *normal;             /* (B, S, padded H) forward: in: sums of products, out: normalised */
    void *rstd;               /* (B, S) dense; 1 / sqrt(variance + eps), written by forward */
    const void *gamma, *beta; /* (S, padded H) */
    ptrdiff_t ld;
    void *gates; /* backward: in: gradients before the activations, out: gradients of the sums */
    void *dgamma, *dbeta; /* backward: (B, S, padded H) added into, a row by its own; or NULL */
} rnnfast_norm;

/* Layer normalisation of rows: y = n gamma + beta, n = (x - mean) rstd. */
typedef struct {
    ptrdiff_t columns;
    const void *x, *gamma, *beta; /* (rows, columns), (columns,), (columns,) */
    double eps;
    void *y, *mean, *rstd; /* (rows, columns), (rows,), (rows,): written */
    const void *dy;
    void *dx, *dgamma, *dbeta; /* dx written, the others added into */
} rnnfast_layer_norm;

/* out[row] = a[row] W, on from bias, or from out[row] where accumulate, for N = n_out columns. */
typedef struct {
    const void *a; /* (rows, n_runs x run_length), runs run_pitch apart; may not alias out */
    ptrdiff_t lda, n_runs, run_length, run_pitch;
    const void *weight, *bias; /* packed with a single gate; bias NULL: none; not with accumulate */
    void *out;                 /* (rows, N) written; columns past N stay untouched */
    ptrdiff_t ldo, n_out;
    const ptrdiff_t *out_row; /* row of `out` that takes row b, or NULL: b itself */
    int accumulate, fetch;    /* fetch as in rnnfast_step */
} rnnfast_matmul;

/* Masks out[entry][row] of `size` numbers: `value` where the upper 24 bits of a random word are
 * less than `kept`, else 0. The words depend on key, call, index + entry, first + row and place. */
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

/* out[m][k] += sum over rows of g[row][m] a[row][k]: a weight gradient. The sum over all rows of a
 * call is formed first, block by block of RNNFAST_BLOCK_ROWS, and added once. */
typedef struct {
    const void *a; /* (rows, K) */
    ptrdiff_t lda, n_a;
    const void *g; /* (rows, n_runs x run_length), runs run_pitch apart */
    ptrdiff_t ldg, n_runs, run_length, run_pitch;
    const int *order; /* place of each run in out; NULL: its own */
    void *out;        /* (n_runs x run_length, K) dense, added to by outer_add */
    void *sums;       /* rnnfast_kernels.tile_bytes for each tile of a call, aligned to a line */
} rnnfast_outer;

typedef struct {
    void (*forward)(const rnnfast_step *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0, ptrdiff_t p1);
    void (*backward)(const rnnfast_backstep *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                     ptrdiff_t p1);
    /* Instead of `forward`, from sums of slot_sums: normalises them, then as forward. NULL without
     * `has_norm`. */
    void (*norm_forward)(const rnnfast_step *, const rnnfast_norm *, ptrdiff_t b0, ptrdiff_t b1);
} rnnfast_cell_kernels;

typedef struct {
    const char *isa;
    int itemsize, lanes, rows;
    ptrdiff_t tile_bytes; /* of a tile's sums */
    rnnfast_cell_kernels cell[RNNFAST_CELLS];
    /* With `reset_before`, ahead of a step's `forward`: r and z, units 0 to `hidden` of one gate,
     * to `gates` (which points to slot r), and r h to h_out. After its `backward`: from dn to dr,
     * and what r lets through of the gradient of r h is added to the carry. */
    void (*reset_forward)(const rnnfast_step *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                          ptrdiff_t p1);
    void (*reset_backward)(const rnnfast_backstep *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                           ptrdiff_t p1);
    /* gates[row] = x[row] W_x + bias: what rnnfast_step.product takes. Writes the step's `gates`
     * with ldp between rows, for a cell of `gates` gates; reads neither h nor c. */
    void (*input_product)(const rnnfast_step *, int gates, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                          ptrdiff_t p1);
    /* gates[row] = x[row] W_x + h[row] W_h + bias: slots as in a gate row, not activated. */
    void (*slot_sums)(const rnnfast_step *, int gates, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                      ptrdiff_t p1);
    /* step->dh = dh as the cell's backward would have it, of any cell. */
    void (*recurrent_gradient)(const rnnfast_backstep *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0,
                               ptrdiff_t p1);
    void (*norm_backward)(const rnnfast_norm *, int slots, ptrdiff_t b0, ptrdiff_t b1);
    void (*layer_norm)(const rnnfast_layer_norm *, ptrdiff_t b0, ptrdiff_t b1);
    void (*layer_norm_backward)(const rnnfast_layer_norm *, ptrdiff_t b0, ptrdiff_t b1); /* dx */
    /* dgamma and dbeta from columns [u0, u1) of all rows. */
    void (*layer_norm_columns)(const rnnfast_layer_norm *, ptrdiff_t rows, ptrdiff_t u0,
                               ptrdiff_t u1);
    void (*matmul)(const rnnfast_matmul *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0, ptrdiff_t p1);
    /* Adds a block of rows, given as runs of at most RNNFAST_BLOCK_ROWS in all, to the sums of
     * tiles [q0, q1), all in one panel of K; sets them where `fresh`. There are tiles_per_panel x
     * panels of K: callers deal them to threads, none is ever split. */
    void (*outer)(const rnnfast_outer *, const rnnfast_run *runs, int n_runs, int fresh,
                  ptrdiff_t q0, ptrdiff_t q1);
    void (*outer_add)(const rnnfast_outer *, ptrdiff_t q0, ptrdiff_t q1); /* out += sums */
    ptrdiff_t (*tiles_per_panel)(ptrdiff_t n_runs, ptrdiff_t run_length);
    /* For few columns of `a`, transposed: sums[k][c] += sum over a block's rows of a[row][k]
     * g[row][c]; a NULL: a column of ones. Rows of g and of sums are padded to whole vectors, and
     * all columns of the last vector are added. */
    void (*narrow)(const void *a, ptrdiff_t lda, ptrdiff_t n_a, const void *g, ptrdiff_t ldg,
                   const rnnfast_run *runs, int n_runs, ptrdiff_t columns, void *sums,
                   ptrdiff_t lds);
    /* dst (panels [p0, p1) of a pack) from src: the weight of input k of unit u in slot s is
     * src[(order[s] * hidden + u) * row + k * column]. `gates` 1: dst is a single-gate pack, order
     * unused. The pack has n_all inputs, of which this call writes [at, at + n_in). */
    void (*pack)(void *dst, const void *src, ptrdiff_t row, ptrdiff_t column, ptrdiff_t hidden,
                 ptrdiff_t n_in, ptrdiff_t at, ptrdiff_t n_all, int gates, const int *order,
                 ptrdiff_t p0, ptrdiff_t p1);
    void (*add)(void *to, ptrdiff_t step, const void *what,
                ptrdiff_t n);                                /* to[i step] += what[i] */
    void (*multiply)(void *to, const void *by, ptrdiff_t n); /* to[i] *= by[i] */
    /* Columns [u0, u1) of rows [b0, b1); whole vectors from u0, a multiple of them, on. */
    void (*mask_rows)(const rnnfast_masked *, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t u0,
                      ptrdiff_t u1);
    double (*sum_squares)(const void *x, ptrdiff_t n);
    /* y[i] = f(x[i]); f 0: sigmoid, 1: tanh. y may be x. */
    void (*activate)(int f, const void *x, void *y, ptrdiff_t n);
    void (*fill_mask)(const rnnfast_mask *, ptrdiff_t g0, ptrdiff_t g1); /* groups [g0, g1) */
    /* Fused optimiser updates on [i0, i1): see optim.h. */
    void (*sgd)(void *param, const void *grad, void *velocity, ptrdiff_t i0, ptrdiff_t i1,
                double lr, double momentum, double weight_decay, int nesterov);
    void (*adam)(void *param, const void *grad, void *m, void *v, ptrdiff_t i0, ptrdiff_t i1,
                 double lr, double beta1, double beta2, double eps, double weight_decay,
                 int decoupled, double step);
    void (*nadam)(void *param, const void *grad, void *m, void *v, ptrdiff_t i0, ptrdiff_t i1,
                  double lr, double beta1, double beta2, double eps, double weight_decay, double mu,
                  double next_mu, double product, double step);
    void (*rmsprop)(void *param, const void *grad, void *square_avg, void *velocity, ptrdiff_t i0,
                    ptrdiff_t i1, double lr, double alpha, double eps, double momentum,
                    double weight_decay);
    /* Floating-point operations that `loops` rounds of independent FMAs took: the peak's yardstick.
     */
    double (*fma_loop)(ptrdiff_t loops);
    /* Bytes that reading n numbers `loops` times took. */
    double (*read_loop)(const void *x, ptrdiff_t n, ptrdiff_t loops);
} rnnfast_kernels;

/* Elements that a row of n takes when padded to whole cache lines. */
static inline ptrdiff_t rnnfast_padded(ptrdiff_t n, ptrdiff_t itemsize)
{
    const ptrdiff_t per_line = RNNFAST_LINE / itemsize;
    return (n + per_line - 1) / per_line * per_line;
}

/* Distance between such rows: an odd number of lines, so that rows spread over all cache sets. */
static inline ptrdiff_t rnnfast_stride(ptrdiff_t n, ptrdiff_t itemsize)
{
    const ptrdiff_t per_line = RNNFAST_LINE / itemsize;
    return (rnnfast_padded(n, itemsize) / per_line | 1) * per_line;
}

/* Groups of a mask's row. */
static inline ptrdiff_t rnnfast_mask_groups(ptrdiff_t size)
{
    return (size + RNNFAST_MASK_GROUP - 1) / RNNFAST_MASK_GROUP;
}

/* Panels of a pack. */
static inline ptrdiff_t rnnfast_panels(ptrdiff_t hidden, int gates, int lanes)
{
    const ptrdiff_t units = gates == 1 ? RNNFAST_VECTORS * lanes : lanes;
    return (hidden + units - 1) / units;
}

/* Instruction sets that were built, slowest first, by index. rnnfast_isa_find: the one of that
 * name, for NULL the fastest that this processor runs; -1: none. */
int rnnfast_isa_count(void);
const char *rnnfast_isa_name(int isa);
int rnnfast_isa_usable(int isa);
int rnnfast_isa_find(const char *name);
const rnnfast_kernels *rnnfast_table(int isa, int itemsize);

/* Flush denormals to zero in this thread; returns the state to hand to rnnfast_fp_leave. */
unsigned long long rnnfast_fp_enter(void);
void rnnfast_fp_leave(unsigned long long state);

#endif
