/* What a cell takes at a time. */
#pragma once

#include "vec.h"

enum { GROUP = 4 };
#define EACH(e) UNROLL for (int e = 0; e < n; e++)

/* The vectors of a step that a cell takes together: vector e is that of row b + e * rows, units
 * from u + e * units on. */
typedef struct {
    ptrdiff_t b, u, rows, units;
} group;

/* Where array p, with ld between rows, has that vector. */
INLINE real *where(const void *p, ptrdiff_t ld, const group *g, int e)
{
    return (real *)p + (g->b + e * g->rows) * ld + g->u + e * g->units;
}
