/* What is not a sum over a row: weight gradients, packing, optimiser updates. */

/* A tile of a weight gradient is up to TILE_ROWS of its rows, all of one run, by one panel of its
 * columns. Rows of the batch are the k axis: a block of them is one chain of sums, added to the
 * tile's place in `sums`. The block's panel of `a` is copied together first, since all tiles of the
 * panel read it; each line of g is fetched by the tile before those that need it. */
static ptrdiff_t tiles_per_panel(ptrdiff_t n_runs, ptrdiff_t run_length)
{
    return n_runs * ((run_length + TILE_ROWS - 1) / TILE_ROWS);
}

/* Where a tile is: panel p of columns, rows [first, first + R) of a run; i counts the run's tiles.
 * The first `longer` of these have a row more than the others. */
typedef struct {
    ptrdiff_t p, run, i, per_run, rows, longer;
} place;

INLINE place tile_place(const rnnfast_outer *o, ptrdiff_t q)
{
    const ptrdiff_t per_run = (o->run_length + TILE_ROWS - 1) / TILE_ROWS, run = q / per_run;
    return (place){.p = run / o->n_runs,
                   .run = run % o->n_runs,
                   .i = q % per_run,
                   .per_run = per_run,
                   .rows = o->run_length / per_run,
                   .longer = o->run_length % per_run};
}

INLINE void next_tile(const rnnfast_outer *o, place *at)
{
    if (++at->i < at->per_run) return;
    at->i = 0;
    if (++at->run < o->n_runs) return;
    at->run = 0;
    at->p++;
}

INLINE int tile_rows(const place *at, ptrdiff_t *first)
{
    *first = at->i * at->rows + (at->i < at->longer ? at->i : at->longer);
    return (int)(at->rows + (at->i < at->longer));
}

static void outer(const rnnfast_outer *o, const rnnfast_run *runs, int n_runs, int fresh,
                  ptrdiff_t q0, ptrdiff_t q1)
{
    place at = tile_place(o, q0);
    const ptrdiff_t k = at.p * RNNFAST_VECTORS * LANES;
    const int V = panel_vectors(o->n_a, at.p);
    vec panel[RNNFAST_BLOCK_ROWS * RNNFAST_VECTORS];
    operand op[RNNFAST_BLOCK_ROWS];
    vec *to = panel;
    const rnnfast_run *last = runs + n_runs - 1;
    const real *end = (const real *)o->a + (last->start + last->count - 1) * o->lda + o->n_a;
    for (int j = 0; j < n_runs; j++) {
        op[j].row = 1;
        op[j].step = o->ldg;
        op[j].w = (const real *)to;
        op[j].next = 0;
        op[j].pitch = V * LANES;
        op[j].n = runs[j].count;
        op[j].first = 0;
        const real *a = (const real *)o->a + runs[j].start * o->lda + k;
        for (ptrdiff_t n = 0; n < runs[j].count; n++, a += o->lda)
            for (int v = 0; v < V; v++)
                *to++ = load_before(a + v * LANES, o->n_a - k - v * LANES, end);
    }
    vec *sums = o->sums;
    for (ptrdiff_t q = q0; q < q1; q++, sums += TILE_ROWS * RNNFAST_VECTORS) {
        ptrdiff_t first;
        const int R = tile_rows(&at, &first);
        for (int j = 0; j < n_runs; j++)
            op[j].a = (const real *)o->g + runs[j].start * o->ldg + at.run * o->run_pitch + first;
        tiles[R - 1][V - 1](sums, 0, op, n_runs, (origin){0}, fresh, NULL);
        next_tile(o, &at);
    }
}

static void outer_add(const rnnfast_outer *o, ptrdiff_t q0, ptrdiff_t q1)
{
    place at = tile_place(o, q0);
    const vec *sums = o->sums;
    for (ptrdiff_t q = q0; q < q1; q++, sums += TILE_ROWS * RNNFAST_VECTORS) {
        const ptrdiff_t k = at.p * RNNFAST_VECTORS * LANES;
        const int V = panel_vectors(o->n_a, at.p);
        ptrdiff_t first;
        const int R = tile_rows(&at, &first);
        const ptrdiff_t row = (o->order ? o->order[at.run] : at.run) * o->run_length + first;
        for (int r = 0; r < R; r++)
            for (int v = 0; v < V; v++) {
                real *out = (real *)o->out + (row + r) * o->n_a + k + v * LANES;
                const ptrdiff_t n = o->n_a - k - v * LANES;
                store_n(out, load_n(out, n) + sums[r * RNNFAST_VECTORS + v], n);
            }
        next_tile(o, &at);
    }
}

