/* MinGRU: z = sigmoid(a_z);  h' = (1 - z) h + z g(a_h).
 * MinLSTM: f, i = sigmoid;  h' = (f h + i g(a_h)) / (f + i).
 * a = x W_x + b, of x alone; g(a) = a + 1/2 where a >= 0, else sigmoid(a). Feng et al. (2024).
 *
 * Slots: z, h; f, i, h. Among the gates g stands in the last.
 *
 * f + i is never 0, as no sigmoid is: act.h bounds its argument. */
#pragma once

#include "act.h"

INLINE void candidate(const int n, vec *a)
{
    vec s[GROUP];
    EACH(e) s[e] = a[e];
    sigmoid(n, s);
    EACH(e) a[e] = choose(a[e] < 0, s[e], a[e] + (real)0.5);
}

/* The derivative of g, from g. */
INLINE vec candidate_slope(vec g) { return choose(g < (real)0.5, g * (1 - g), splat(1)); }

INLINE void min_gru_forward(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                            ptrdiff_t next)
{
    vec z[GROUP], a[GROUP], next_h[GROUP];
    EACH(e) {
        z[e] = acc[e * next];
        a[e] = acc[e * next + 1];
    }
    sigmoid(n, z);
    candidate(n, a);
    EACH(e) {
        const vec h = load(where(s->h_prev, s->ldh, g, e));
        next_h[e] = z[e] * (a[e] - h) + h;
    }
    store_h(s, n, g, next_h);
    if (s->gates) {
        const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
        EACH(e) {
            real *gates = where(s->gates, s->ldg, g, e);
            store(gates, z[e]);
            store(gates + H, a[e]);
        }
    }
}

INLINE void min_gru_backward(const rnnfast_backstep *s, const int n, const group *g, const vec *d)
{
    const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
    EACH(e) {
        real *gates = where(s->gates, s->ldg, g, e), *carry = where(s->carry, s->ldk, g, e);
        const vec z = load(gates), a = load(gates + H), h = load(where(s->h_prev, s->ldh, g, e));
        const vec dh = d[e] + load(carry);
        store(gates, dh * (a - h) * (z * (1 - z)));
        store(gates + H, dh * z * candidate_slope(a));
        store(carry, dh * (1 - z));
    }
}

INLINE void min_lstm_forward(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                             ptrdiff_t next)
{
    vec f[GROUP], i[GROUP], a[GROUP], next_h[GROUP];
    EACH(e) {
        f[e] = acc[e * next];
        i[e] = acc[e * next + 1];
        a[e] = acc[e * next + 2];
    }
    sigmoid(n, f);
    sigmoid(n, i);
    candidate(n, a);
    EACH(e) {
        const vec h = load(where(s->h_prev, s->ldh, g, e));
        next_h[e] = i[e] / (f[e] + i[e]) * (a[e] - h) + h;
    }
    store_h(s, n, g, next_h);
    if (s->gates) {
        const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
        EACH(e) {
            real *gates = where(s->gates, s->ldg, g, e);
            store(gates, f[e]);
            store(gates + H, i[e]);
            store(gates + 2 * H, a[e]);
        }
    }
}

/* With u = i / (f + i) the gradient of the sum of i is dh (g - h) u (1 - u) (1 - i), that of f
 * -dh (g - h) u (1 - u) (1 - f). */
INLINE void min_lstm_backward(const rnnfast_backstep *s, const int n, const group *g, const vec *d)
{
    const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
    EACH(e) {
        real *gates = where(s->gates, s->ldg, g, e), *carry = where(s->carry, s->ldk, g, e);
        const vec f = load(gates), i = load(gates + H), a = load(gates + 2 * H);
        const vec h = load(where(s->h_prev, s->ldh, g, e));
        const vec dh = d[e] + load(carry);
        const vec share = i / (f + i), du = dh * (a - h) * (share * (1 - share));
        store(gates, -du * (1 - f));
        store(gates + H, du * (1 - i));
        store(gates + 2 * H, dh * share * candidate_slope(a));
        store(carry, dh * (1 - share));
    }
}
