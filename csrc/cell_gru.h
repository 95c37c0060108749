/* r, z = sigmoid of x W_x + h W_h + b;  n = tanh(n_x + r n_h), n_x = x W_xn + b_xn and
 * n_h = h W_hn + b_hn;  h' = (1 - z) n + z h. Cho et al. (2014) in the form of cuDNN and PyTorch.
 * Slots: n_x (then n), r, z, n_h. */

INLINE void NAME(gru_forward)(const rnnfast_step *s, ptrdiff_t b, ptrdiff_t u, const vec *acc)
{
    const vec r = sigmoid(acc[1]), z = sigmoid(acc[2]);
    const vec n = vtanh(r * acc[3] + acc[0]);
    const vec h = load((const real *)s->h + b * s->ldh + u);
    store((real *)s->h_out + b * s->ldh_out + u, z * (h - n) + n);
    if (s->gates) {
        const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
        real *gates = (real *)s->gates + b * s->ldg + u;
        store(gates, n);
        store(gates + H, r);
        store(gates + 2 * H, z);
        store(gates + 3 * H, acc[3]);
    }
}

/* dn = dh (1 - z) (1 - n^2) reaches n_x whole and n_h times r; what goes on past the gates to the
 * step before is dh z. */
INLINE void NAME(gru_backward)(const rnnfast_backstep *s, ptrdiff_t b, ptrdiff_t u, vec acc)
{
    const ptrdiff_t H = rnnfast_padded(s->hidden, sizeof(real));
    real *gates = (real *)s->gates + b * s->ldg + u;
    real *carry = (real *)s->carry + b * s->ldk + u;
    const vec n = load(gates), r = load(gates + H), z = load(gates + 2 * H);
    const vec n_h = load(gates + 3 * H);
    const vec h_prev = load((const real *)s->h_prev + b * s->ldh + u);
    const vec dh = acc + load(carry);
    const vec dn = dh * (1 - z) * (1 - n * n);
    store(gates, dn);
    store(gates + H, dn * n_h * (r * (1 - r)));
    store(gates + 2 * H, dh * (h_prev - n) * (z * (1 - z)));
    store(gates + 3 * H, dn * r);
    store(carry, dh * z);
}