/* The other way round: rows of tiles are columns of `a`, and g needs no copy. */
static void narrow(const void *a, ptrdiff_t lda, ptrdiff_t n_a, const void *g, ptrdiff_t ldg,
                   const rnnfast_run *runs, int n_runs, ptrdiff_t columns, void *sums,
                   ptrdiff_t lds)
{
    static const real one = 1;
    operand op[RNNFAST_BLOCK_ROWS];
    vec acc[TILE_ROWS * RNNFAST_VECTORS];
    for (ptrdiff_t p = 0; p * RNNFAST_VECTORS * LANES < columns; p++) {
        const int V = panel_vectors(columns, p);
        const ptrdiff_t c = p * RNNFAST_VECTORS * LANES;
        for (ptrdiff_t k = 0, R; k < n_a; k += R) {
            R = deal(n_a - k);
            for (int j = 0; j < n_runs; j++) {
                op[j].a = a ? (const real *)a + runs[j].start * lda + k : &one;
                op[j].row = a ? 1 : 0;
                op[j].step = a ? lda : 0;
                op[j].w = (const real *)g + runs[j].start * ldg + c;
                op[j].next = 0;
                op[j].pitch = ldg;
                op[j].n = runs[j].count;
                op[j].first = 0;
            }
            tiles[R - 1][V - 1](acc, 0, op, n_runs, (origin){0}, 1, NULL);
            for (ptrdiff_t r = 0; r < R; r++)
                for (int v = 0; v < V; v++) {
                    real *sum = (real *)sums + (k + r) * lds + c + v * LANES;
                    store(sum, load(sum) + acc[r * RNNFAST_VECTORS + v]);
                }
        }
    }
}

static void pack(void *dst, const void *src, ptrdiff_t row, ptrdiff_t column, ptrdiff_t hidden,
                 ptrdiff_t n_in, ptrdiff_t at, ptrdiff_t n_all, int gates, const int *order,
                 ptrdiff_t p0, ptrdiff_t p1)
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

static void add(void *to, ptrdiff_t step, const void *what, ptrdiff_t n)
{
    if (step == 1)
        for (ptrdiff_t i = 0; i < n; i++) ((real *)to)[i] += ((const real *)what)[i];
    else
        for (ptrdiff_t i = 0; i < n; i++) ((real *)to)[i * step] += ((const real *)what)[i];
}

static void multiply(void *to, const void *by, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i++) ((real *)to)[i] *= ((const real *)by)[i];
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

/* In SUMS interleaved sums, the same ones on every instruction set. */
static double sum_squares(const void *x, ptrdiff_t n)
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

static void activate(int f, const void *x, void *y, ptrdiff_t n)
{
    for (ptrdiff_t i = 0; i < n; i += LANES) {
        vec a = load_n((const real *)x + i, n - i);
        if (f)
            vtanh(1, &a);
        else
            sigmoid(1, &a);
        store_n((real *)y + i, a, n - i);
    }
}

/* v = momentum v + g;  p -= lr v, or lr (g + momentum v) after Nesterov; g = grad + weight_decay p.
 * As torch.optim.SGD. velocity NULL: no momentum. */
static void sgd(void *param, const void *grad, void *velocity, ptrdiff_t i0, ptrdiff_t i1,
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

INLINE vec square_root(vec a)
{
    vec y;
    for (int l = 0; l < LANES; l++) y[l] = REAL_SQRT(a[l]);
    return y;
}

/* p = decay p - (rate m + direct g) / (root sqrt(v) + eps) with the running means m of g and v of
 * its square; g = grad + coupled p. */
INLINE void moments(void *param, const void *grad, void *m, void *v, ptrdiff_t i0, ptrdiff_t i1,
                    double beta1, double beta2, double eps, real root, real coupled, real decay,
                    real rate, real direct)
{
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
        const vec step = rate * a + direct * g;
        store_n(p, decay * w - step / (square_root(s) * root + (real)eps), i1 - i);
    }
}

