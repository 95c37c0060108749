/* A group: up to GROUP vectors of hidden units that go through the equations of a cell together.
 * One vector alone is one long chain of dependent operations, which leaves the processor idle; four
 * chains side by side keep it busy. So every operation is written for the whole group (EACH).
 *
 * The equations of a cell, cell_*.h, take n vectors e, each LANES units of one row of the batch.
 * Forward, acc[e * next + s] is the sum of slot s for these units, in registers or the first-level
 * cache; h and c are written, in training the activated gates too. Backward, d[e] is the gradient
 * of h without the part in `carry`; the gradients of the sums replace the gates. */
#pragma once

#include "vec.h"

enum { GROUP = 4 };
#define EACH(e) UNROLL for (int e = 0; e < n; e++)

/* Where the vectors of a group are: vector e holds the units from u + e * units on of row
 * b + e * rows. So a group is either some units of successive rows or successive units of a row. */
typedef struct {
    ptrdiff_t b, u, rows, units;
} group;

/* The address of vector e in array p with rows ld apart. */
INLINE real *where(const void *p, ptrdiff_t ld, const group *g, int e)
{
    return (real *)p + (g->b + e * g->rows) * ld + g->u + e * g->units;
}

/* h of a group: to h_out and, if it is given, to y, whose rows have no room for more than H. */
INLINE void store_h(const rnnfast_step *s, const int n, const group *g, const vec *h)
{
    EACH(e) store(where(s->h_out, s->ldh_out, g, e), h[e]);
    if (s->y)
        EACH(e) store_n(where(s->y, s->ldy, g, e), h[e], s->hidden - g->u - e * g->units);
}

/* Of the vectors of a cell's own that of slot s, for the units of vector e. */
INLINE vec own_vector(const void *own, ptrdiff_t hidden, const group *g, int e, int s)
{
    return load(where((const real *)own + s * rnnfast_padded(hidden, sizeof(real)), 0, g, e));
}
