/* r, z = sigmoid of x W_x + h W_h + b;  n = tanh(n_x + r n_h) with n_x = x W_xn + b_xn and
 * n_h = h W_hn + b_hn;  h' = (1 - z) n + z h. Cho et al. (2014) in the form of cuDNN and PyTorch.
 *
 * Slots: n_x, r, z, n_h; among the gates n stands in that of n_x. */
#pragma once

#include "act.h"

INLINE void gru_forward(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                        ptrdiff_t next)
{
    vec r[GROUP], z[GROUP], a[GROUP], next_h[GROUP];
    EACH(e) {
        r[e] = acc[e * next + 1];
        z[e] = acc[e * next + 2];
    }
    sigmoid(n, r);
    sigmoid(n, z);
    EACH(e) a[e] = r[e] * acc[e * next + 3] + acc[e * next];
    vtanh(n, a);
    EACH(e) {
        const vec h = load(where(s->h_prev, s->ldh, g, e));
        next_h[e] = z[e] * (h - a[e]) + a[e];
    }
    store_h(s, n, g, next_h);
    if (s->gates) {
        const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
        EACH(e) {
            real *gates = where(s->gates, s->ldg, g, e);
            store(gates, a[e]);
            store(gates + H, r[e]);
            store(gates + 2 * H, z[e]);
            store(gates + 3 * H, acc[e * next + 3]);
        }
    }
}

/* dn = dh (1 - z) (1 - n^2) is the gradient of n_x, and r dn that of n_h. dh z bypasses the gates
 * to the previous step. */
INLINE void gru_backward(const rnnfast_backstep *s, const int n, const group *g, const vec *d)
{
    const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
    EACH(e) {
        real *gates = where(s->gates, s->ldg, g, e), *carry = where(s->carry, s->ldk, g, e);
        const vec a = load(gates), r = load(gates + H), z = load(gates + 2 * H);
        const vec n_h = load(gates + 3 * H);
        const vec h_prev = load(where(s->h_prev, s->ldh, g, e));
        const vec dh = d[e] + load(carry);
        const vec dn = dh * (1 - z) * (1 - a * a);
        store(gates, dn);
        store(gates + H, dn * n_h * (r * (1 - r)));
        store(gates + 2 * H, dh * (h_prev - a) * (z * (1 - z)));
        store(gates + 3 * H, dn * r);
        store(carry, dh * z);
    }
}

/* The original form of Cho et al. (2014), with the reset gate before the product:
 * n = tanh(x W_xn + (r h) W_hn + b). Slots: n, r, z. reset_forward computes r and z first, as one
 * gate of twice as many units; the gru_reset_before functions then see the sums of n alone. */

INLINE void reset_forward(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                          ptrdiff_t next)
{
    vec a[GROUP];
    EACH(e) a[e] = acc[e * next];
    sigmoid(n, a);
    EACH(e) {
        store(where(s->gates, s->ldg, g, e), a[e]);
        if (2 * (g->u + e * g->units) < s->hidden) /* r */
            store(where(s->h_out, s->ldh_out, g, e), a[e] * load(where(s->h, s->ldh, g, e)));
    }
}

INLINE void gru_reset_before_forward(const rnnfast_step *s, const int n, const group *g,
                                     const vec *acc, ptrdiff_t next)
{
    const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
    vec a[GROUP];
    EACH(e) a[e] = acc[e * next];
    vtanh(n, a);
    EACH(e) {
        real *gates = where(s->gates, s->ldg, g, e);
        const vec z = load(gates + 2 * H), h = load(where(s->h_prev, s->ldh, g, e));
        store(gates, a[e]);
        a[e] = z * (h - a[e]) + a[e];
    }
    store_h(s, n, g, a);
}

INLINE void gru_reset_before_backward(const rnnfast_backstep *s, const int n, const group *g,
                                      const vec *d)
{
    const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
    EACH(e) {
        real *gates = where(s->gates, s->ldg, g, e), *carry = where(s->carry, s->ldk, g, e);
        const vec a = load(gates), z = load(gates + 2 * H);
        const vec h_prev = load(where(s->h_prev, s->ldh, g, e));
        const vec dh = d[e] + load(carry);
        store(gates, dh * (1 - z) * (1 - a * a));
        store(gates + 2 * H, dh * (h_prev - a) * (z * (1 - z)));
        store(carry, dh * z);
    }
}

/* From d, the gradient of r h, to the gradient of r and a part of that of h. */
INLINE void reset_backward(const rnnfast_backstep *s, const int n, const group *g, const vec *d)
{
    const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
    EACH(e) {
        real *gates = where(s->gates, s->ldg, g, e), *carry = where(s->carry, s->ldk, g, e);
        const vec r = load(gates + H), h = load(where(s->h_prev, s->ldh, g, e));
        store(gates + H, d[e] * h * (r * (1 - r)));
        store(carry, load(carry) + d[e] * r);
    }
}
