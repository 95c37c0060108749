/* Layer normalisation inside a step (Ba et al. 2016): in each row every slot of sums on its own
 * goes to mean 0 and variance 1 over its H units, then times gamma, plus beta.
 *
 * The partial sums of a slot fill one cache line whatever the width of a vector, and are added in
 * one fixed order: so all instruction sets with fused multiply-adds give the same bits. */
enum { NAME(LINE_VECTORS) = RNNFAST_LINE / VECTOR_BYTES };
#define LINE_VECTORS NAME(LINE_VECTORS)

/* a, but lanes from n on are zero. */
INLINE vec NAME(only)(vec a, ptrdiff_t n) { return choose(first_lanes(n), a, (vec){0}); }
#define only NAME(only)

INLINE real NAME(line_total)(const vec *sums)
{
    real part[LINE];
    for (int v = 0; v < LINE_VECTORS; v++) store(part + v * LANES, sums[v]);
    for (ptrdiff_t half = LINE / 2; half; half /= 2)
        for (ptrdiff_t i = 0; i < half; i++) part[i] += part[i + half];
    return part[0];
}
#define line_total NAME(line_total)

/* Every slot s and vector v of a row, with what the body needs of them: where the vector stands
 * (`at`) and how many of its lanes are units (`left`). */
#define EACH_VECTOR                                                                                \
    for (ptrdiff_t u = 0; u < H; u += LINE)                                                        \
    UNROLL for (int s = 0; s < slots; s++)                                                         \
        UNROLL for (ptrdiff_t v = 0, at = s * pitch + u, left = H - u; v < LINE_VECTORS;           \
                    v++, at += LANES, left -= LANES)

/* mean[s] and rstd[s] = 1 / sqrt(variance + eps) of a row's slots. */
INLINE void NAME(statistics)(const int slots, ptrdiff_t H, const real *row, real *mean, real *rstd)
{
    const ptrdiff_t pitch = rnnfast_padded(H, sizeof(real));
    const real per_unit = 1 / (real)H;
    vec sums[RNNFAST_VECTORS][LINE_VECTORS] = {{{0}}};
    vec squares[RNNFAST_VECTORS][LINE_VECTORS] = {{{0}}};
    EACH_VECTOR sums[s][v] += only(load(row + at), left);
    for (int s = 0; s < slots; s++) mean[s] = line_total(sums[s]) * per_unit;
    EACH_VECTOR
    {
        const vec centred = only(load(row + at) - mean[s], left);
        squares[s][v] += centred * centred;
    }
    for (int s = 0; s < slots; s++)
        rstd[s] = 1 / REAL_SQRT(line_total(squares[s]) * per_unit + (real)RNNFAST_NORM_EPS);
}

/* n rows from b on: from sums to what `finish` makes of them, as in gate_sums. */
INLINE void NAME(norm_rows)(const rnnfast_step *step, const rnnfast_norm *m, const int slots,
                            const int n, ptrdiff_t b, NAME(finish_fn) finish)
{
    const ptrdiff_t H = step->hidden, pitch = rnnfast_padded(H, sizeof(real));
    const real *gamma = m->gamma, *beta = m->beta;
    real *normal = (real *)m->normal + b * m->ld, *rstd = (real *)m->rstd + b * slots;
    real mean[GROUP][RNNFAST_VECTORS];
    EACH(e) NAME(statistics)(slots, H, normal + e * m->ld, mean[e], rstd + e * slots);
    for (ptrdiff_t u = 0; u < H; u += LANES) {
        vec acc[GROUP * RNNFAST_VECTORS];
        EACH(e)
        for (int s = 0; s < slots; s++) {
            const ptrdiff_t at = s * pitch + u;
            real *sum = normal + e * m->ld + at;
            const vec y = (load(sum) - mean[e][s]) * rstd[e * slots + s];
            store(sum, y);
            acc[e * RNNFAST_VECTORS + s] = load(gamma + at) * y + load(beta + at);
        }
        finish(step, n, &(group){b, u, 1, 0}, acc, RNNFAST_VECTORS);
    }
}

INLINE void NAME(norm_forward)(const rnnfast_step *step, const rnnfast_norm *m, const int slots,
                               ptrdiff_t b0, ptrdiff_t b1, NAME(finish_fn) finish)
{
    for (; b0 + GROUP <= b1; b0 += GROUP) NAME(norm_rows)(step, m, slots, GROUP, b0, finish);
    for (; b0 < b1; b0++) NAME(norm_rows)(step, m, slots, 1, b0, finish);
}

/* From the gradients before the activations to those of the sums, in place, with n the normalised
 * sums and d = gamma da: du = rstd (d - mean(d) - n mean(d n)). */
INLINE void NAME(norm_gradient)(const rnnfast_norm *m, const int slots, ptrdiff_t b0, ptrdiff_t b1)
{
    const ptrdiff_t H = m->hidden, pitch = rnnfast_padded(H, sizeof(real));
    const real *gamma = m->gamma;
    const real per_unit = 1 / (real)H;
    for (ptrdiff_t b = b0; b < b1; b++) {
        const real *normal = (const real *)m->normal + b * m->ld;
        const real *rstd = (const real *)m->rstd + b * slots;
        real *gates = (real *)m->gates + b * m->ld;
        vec sums[RNNFAST_VECTORS][LINE_VECTORS] = {{{0}}};
        vec products[RNNFAST_VECTORS][LINE_VECTORS] = {{{0}}};
        real d_mean[RNNFAST_VECTORS], dn_mean[RNNFAST_VECTORS];
        EACH_VECTOR
        {
            const vec d = load(gamma + at) * load(gates + at);
            sums[s][v] += only(d, left);
            products[s][v] += only(d * load(normal + at), left);
        }
        for (int s = 0; s < slots; s++) {
            d_mean[s] = line_total(sums[s]) * per_unit;
            dn_mean[s] = line_total(products[s]) * per_unit;
        }
        EACH_VECTOR
        {
            const vec da = load(gates + at), n = load(normal + at);
            if (m->dgamma) {
                real *dgamma = (real *)m->dgamma + b * m->ld + at;
                real *dbeta = (real *)m->dbeta + b * m->ld + at;
                store(dgamma, load(dgamma) + da * n);
                store(dbeta, load(dbeta) + da);
            }
            store(gates + at, (load(gamma + at) * da - d_mean[s] - n * dn_mean[s]) * rstd[s]);
        }
    }
}

static void NAME(norm_backward)(const rnnfast_norm *m, int slots, ptrdiff_t b0, ptrdiff_t b1)
{
    if (slots == 1)
        NAME(norm_gradient)(m, 1, b0, b1);
    else
        NAME(norm_gradient)(m, RNNFAST_VECTORS, b0, b1);
}

#undef EACH_VECTOR
