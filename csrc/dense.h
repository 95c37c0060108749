/* What is not a sum over a row: weight gradients, packing, optimiser updates. */

/* A tile covers up to TILE_ROWS columns of a and one panel of columns of g; tiles of one panel
 * come one after the other, so that the panel's block of g stays in the first-level cache, and
 * callers take all blocks of rows of one panel before the next, so that its sums stay in the
 * second-level one. */
static ptrdiff_t NAME(tiles_per_panel)(ptrdiff_t n_a) { return (n_a + TILE_ROWS - 1) / TILE_ROWS; }

static void NAME(outer)(const rnnfast_outer *o, const rnnfast_run *runs, int n_runs, ptrdiff_t q0,
                        ptrdiff_t q1)
{
    static const real one = 1;
    const ptrdiff_t per_panel = NAME(tiles_per_panel)(o->n_a);
    for (ptrdiff_t q = q0; q < q1; q++) {
        const ptrdiff_t p = q / per_panel, i = q % per_panel, u = p * RNNFAST_VECTORS * LANES;
        const ptrdiff_t k = o->n_a * i / per_panel;
        const int R = (int)(o->n_a * (i + 1) / per_panel - k), V = panel_vectors(o->n_g, p);
        operand op[RNNFAST_BLOCK_ROWS];
        for (int j = 0; j < n_runs; j++) {
            const ptrdiff_t row = runs[j].start;
            const real *a = o->a ? (const real *)o->a + row * o->lda + k : &one;
            op[j] = (operand){.a = a,
                              .row = o->a ? 1 : 0,
                              .step = o->a ? o->lda : 0,
                              .w = (const real *)o->g + row * o->ldg + u,
                              .pitch = o->ldg,
                              .n = runs[j].count};
        }
        vec acc[TILE_ROWS * RNNFAST_VECTORS] = {{0}};
        NAME(tiles)[R - 1][V - 1](acc, 0, op, n_runs);
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) {
                real *out = (real *)o->out + (k + r) * o->ldo + u + v * LANES;
                store(out, load(out) + acc[r * RNNFAST_VECTORS + v]);
            }
    }
}

static void NAME(pack)(void *dst, const void *src, ptrdiff_t row, ptrdiff_t column,
                       ptrdiff_t hidden, ptrdiff_t n_in, ptrdiff_t at, ptrdiff_t n_all, int gates,
                       const int *order, ptrdiff_t p0, ptrdiff_t p1)
{
    for (ptrdiff_t p = p0; p < p1; p++) {
        const int V = gates == 1 ? panel_vectors(hidden, p) : gates;
        real *panel = (real *)dst + p * n_all * (gates == 1 ? RNNFAST_VECTORS : gates) * LANES;
        for (int v = 0; v < V; v++) {
            const ptrdiff_t u = (gates == 1 ? p * RNNFAST_VECTORS + v : p) * LANES;
            const ptrdiff_t n = hidden - u < LANES ? hidden - u : LANES;
            const ptrdiff_t gate = gates == 1 ? 0 : order[v];
            const real *from = (const real *)src + (gate * hidden + u) * row;
            for (ptrdiff_t k = 0; k < n_in; k++) {
                real *to = panel + ((at + k) * V + v) * LANES;
                for (ptrdiff_t l = 0; l < n; l++) to[l] = from[l * row + k * column];
                for (ptrdiff_t l = n; l < LANES; l++) to[l] = 0;
            }
        }
    }
}

/* By squares that fit the first-level cache, since one side of a transposition is always strided.
 */
static void NAME(unpack)(void *dst, ptrdiff_t ldd, const void *src, ptrdiff_t lds, ptrdiff_t r0,
                         ptrdiff_t r1, ptrdiff_t cols)
{
    enum { SIDE = 16 };
    for (ptrdiff_t r = r0; r < r1; r += SIDE)
        for (ptrdiff_t c = 0; c < cols; c += SIDE)
            for (ptrdiff_t i = r; i < r1 && i < r + SIDE; i++) {
                real *d = (real *)dst + i * ldd;
                for (ptrdiff_t j = c; j < cols && j < c + SIDE; j++)
                    d[j] += ((const real *)src)[j * lds + i];
            }
}

static void NAME(add)(void *to, const void *what, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) ((real *)to)[i] += ((const real *)what)[i];
}

static void NAME(multiply)(void *to, const void *by, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) ((real *)to)[i] *= ((const real *)by)[i];
}

/* In SUMS interleaved sums, the same ones on every instruction set. */
static double NAME(sum_squares)(const void *x, ptrdiff_t n)
{
    enum { SUMS = 16 };
    double sums[SUMS] = {0}, total = 0;
    const real *p = x;
    ptrdiff_t i = 0;
    for (; i + SUMS <= n; i += SUMS)
        for (int l = 0; l < SUMS; l++) sums[l] += (double)p[i + l] * p[i + l];
    for (int l = 0; i < n; i++, l++) sums[l] += (double)p[i] * p[i];
    for (int l = 0; l < SUMS; l++) total += sums[l];
    return total;
}

