/* Layer normalisation (Ba et al. 2016), inside a time step and as a layer. Inside a step each slot
 * of each row is normalised over its H units, to mean 0 and variance 1, then scaled by gamma and
 * shifted by beta.
 *
 * The partial sums of a slot fill one cache line whatever the width of a vector, and are added in a
 * fixed order. So all instruction sets with FMA give the same bits. */
#pragma once

#include "step.h"

enum {
    LINE_VECTORS = RNNFAST_LINE / VECTOR_BYTES,
    SUMS = 64, /* sums, one for each row and slot, that are reduced together */
    PARTS = SUMS * LINE_VECTORS
};

/* a with the lanes from n on set to zero. */
INLINE vec only(vec a, ptrdiff_t n) { return choose(first_lanes(n), a, (vec){0}); }

/* Reduces n lines of partial sums to n numbers, each the total of its line times `by`. Neighbours
 * are added pairwise, then neighbours among these sums, and so on. Overwrites `part`. */
INLINE void line_means(vec *part, ptrdiff_t n, real by, real *mean)
{
    ptrdiff_t left = n * LINE_VECTORS;
    for (ptrdiff_t width = LINE; width > 1; width /= 2) {
        if (left % 2) part[left++] = (vec){0};
        left /= 2;
        for (ptrdiff_t i = 0; i < left; i++) {
            const vec a = part[2 * i], b = part[2 * i + 1];
            part[i] = evens(a, b) + odds(a, b);
        }
    }
    for (ptrdiff_t i = 0; i < left; i++) store(mean + i * LANES, part[i] * by);
}

/* Loops over every slot s and vector v of a row. The body also sees the offset of the vector in the
 * row (`at`) and how many of its lanes are units (`left`). */
#define EACH_VECTOR                                                                                \
    for (ptrdiff_t u = 0; u < H; u += LINE)                                                        \
    UNROLL for (int s = 0; s < slots; s++)                                                         \
        UNROLL for (ptrdiff_t v = 0, at = s * pitch + u, left = H - u; v < LINE_VECTORS;           \
                    v++, at += LANES, left -= LANES)

/* The partial sums of a row and slot s. */
#define PART(parts, row) ((parts) + ((row) * slots + s) * LINE_VECTORS + v)
#define EACH_PART                                                                                  \
    UNROLL for (int s = 0; s < slots; s++) UNROLL for (int v = 0; v < LINE_VECTORS; v++)

/* mean and rstd = 1 / sqrt(variance + eps) of each slot of n <= SUMS / slots rows, ld apart. */
INLINE void statistics(const int slots, ptrdiff_t H, const real *rows, ptrdiff_t ld, ptrdiff_t n,
                       real eps, real *mean, real *rstd)
{
    const ptrdiff_t pitch = rnnfast_padded(H, sizeof(real));
    const real per_unit = 1 / (real)H;
    vec parts[PARTS];
    for (ptrdiff_t r = 0; r < n; r++) {
        const real *row = rows + r * ld;
        vec sums[RNNFAST_VECTORS][LINE_VECTORS] = {{{0}}};
        EACH_VECTOR sums[s][v] += load_n(row + at, left);
        EACH_PART *PART(parts, r) = sums[s][v];
    }
    line_means(parts, n * slots, per_unit, mean);
    for (ptrdiff_t r = 0; r < n; r++) {
        const real *row = rows + r * ld;
        vec squares[RNNFAST_VECTORS][LINE_VECTORS] = {{{0}}};
        EACH_VECTOR
        {
            const vec centred = only(load_n(row + at, left) - mean[r * slots + s], left);
            squares[s][v] += centred * centred;
        }
        EACH_PART *PART(parts, r) = squares[s][v];
    }
    line_means(parts, n * slots, per_unit, rstd);
    for (ptrdiff_t i = 0; i < n * slots; i += LANES) {
        const vec variance = load(rstd + i);
        store(rstd + i, 1 / square_root(variance + eps));
    }
}

/* Normalises the sums of n rows from b on, given their statistics, and calls `finish` as gate_sums
 * does. */
