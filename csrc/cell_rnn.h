/* h' = f(x W_x + h W_h + b) with f = tanh or relu. Elman (1990), as PyTorch's RNN.
 *
 * Forward keeps no gates, as the derivative follows from h. Backward leaves the gradient of the sum
 * in `gates`. */
#pragma once

#include "act.h"

INLINE void rnn_tanh_forward(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                             ptrdiff_t next)
{
    vec h[GROUP];
    EACH(e) h[e] = acc[e * next];
    vtanh(n, h);
    store_h(s, n, g, h);
}

/* dh f', where f' follows from h = f. */
INLINE void rnn_tanh_backward(const rnnfast_backstep *s, const int n, const group *g, const vec *dh)
{
    EACH(e) {
        const vec h = load(where(s->h, s->ldh, g, e));
        store(where(s->gates, s->ldg, g, e), dh[e] * (1 - h * h));
    }
}

INLINE void rnn_relu_forward(const rnnfast_step *s, const int n, const group *g, const vec *acc,
                             ptrdiff_t next)
{
    vec h[GROUP];
    EACH(e) h[e] = vmax(acc[e * next], 0);
    store_h(s, n, g, h);
}

INLINE void rnn_relu_backward(const rnnfast_backstep *s, const int n, const group *g, const vec *dh)
{
    EACH(e) {
        const vec h = load(where(s->h, s->ldh, g, e));
        store(where(s->gates, s->ldg, g, e), choose(h <= 0, (vec){0}, dh[e]));
    }
}