static void NAME(activate)(int f, const void *x, void *y, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        const vec a = load_n((const real *)x + i, n - i);
        store_n((real *)y + i, f ? vtanh(a) : sigmoid(a), n - i);
    }
}

/* v = momentum v + g;  p -= lr v, or lr (g + momentum v) after Nesterov; g = grad + weight_decay p.
 * As torch.optim.SGD. velocity NULL: no momentum. */
static void NAME(sgd)(void *param, const void *grad, void *velocity, ptrdiff_t i0, ptrdiff_t i1,
                      double lr, double momentum, double weight_decay, int nesterov)
{
    for (ptrdiff_t i = i0; i < i1; i += LANES) {
        real *p = (real *)param + i;
        const vec w = load_n(p, i1 - i);
        vec g = load_n((const real *)grad + i, i1 - i) + (real)weight_decay * w;
        if (velocity) {
            real *v = (real *)velocity + i;
            const vec step = (real)momentum * load_n(v, i1 - i) + g;
            store_n(v, step, i1 - i);
            g = nesterov ? (real)momentum * step + g : step;
        }
        store_n(p, w - (real)lr * g, i1 - i);
    }
}

INLINE vec NAME(square_root)(vec a)
{
    vec y;
    for (int l = 0; l < LANES; l++) y[l] = REAL_SQRT(a[l]);
    return y;
}

/* Kingma and Ba (2015), bias corrected; decoupled: Loshchilov and Hutter (2019). As torch.optim. */
static void NAME(adam)(void *param, const void *grad, void *m, void *v, ptrdiff_t i0, ptrdiff_t i1,
                       double lr, double beta1, double beta2, double eps, double weight_decay,
                       int decoupled, double step)
{
    const real rate = (real)(lr / (1 - pow(beta1, step)));
    const real root = (real)(1 / sqrt(1 - pow(beta2, step)));
    const real decay = (real)(decoupled ? 1 - lr * weight_decay : 1);
    const real coupled = (real)(decoupled ? 0 : weight_decay);
    for (ptrdiff_t i = i0; i < i1; i += LANES) {
        real *p = (real *)param + i, *mean = (real *)m + i, *square = (real *)v + i;
        const vec w = load_n(p, i1 - i);
        const vec g = load_n((const real *)grad + i, i1 - i) + coupled * w;
        const vec old = load_n(mean, i1 - i);
        const vec a = (real)(1 - beta1) * (g - old) + old;
        const vec gg = (real)(1 - beta2) * g * g;
        const vec s = (real)beta2 * load_n(square, i1 - i) + gg;
        store_n(mean, a, i1 - i);
        store_n(square, s, i1 - i);
        store_n(p, decay * w - rate * a / (NAME(square_root)(s) * root + (real)eps), i1 - i);
    }
}

/* Tieleman and Hinton (2012), not centred. As torch.optim.RMSprop. velocity NULL: no momentum. */
static void NAME(rmsprop)(void *param, const void *grad, void *square_avg, void *velocity,
                          ptrdiff_t i0, ptrdiff_t i1, double lr, double alpha, double eps,
                          double momentum, double weight_decay)
{
    for (ptrdiff_t i = i0; i < i1; i += LANES) {
        real *p = (real *)param + i, *square = (real *)square_avg + i;
        const vec w = load_n(p, i1 - i);
        const vec g = load_n((const real *)grad + i, i1 - i) + (real)weight_decay * w;
        const vec gg = (real)(1 - alpha) * g * g;
        const vec s = (real)alpha * load_n(square, i1 - i) + gg;
        store_n(square, s, i1 - i);
        vec step = g / (NAME(square_root)(s) + (real)eps);
        if (velocity) {
            real *v = (real *)velocity + i;
            step = (real)momentum * load_n(v, i1 - i) + step;
            store_n(v, step, i1 - i);
        }
        store_n(p, w - (real)lr * step, i1 - i);
    }
}

/* As many independent chains as the tile has, on registers and the first-level cache alone. The
 * operands go through a volatile, or the compiler would know the sums. */
static double NAME(fma_loop)(ptrdiff_t loops)
{
    volatile real opaque = 0;
    real weight[RNNFAST_VECTORS * LANES], x[TILE_ROWS];
    for (int i = 0; i < RNNFAST_VECTORS * LANES; i++) weight[i] = opaque;
    for (int r = 0; r < TILE_ROWS; r++) x[r] = opaque;
    vec acc[TILE_ROWS * RNNFAST_VECTORS] = {{0}};
    const operand op = {.a = x, .row = 1, .w = weight, .n = loops};
    NAME(tiles)[TILE_ROWS - 1][RNNFAST_VECTORS - 1](acc, 0, &op, 1);
    for (int i = 0; i < TILE_ROWS * RNNFAST_VECTORS; i++) opaque = acc[i][0];
    return 2.0 * TILE_ROWS * RNNFAST_VECTORS * LANES * (double)loops;
}
