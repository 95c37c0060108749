/* i, f, o = sigmoid, g = tanh of x W_x + h W_h + b;  c' = f c + i g;  h' = o tanh(c').
 * Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000), as PyTorch's LSTM.
 * With peepholes (Gers and Schmidhuber 2000) the sums of i and f have p c more, that of o p c'.
 *
 * Slots: i, f, g, o; dc goes on in `carry`. */
#pragma once

#include "act.h"

INLINE void lstm_step(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                      ptrdiff_t next, const int peepholes)
{
    vec i[GROUP], f[GROUP], a[GROUP], o[GROUP], y[GROUP];
    EACH(e) {
        i[e] = acc[e * next];
        f[e] = acc[e * next + 1];
        a[e] = acc[e * next + 2];
        o[e] = acc[e * next + 3];
        if (peepholes) {
            const vec c = load(where(s->c, s->ldc, g, e));
            i[e] += own_vector(s->own, s->hidden, g, e, 0) * c;
            f[e] += own_vector(s->own, s->hidden, g, e, 1) * c;
        }
    }
    sigmoid(n, i);
    sigmoid(n, f);
    vtanh(n, a);
    EACH(e) {
        const vec kept = f[e] * load(where(s->c, s->ldc, g, e));
        y[e] = i[e] * a[e] + kept;
        store(where(s->c_out, s->ldc, g, e), y[e]);
        if (peepholes) o[e] += own_vector(s->own, s->hidden, g, e, 3) * y[e];
    }
    sigmoid(n, o);
    vtanh(n, y);
    EACH(e) y[e] *= o[e];
    store_h(s, n, g, y);
    if (s->gates) {
        const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
        EACH(e) {
            real *gates = where(s->gates, s->ldg, g, e);
            store(gates, i[e]);
            store(gates + H, f[e]);
            store(gates + 2 * H, a[e]);
            store(gates + 3 * H, o[e]);
        }
    }
}

/* dc = carry + dh o (1 - tanh(c')^2), with peepholes + p do. The gradient of each gate is
 * multiplied by the derivative of its activation. The previous step gets dc f, with peepholes
 * + p di + p df. */
INLINE void lstm_step_backward(const rnnfast_backstep *s, const int n, const group *g,
                               const vec *dh, const int peepholes)
{
    const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
    vec y[GROUP];
    EACH(e) y[e] = load(where(s->c, s->ldc, g, e));
    vtanh(n, y);
    EACH(e) {
        real *gates = where(s->gates, s->ldg, g, e), *carry = where(s->carry, s->ldk, g, e);
        const vec i = load(gates), f = load(gates + H), a = load(gates + 2 * H),
                  o = load(gates + 3 * H);
        const vec c_prev = load(where(s->c_prev, s->ldc, g, e));
        const vec slope = 1 - y[e] * y[e];
        const vec d_o = dh[e] * y[e] * (o * (1 - o));
        vec dc = dh[e] * o * slope + load(carry);
        if (peepholes) dc += own_vector(s->own, s->hidden, g, e, 3) * d_o;
        const vec di = dc * a * (i * (1 - i)), df = dc * c_prev * (f * (1 - f));
        store(gates, di);
        store(gates + H, df);
        store(gates + 2 * H, dc * i * (1 - a * a));
        store(gates + 3 * H, d_o);
        vec dc_prev = dc * f;
        if (peepholes) {
            dc_prev += own_vector(s->own, s->hidden, g, e, 0) * di +
                       own_vector(s->own, s->hidden, g, e, 1) * df;
            if (s->d_own) {
                real *dp = where(s->d_own, s->ldg, g, e);
                store(dp, load(dp) + di * c_prev);
                store(dp + H, load(dp + H) + df * c_prev);
                store(dp + 3 * H, load(dp + 3 * H) + d_o * load(where(s->c, s->ldc, g, e)));
            }
        }
        store(carry, dc_prev);
    }
}

INLINE void lstm_forward(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                         ptrdiff_t next)
{
    lstm_step(s, n, g, acc, next, 0);
}

INLINE void lstm_backward(const rnnfast_backstep *s, const int n, const group *g, const vec *dh)
{
    lstm_step_backward(s, n, g, dh, 0);
}

INLINE void lstm_peephole_forward(const rnnfast_step *s, const int n, const group *g,
                                  const vec *acc, ptrdiff_t next)
{
    lstm_step(s, n, g, acc, next, 1);
}

INLINE void lstm_peephole_backward(const rnnfast_backstep *s, const int n, const group *g,
                                   const vec *dh)
{
    lstm_step_backward(s, n, g, dh, 1);
}