INLINE void norm_rows(const rnnfast_step *step, const rnnfast_norm *m, const int slots, const int n,
                      ptrdiff_t b, const real *mean, const real *rstd, finish_fn finish)
{
    const ptrdiff_t H = step->hidden, pitch = rnnfast_padded(H, sizeof(real));
    const real *gamma = m->gamma, *beta = m->beta;
    real *normal = (real *)m->normal + b * m->ld;
    for (ptrdiff_t u = 0; u < H; u += LANES) {
        vec acc[GROUP * RNNFAST_VECTORS];
        EACH(e)
            for (int s = 0; s < slots; s++) {
                const ptrdiff_t at = s * pitch + u;
                real *sum = normal + e * m->ld + at;
                const vec y = (load(sum) - mean[e * slots + s]) * rstd[e * slots + s];
                store(sum, y);
                acc[e * RNNFAST_VECTORS + s] = load(gamma + at) * y + load(beta + at);
            }
        finish(step, n, &(group){b, u, 1, 0}, acc, RNNFAST_VECTORS);
    }
}

INLINE void norm_forward(const rnnfast_step *step, const rnnfast_norm *m, const int slots,
                         ptrdiff_t b0, ptrdiff_t b1, finish_fn finish)
{
    real mean[SUMS], rstd[SUMS];
    for (ptrdiff_t b = b0, n; b < b1; b += n) {
        n = b1 - b < SUMS / slots ? b1 - b : SUMS / slots;
        statistics(slots, step->hidden, (const real *)m->normal + b * m->ld, m->ld, n,
                   (real)RNNFAST_NORM_EPS, mean, rstd);
        memcpy((real *)m->rstd + b * slots, rstd, sizeof(real) * (size_t)(n * slots));
        ptrdiff_t r = 0;
        for (; r + GROUP <= n; r += GROUP)
            norm_rows(step, m, slots, GROUP, b + r, mean + r * slots, rstd + r * slots, finish);
        for (; r < n; r++)
            norm_rows(step, m, slots, 1, b + r, mean + r * slots, rstd + r * slots, finish);
    }
}

/* From the gradients da of the pre-activations to those of the sums, in place:
 * du = rstd (d - mean(d) - n mean(d n)) with d = gamma da and n the normalised sums. */
INLINE void norm_gradient(const rnnfast_norm *m, const int slots, ptrdiff_t b0, ptrdiff_t b1)
{
    const ptrdiff_t H = m->hidden, pitch = rnnfast_padded(H, sizeof(real));
    const real *gamma = m->gamma;
    const real per_unit = 1 / (real)H;
    for (ptrdiff_t b = b0, rows; b < b1; b += rows) {
        rows = b1 - b < SUMS / slots ? b1 - b : SUMS / slots;
        vec d_parts[PARTS], dn_parts[PARTS];
        real d_mean[SUMS], dn_mean[SUMS];
        for (ptrdiff_t r = 0; r < rows; r++) {
            const real *normal = (const real *)m->normal + (b + r) * m->ld;
            const real *gates = (const real *)m->gates + (b + r) * m->ld;
            vec sums[RNNFAST_VECTORS][LINE_VECTORS] = {{{0}}};
            vec products[RNNFAST_VECTORS][LINE_VECTORS] = {{{0}}};
            EACH_VECTOR
            {
                const vec d = only(load(gamma + at) * load(gates + at), left);
                sums[s][v] += d;
                products[s][v] += only(d * load(normal + at), left);
            }
            EACH_PART
            {
                *PART(d_parts, r) = sums[s][v];
                *PART(dn_parts, r) = products[s][v];
            }
        }
        line_means(d_parts, rows * slots, per_unit, d_mean);
        line_means(dn_parts, rows * slots, per_unit, dn_mean);
        for (ptrdiff_t r = 0; r < rows; r++) {
            const real *normal = (const real *)m->normal + (b + r) * m->ld;
            const real *rstd = (const real *)m->rstd + (b + r) * slots;
            const real *d = d_mean + r * slots, *dn = dn_mean + r * slots;
            real *gates = (real *)m->gates + (b + r) * m->ld;
            EACH_VECTOR
            {
                const vec da = load(gates + at), n = load(normal + at);
                if (m->dgamma) {
                    real *dgamma = (real *)m->dgamma + (b + r) * m->ld + at;
                    real *dbeta = (real *)m->dbeta + (b + r) * m->ld + at;
                    store(dgamma, load(dgamma) + da * n);
                    store(dbeta, load(dbeta) + da);
                }
                store(gates + at, (load(gamma + at) * da - d[s] - n * dn[s]) * rstd[s]);
            }
        }
    }
}

