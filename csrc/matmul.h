/* Rows times a matrix: dense layers, projections, and gradients of inputs. */
#pragma once

#include "tile.h"

static void matmul(const rnnfast_matmul *m, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t p0, ptrdiff_t p1)
{
    static const real zeros[RNNFAST_VECTORS * LANES];
    for (ptrdiff_t p = p0; p < p1; p++) {
        const int V = panel_vectors(m->n_out, p);
        const ptrdiff_t u = p * RNNFAST_VECTORS * LANES, n = m->n_out - u;
        for (ptrdiff_t b = b0, rows; b < b1; b += rows) {
            rows = b1 - b < ROW_BLOCK ? b1 - b : ROW_BLOCK;
            vec acc[ROW_BLOCK * RNNFAST_VECTORS];
            real *out[ROW_BLOCK];
            origin start = {m->bias ? (const real *)m->bias + u : zeros, 0};
            if (m->accumulate) start = (origin){(const real *)acc, RNNFAST_VECTORS * LANES};
            for (ptrdiff_t r = 0; r < rows; r++) {
                out[r] = (real *)m->out + (m->out_row ? m->out_row[b + r] : b + r) * m->ldo + u;
                for (int v = 0; v < V && m->accumulate; v++)
                    acc[r * RNNFAST_VECTORS + v] = load_n(out[r] + v * LANES, n - v * LANES);
            }
            operand op[RNNFAST_VECTORS];
            runs_times_panel(op, m->a, m->lda, b, m->n_runs, m->run_length, m->run_pitch, m->weight,
                             p, V);
            add_products(acc, rows, 1, V, 1, op, (int)m->n_runs, start, m->fetch);
            for (ptrdiff_t r = 0; r < rows; r++)
                for (int v = 0; v < V; v++)
                    store_n(out[r] + v * LANES, acc[r * RNNFAST_VECTORS + v], n - v * LANES);
        }
    }
}