/* Kingma and Ba (2015), bias corrected; decoupled: Loshchilov and Hutter (2019). As torch.optim. */
static void adam(void *param, const void *grad, void *m, void *v, ptrdiff_t i0, ptrdiff_t i1,
                 double lr, double beta1, double beta2, double eps, double weight_decay,
                 int decoupled, double step)
{
    const real rate = (real)(lr / (1 - pow(beta1, step)));
    const real root = (real)(1 / sqrt(1 - pow(beta2, step)));
    const real decay = (real)(decoupled ? 1 - lr * weight_decay : 1);
    const real coupled = (real)(decoupled ? 0 : weight_decay);
    moments(param, grad, m, v, i0, i1, beta1, beta2, eps, root, coupled, decay, rate, 0);
}

/* Dozat (2016). As torch.optim.NAdam. */
static void nadam(void *param, const void *grad, void *m, void *v, ptrdiff_t i0, ptrdiff_t i1,
                  double lr, double beta1, double beta2, double eps, double weight_decay, double mu,
                  double next_mu, double product, double step)
{
    const real rate = (real)(lr * next_mu / (1 - product * next_mu));
    const real direct = (real)(lr * (1 - mu) / (1 - product));
    const real root = (real)(1 / sqrt(1 - pow(beta2, step)));
    const real coupled = (real)weight_decay;
    moments(param, grad, m, v, i0, i1, beta1, beta2, eps, root, coupled, 1, rate, direct);
}

/* Tieleman and Hinton (2012), not centred. As torch.optim.RMSprop. velocity NULL: no momentum. */
static void rmsprop(void *param, const void *grad, void *square_avg, void *velocity, ptrdiff_t i0,
                    ptrdiff_t i1, double lr, double alpha, double eps, double momentum,
                    double weight_decay)
{
    for (ptrdiff_t i = i0; i < i1; i += LANES) {
        real *p = (real *)param + i, *square = (real *)square_avg + i;
        const vec w = load_n(p, i1 - i);
        const vec g = load_n((const real *)grad + i, i1 - i) + (real)weight_decay * w;
        const vec gg = (real)(1 - alpha) * g * g;
        const vec s = (real)alpha * load_n(square, i1 - i) + gg;
        store_n(square, s, i1 - i);
        vec step = g / (square_root(s) + (real)eps);
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
static double fma_loop(ptrdiff_t loops)
{
    volatile real opaque = 0;
    real weight[RNNFAST_VECTORS * LANES], x[TILE_ROWS];
    for (int i = 0; i < RNNFAST_VECTORS * LANES; i++) weight[i] = opaque;
    for (int r = 0; r < TILE_ROWS; r++) x[r] = opaque;
    vec acc[TILE_ROWS * RNNFAST_VECTORS];
    const operand op = {.a = x, .row = 1, .w = weight, .n = loops};
    tiles[TILE_ROWS - 1][RNNFAST_VECTORS - 1](acc, 0, &op, 1, (origin){weight, 0}, 1, NULL);
    for (int i = 0; i < TILE_ROWS * RNNFAST_VECTORS; i++) opaque = acc[i][0];
    return 2.0 * TILE_ROWS * RNNFAST_VECTORS * LANES * (double)loops;
}

/* Reads x, n numbers of it, `loops` times over: the yardstick of a cache's bandwidth. */
static double read_loop(const void *x, ptrdiff_t n, ptrdiff_t loops)
{
    enum { CHAINS = 8 };
    volatile real opaque;
    vec acc[CHAINS] = {{0}};
    n -= n % (CHAINS * LANES);
    for (ptrdiff_t k = 0; k < loops; k++)
        for (ptrdiff_t i = 0; i < n; i += CHAINS * LANES) {
            UNROLL
            for (int j = 0; j < CHAINS; j++) acc[j] += load((const real *)x + i + j * LANES);
        }
    for (int j = 0; j < CHAINS; j++) opaque = acc[j][0];
    (void)opaque;
    return (double)loops * (double)(n * (ptrdiff_t)sizeof(real));
}
