/* h' = f(x W_x + h W_h + b), f = tanh or relu. Elman (1990); PyTorch's RNN. */

INLINE void NAME(rnn_tanh_forward)(const rnnfast_step *s, ptrdiff_t b, ptrdiff_t u, const vec *acc)
{
    store((real *)s->h_out + b * s->ldh_out + u, vtanh(acc[0]));
}

/* dgate = dh f'(gate), from h = f(gate) */
INLINE void NAME(rnn_tanh_backward)(const rnnfast_backstep *s, ptrdiff_t b, ptrdiff_t u, vec dh)
{
    const vec h = load((const real *)s->h + b * s->ldh + u);
    store((real *)s->gates + b * s->ldg + u, dh * (1 - h * h));
}

INLINE void NAME(rnn_relu_forward)(const rnnfast_step *s, ptrdiff_t b, ptrdiff_t u, const vec *acc)
{
    store((real *)s->h_out + b * s->ldh_out + u, vmax(acc[0], 0));
}

INLINE void NAME(rnn_relu_backward)(const rnnfast_backstep *s, ptrdiff_t b, ptrdiff_t u, vec dh)
{
    const vec h = load((const real *)s->h + b * s->ldh + u);
    store((real *)s->gates + b * s->ldg + u, choose(h <= 0, (vec){0}, dh));
}
