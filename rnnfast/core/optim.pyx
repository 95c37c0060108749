# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Optimisers' updates, for arrays of any shape; csrc/optim.h has the formulas of torch.optim.

Specified and called as functions of `dense`. Threads own parts of the arrays, so results do not
depend on their number.
"""

cimport numpy as cnp
from cython.parallel cimport parallel

from rnnfast.core cimport kernels as k
from rnnfast.core.arrays cimport data_of, real_type, share_of, table_of, team_for
from rnnfast.core.kernels cimport omp_get_num_threads, omp_get_thread_num, rnnfast_kernels

cnp.import_array()


def sgd(param, grad, velocity, double lr, double momentum, double weight_decay, bint nesterov):
    """Update `param` and `velocity`, None without momentum, in place."""
    cdef int typenum = real_type(param, "param")
    cdef const rnnfast_kernels* kn = table_of(typenum)
    cdef Py_ssize_t n = param.size
    cdef unsigned long long fp
    cdef char* p = data_of(param, typenum, n, "param")
    cdef char* g = data_of(grad, typenum, n, "grad")
    cdef char* v = data_of(velocity, typenum, n, "velocity")
    with nogil, parallel(num_threads=team_for(4.0 * n)):
        fp = k.fp_enter()
        kn.sgd(p, g, v, share_of(n, omp_get_thread_num(), omp_get_num_threads()),
               share_of(n, omp_get_thread_num() + 1, omp_get_num_threads()), lr, momentum,
               weight_decay, nesterov)
        k.fp_leave(fp)


def adam(param, grad, m, v, double lr, double beta1, double beta2, double eps,
         double weight_decay, bint decoupled, double step):
    """Update `param` and its moments `m`, `v` in place; `step` counts from 1.

    `decoupled`: weight decay acts on the parameter and not on the gradient (AdamW).
    """
    cdef int typenum = real_type(param, "param")
    cdef const rnnfast_kernels* kn = table_of(typenum)
    cdef Py_ssize_t n = param.size
    cdef unsigned long long fp
    cdef char* pd = data_of(param, typenum, n, "param")
    cdef char* gd = data_of(grad, typenum, n, "grad")
    cdef char* md = data_of(m, typenum, n, "m")
    cdef char* vd = data_of(v, typenum, n, "v")
    with nogil, parallel(num_threads=team_for(8.0 * n)):
        fp = k.fp_enter()
        kn.adam(pd, gd, md, vd, share_of(n, omp_get_thread_num(), omp_get_num_threads()),
                share_of(n, omp_get_thread_num() + 1, omp_get_num_threads()), lr, beta1, beta2, eps,
                weight_decay, decoupled, step)
        k.fp_leave(fp)


def nadam(param, grad, m, v, double lr, double beta1, double beta2, double eps,
          double weight_decay, double mu, double next_mu, double product, double step):
    """Update `param` and its moments `m`, `v` in place; `step` counts from 1.

    `mu`, `next_mu`: momentum of this step and of the next; `product`: of all steps so far.
    """
    cdef int typenum = real_type(param, "param")
    cdef const rnnfast_kernels* kn = table_of(typenum)
    cdef Py_ssize_t n = param.size
    cdef unsigned long long fp
    cdef char* pd = data_of(param, typenum, n, "param")
    cdef char* gd = data_of(grad, typenum, n, "grad")
    cdef char* md = data_of(m, typenum, n, "m")
    cdef char* vd = data_of(v, typenum, n, "v")
    with nogil, parallel(num_threads=team_for(8.0 * n)):
        fp = k.fp_enter()
        kn.nadam(pd, gd, md, vd, share_of(n, omp_get_thread_num(), omp_get_num_threads()),
                 share_of(n, omp_get_thread_num() + 1, omp_get_num_threads()), lr, beta1, beta2,
                 eps, weight_decay, mu, next_mu, product, step)
        k.fp_leave(fp)


def rmsprop(param, grad, square_avg, velocity, double lr, double alpha, double eps,
            double momentum, double weight_decay):
    """Update `param`, `square_avg` and `velocity`, None without momentum, in place."""
    cdef int typenum = real_type(param, "param")
    cdef const rnnfast_kernels* kn = table_of(typenum)
    cdef Py_ssize_t n = param.size
    cdef unsigned long long fp
    cdef char* pd = data_of(param, typenum, n, "param")
    cdef char* gd = data_of(grad, typenum, n, "grad")
    cdef char* sd = data_of(square_avg, typenum, n, "square_avg")
    cdef char* vd = data_of(velocity, typenum, n, "velocity")
    with nogil, parallel(num_threads=team_for(8.0 * n)):
        fp = k.fp_enter()
        kn.rmsprop(pd, gd, sd, vd, share_of(n, omp_get_thread_num(), omp_get_num_threads()),
                   share_of(n, omp_get_thread_num() + 1, omp_get_num_threads()), lr, alpha, eps,
                   momentum, weight_decay)
        k.fp_leave(fp)


def sum_squares(grad):
    """Sum of squares, in double precision."""
    cdef int typenum = real_type(grad, "grad")
    cdef Py_ssize_t n = grad.size
    cdef char* g = data_of(grad, typenum, n, "grad")
    cdef double total
    with nogil:
        total = table_of(typenum).sum_squares(g, n)
    return total