static void norm_backward(const rnnfast_norm *m, int slots, ptrdiff_t b0, ptrdiff_t b1)
{
    if (slots == 1)
        norm_gradient(m, 1, b0, b1);
    else
        norm_gradient(m, RNNFAST_VECTORS, b0, b1);
}

/* The layer LayerNorm. Its rows are not padded. */
static void layer_norm(const rnnfast_layer_norm *m, ptrdiff_t b0, ptrdiff_t b1)
{
    const ptrdiff_t K = m->columns;
    for (ptrdiff_t b = b0, n; b < b1; b += n) {
        n = b1 - b < SUMS ? b1 - b : SUMS;
        const real *x = (const real *)m->x + b * K;
        real mean[SUMS], rstd[SUMS], *y = (real *)m->y + b * K;
        statistics(1, K, x, K, n, (real)m->eps, mean, rstd);
        memcpy((real *)m->mean + b, mean, sizeof(real) * (size_t)n);
        memcpy((real *)m->rstd + b, rstd, sizeof(real) * (size_t)n);
        for (ptrdiff_t r = 0; r < n; r++, x += K, y += K)
            for (ptrdiff_t u = 0; u < K; u += LANES) {
                const vec normal = (load_n(x + u, K - u) - mean[r]) * rstd[r];
                const vec gamma = load_n((const real *)m->gamma + u, K - u);
                store_n(y + u, gamma * normal + load_n((const real *)m->beta + u, K - u), K - u);
            }
    }
}

/* dy, and in `normal` the normalised x, of the units of a row from u on. */
INLINE vec row_gradient(const rnnfast_layer_norm *m, ptrdiff_t row, ptrdiff_t u, vec *normal)
{
    const ptrdiff_t at = row * m->columns + u, left = m->columns - u;
    const real mean = ((const real *)m->mean)[row], rstd = ((const real *)m->rstd)[row];
    *normal = (load_n((const real *)m->x + at, left) - mean) * rstd;
    return load_n((const real *)m->dy + at, left);
}

static void layer_norm_backward(const rnnfast_layer_norm *m, ptrdiff_t b0, ptrdiff_t b1)
{
    enum { slots = 1 };
    const ptrdiff_t H = m->columns, pitch = 0;
    const real *gamma = m->gamma;
    const real per_unit = 1 / (real)H;
    for (ptrdiff_t b = b0, rows; b < b1; b += rows) {
        rows = b1 - b < SUMS ? b1 - b : SUMS;
        vec d_parts[PARTS], dn_parts[PARTS];
        real d_mean[SUMS], dn_mean[SUMS];
        for (ptrdiff_t r = 0; r < rows; r++) {
            vec sums[1][LINE_VECTORS] = {{{0}}}, products[1][LINE_VECTORS] = {{{0}}};
            EACH_VECTOR
            {
                vec n;
                const vec d = row_gradient(m, b + r, at, &n) * load_n(gamma + at, left);
                sums[s][v] += d;
                products[s][v] += d * n;
            }
            EACH_PART
            {
                *PART(d_parts, r) = sums[s][v];
                *PART(dn_parts, r) = products[s][v];
            }
        }
        line_means(d_parts, rows, per_unit, d_mean);
        line_means(dn_parts, rows, per_unit, dn_mean);
        for (ptrdiff_t r = 0; r < rows; r++)
            for (ptrdiff_t u = 0; u < H; u += LANES) {
                vec n;
                const vec d = row_gradient(m, b + r, u, &n) * load_n(gamma + u, H - u);
                const vec dx = (d - d_mean[r] - n * dn_mean[r]) * ((const real *)m->rstd)[b + r];
                store_n((real *)m->dx + (b + r) * H + u, dx, H - u);
            }
    }
}

static void layer_norm_columns(const rnnfast_layer_norm *m, ptrdiff_t rows, ptrdiff_t u0,
                               ptrdiff_t u1)
{
    for (ptrdiff_t u = u0; u < u1; u += LANES) {
        real *dgamma = (real *)m->dgamma + u, *dbeta = (real *)m->dbeta + u;
        vec gamma = load_n(dgamma, u1 - u), beta = load_n(dbeta, u1 - u);
        for (ptrdiff_t row = 0; row < rows; row++) {
            vec n;
            const vec dy = row_gradient(m, row, u, &n);
            gamma += dy * n;
            beta += dy;
        }
        store_n(dgamma, gamma, u1 - u);
        store_n(dbeta, beta, u1 - u);
    }
}
