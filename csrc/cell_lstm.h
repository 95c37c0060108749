/* i, f, o = sigmoid, g = tanh of x W_x + h W_h + b;  c' = f c + i g;  h' = o tanh(c').
 * Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000); PyTorch's LSTM. */

INLINE void NAME(lstm_forward)(const rnnfast_step *s, ptrdiff_t b, ptrdiff_t u, const vec *acc)
{
    const vec i = sigmoid(acc[0]), f = sigmoid(acc[1]), g = vtanh(acc[2]), o = sigmoid(acc[3]);
    const vec kept = f * load((const real *)s->c + b * s->ldc + u);
    const vec c = i * g + kept;
    store((real *)s->c_out + b * s->ldc + u, c);
    store((real *)s->h_out + b * s->ldh_out + u, o * vtanh(c));
    if (s->gates) {
        const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
        real *gates = (real *)s->gates + b * s->ldg + u;
        store(gates, i);
        store(gates + H, f);
        store(gates + 2 * H, g);
        store(gates + 3 * H, o);
    }
}

/* dc = dc' + dh o (1 - tanh(c')^2);  d of each gate times its activation's derivative;
 * what goes on to the step before is dc f. */
INLINE void NAME(lstm_backward)(const rnnfast_backstep *s, ptrdiff_t b, ptrdiff_t u, vec dh)
{
    const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
    real *gates = (real *)s->gates + b * s->ldg + u;
    real *carry = (real *)s->carry + b * s->ldk + u;
    const vec i = load(gates), f = load(gates + H), g = load(gates + 2 * H),
              o = load(gates + 3 * H);
    const vec c_prev = load((const real *)s->c_prev + b * s->ldc + u);
    const vec y = vtanh(load((const real *)s->c + b * s->ldc + u));
    const vec slope = 1 - y * y;
    const vec dc = dh * o * slope + load(carry);
    store(gates, dc * g * (i * (1 - i)));
    store(gates + H, dc * c_prev * (f * (1 - f)));
    store(gates + 2 * H, dc * i * (1 - g * g));
    store(gates + 3 * H, dh * y * (o * (1 - o)));
    store(carry, dc * f);
}
