/* Random masks for dropout and zoneout, and their use. The generator is Threefry-4x32 with 13
 * rounds (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), which passes the
 * batteries of TestU01. It encrypts a counter under a key, so any part of any mask can be drawn on
 * its own.
 *
 * A row is drawn in whole groups. A group is a cache line of counters: word 0 of each of them, then
 * word 1 of each, and so on. The order does not depend on the width of a vector. */
#pragma once

#include "vec.h"

enum { WORD_LANES = VECTOR_BYTES / 4, WORD_LINE = RNNFAST_LINE / 4 };
typedef unsigned words __attribute__((vector_size(VECTOR_BYTES)));

INLINE words rotate(words x, int by) { return x << by | x >> (32 - by); }

INLINE void threefry(const unsigned *given, words *x)
{
    static const int turns[8][2] = {{10, 26}, {11, 21}, {13, 27}, {23, 5},
                                    {6, 20},  {17, 11}, {25, 10}, {18, 20}};
    const unsigned key[5] = {given[0], given[1], given[2], given[3],
                             0x1BD11BDA ^ given[0] ^ given[1] ^ given[2] ^ given[3]};
    _Pragma("GCC unroll 13") for (unsigned r = 0; r < 13; r++)
    {
        if (r % 4 == 0) {
            UNROLL
            for (unsigned w = 0; w < 4; w++) x[w] += key[(r / 4 + w) % 5];
            x[3] += r / 4;
        }
        const int b = r % 2 ? 3 : 1, d = 4 - b;
        x[0] += x[b];
        x[2] += x[d];
        x[b] = rotate(x[b], turns[r % 8][0]) ^ x[0];
        x[d] = rotate(x[d], turns[r % 8][1]) ^ x[2];
    }
}

/* The random words of group g in a row of a mask. */
INLINE void draw_group(const rnnfast_mask *m, unsigned entry, unsigned row, ptrdiff_t g,
                       unsigned *drawn)
{
    words lane;
    for (int i = 0; i < WORD_LANES; i++) lane[i] = (unsigned)i;
    UNROLL
    for (int l = 0; l < WORD_LINE; l += WORD_LANES) {
        words x[4] = {{0}};
        x[0] += lane + ((unsigned)(g * WORD_LINE) + (unsigned)l);
        x[1] += (unsigned)m->first + row;
        x[2] += m->index + entry;
        x[3] += m->call;
        threefry(m->key, x);
        UNROLL
        for (int w = 0; w < 4; w++) memcpy(drawn + w * WORD_LINE + l, x + w, VECTOR_BYTES);
    }
}

INLINE void mask_numbers(const rnnfast_mask *m, const unsigned *drawn, real *out, ptrdiff_t n)
{
    const real value = (real)m->value;
    const int kept = m->kept;
    for (ptrdiff_t i = 0; i < n; i++) out[i] = (int)(drawn[i] >> 8) < kept ? value : 0;
}

static void fill_mask(const rnnfast_mask *m, ptrdiff_t g0, ptrdiff_t g1)
{
    enum { N = RNNFAST_MASK_GROUP };
    const ptrdiff_t per_row = rnnfast_mask_groups(m->size);
    for (ptrdiff_t row = g0 / per_row, g = g0 % per_row; g0 < g1; row++, g = 0) {
        real *out = (real *)m->out + row * m->size;
        for (; g < per_row && g0 < g1; g++, g0++) {
            unsigned drawn[N];
            draw_group(m, (unsigned)(row / m->rows), (unsigned)(row % m->rows), g, drawn);
            const ptrdiff_t left = m->size - g * N;
            if (left >= N)
                mask_numbers(m, drawn, out + g * N, N);
            else
                mask_numbers(m, drawn, out + g * N, left);
        }
    }
}

static void mask_rows(const rnnfast_masked *m, ptrdiff_t b0, ptrdiff_t b1, ptrdiff_t u0,
                      ptrdiff_t u1)
{
    for (ptrdiff_t b = b0; b < b1; b++) {
        const real *mask = (const real *)m->mask + (m->mask_row ? m->mask_row[b] : b) * m->ldm;
        for (ptrdiff_t u = u0; u < u1; u += LANES) {
            const ptrdiff_t at = b * m->ld + u;
            const vec share = load_n(mask + u, m->columns - u);
            vec x = load((const real *)m->fresh + at);
            x = m->old ? share * load((const real *)m->old + at) + (1 - share) * x : share * x;
            store((real *)m->to + at, x);
        }
    }
}
