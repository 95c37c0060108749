/* Optimiser updates. */
#pragma once

#include "vec.h"

/* v = momentum v + g, then p -= lr v, or p -= lr (g + momentum v) with Nesterov's momentum, where
 * g = grad + weight_decay p. As torch.optim.SGD. Without momentum `velocity` is NULL. */
static void sgd(void *param, const void *grad, void *const *running, const double *settings,
                ptrdiff_t i0, ptrdiff_t i1)
{
    const double lr = settings[0], momentum = settings[1], weight_decay = settings[2];
    const int nesterov = settings[3] != 0;
    real *velocity = running[0];
    for (ptrdiff_t i = i0; i < i1; i += LANES) {
        real *p = (real *)param + i;
        const vec w = load_n(p, i1 - i);
        vec g = load_n((const real *)grad + i, i1 - i) + (real)weight_decay * w;
        if (velocity) {
            real *v = velocity + i;
            const vec step = (real)momentum * load_n(v, i1 - i) + g;
            store_n(v, step, i1 - i);
            g = nesterov ? (real)momentum * step + g : step;
        }
        store_n(p, w - (real)lr * g, i1 - i);
    }
}

/* p = decay p - (rate m + direct g) / (root sqrt(v) + eps), where m is the running mean of g and v
 * that of its square, and g = grad + coupled p. */
INLINE void moments(void *param, const void *grad, void *const *running, ptrdiff_t i0, ptrdiff_t i1,
                    double beta1, double beta2, double eps, real root, real coupled, real decay,
                    real rate, real direct)
{
    real *m = running[0], *v = running[1];
    for (ptrdiff_t i = i0; i < i1; i += LANES) {
        real *p = (real *)param + i, *mean = m + i, *square = v + i;
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

/* Kingma and Ba (2015) with bias correction, or with decoupled weight decay, Loshchilov and Hutter
 * (2019). As torch.optim.Adam and AdamW. */
static void adam(void *param, const void *grad, void *const *running, const double *settings,
                 ptrdiff_t i0, ptrdiff_t i1)
{
    const double lr = settings[0], beta1 = settings[1], beta2 = settings[2], eps = settings[3];
    const double weight_decay = settings[4], decoupled = settings[5], step = settings[6];
    const real rate = (real)(lr / (1 - pow(beta1, step)));
    const real root = (real)(1 / sqrt(1 - pow(beta2, step)));
    const real decay = (real)(decoupled != 0 ? 1 - lr * weight_decay : 1);
    const real coupled = (real)(decoupled != 0 ? 0 : weight_decay);
    moments(param, grad, running, i0, i1, beta1, beta2, eps, root, coupled, decay, rate, 0);
}

/* Dozat (2016). As torch.optim.NAdam. */
static void nadam(void *param, const void *grad, void *const *running, const double *settings,
                  ptrdiff_t i0, ptrdiff_t i1)
{
    const double lr = settings[0], beta1 = settings[1], beta2 = settings[2], eps = settings[3];
    const double weight_decay = settings[4], mu = settings[5], next_mu = settings[6];
    const double product = settings[7], step = settings[8];
    const real rate = (real)(lr * next_mu / (1 - product * next_mu));
    const real direct = (real)(lr * (1 - mu) / (1 - product));
    const real root = (real)(1 / sqrt(1 - pow(beta2, step)));
    const real coupled = (real)weight_decay;
    moments(param, grad, running, i0, i1, beta1, beta2, eps, root, coupled, 1, rate, direct);
}

/* Tieleman and Hinton (2012), not centred. As torch.optim.RMSprop. Without momentum `velocity` is
 * NULL. */
static void rmsprop(void *param, const void *grad, void *const *running, const double *settings,
                    ptrdiff_t i0, ptrdiff_t i1)
{
    const double lr = settings[0], alpha = settings[1], eps = settings[2];
    const double momentum = settings[3], weight_decay = settings[4];
    real *square_avg = running[0], *velocity = running[1];
    for (ptrdiff_t i = i0; i < i1; i += LANES) {
        real *p = (real *)param + i, *square = square_avg + i;
        const vec w = load_n(p, i1 - i);
        const vec g = load_n((const real *)grad + i, i1 - i) + (real)weight_decay * w;
        const vec gg = (real)(1 - alpha) * g * g;
        const vec s = (real)alpha * load_n(square, i1 - i) + gg;
        store_n(square, s, i1 - i);
        vec step = g / (square_root(s) + (real)eps);
        if (velocity) {
            real *v = velocity + i;
            step = (real)momentum * load_n(v, i1 - i) + step;
            store_n(v, step, i1 - i);
        }
        store_n(p, w - (real)lr * step, i1 - i);
    }
}

static const rnnfast_optimiser optimisers[] = {
    {"sgd", sgd}, {"adam", adam}, {"nadam", nadam}, {"rmsprop", rmsprop}, {NULL, NULL},
};
