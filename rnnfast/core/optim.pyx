# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Optimisers' updates, for arrays of any shape; csrc/optim.h has the formulas of torch.optim.

Specified and called as functions of `dense`. Threads own parts of the arrays, so results do not
depend on their number.
"""

cimport numpy as cnp
from cython.parallel cimport parallel
from libc.string cimport strcmp

from rnnfast.core cimport kernels as k
from rnnfast.core.arrays cimport data_of, own_end, own_start, real_type, table_of, team_for
from rnnfast.core.kernels cimport rnnfast_optimiser

cnp.import_array()


cdef int _update(const char* name, param, grad, a, str a_name, b, str b_name,
                 const double* settings, double work) except -1:
    # Running values a and b, and settings, in the order of csrc/optim.h; `work`: operations for an
    # element.
    cdef int typenum = real_type(param, "param")
    cdef const rnnfast_optimiser* optimiser = table_of(typenum).optimisers
    cdef Py_ssize_t n = param.size
    cdef unsigned long long fp
    cdef char* p = data_of(param, typenum, n, "param")
    cdef char* g = data_of(grad, typenum, n, "grad")
    cdef void* running[2]
    running[0] = data_of(a, typenum, n, a_name)
    running[1] = data_of(b, typenum, n, b_name)
    while strcmp(optimiser.name, name):
        optimiser += 1
    with nogil, parallel(num_threads=team_for(work * n)):
        fp = k.fp_enter()
        optimiser.update(p, g, running, settings, own_start(n), own_end(n))
        k.fp_leave(fp)
    return 0


def sgd(param, grad, velocity, double lr, double momentum, double weight_decay, bint nesterov):
    """Update `param` and `velocity`, None without momentum, in place."""
    _update("sgd", param, grad, velocity, "velocity", None, "",
            [lr, momentum, weight_decay, nesterov], 4)


def adam(param, grad, m, v, double lr, double beta1, double beta2, double eps,
         double weight_decay, bint decoupled, double step):
    """Update `param` and its moments `m`, `v` in place; `step` counts from 1.

    `decoupled`: weight decay acts on the parameter and not on the gradient (AdamW).
    """
    _update("adam", param, grad, m, "m", v, "v",
            [lr, beta1, beta2, eps, weight_decay, decoupled, step], 8)


def nadam(param, grad, m, v, double lr, double beta1, double beta2, double eps,
          double weight_decay, double mu, double next_mu, double product, double step):
    """Update `param` and its moments `m`, `v` in place; `step` counts from 1.

    `mu`, `next_mu`: momentum of this step and of the next; `product`: of all steps so far.
    """
    _update("nadam", param, grad, m, "m", v, "v",
            [lr, beta1, beta2, eps, weight_decay, mu, next_mu, product, step], 8)


def rmsprop(param, grad, square_avg, velocity, double lr, double alpha, double eps,
            double momentum, double weight_decay):
    """Update `param`, `square_avg` and `velocity`, None without momentum, in place."""
    _update("rmsprop", param, grad, square_avg, "square_avg", velocity, "velocity",
            [lr, alpha, eps, momentum, weight_decay], 8)


def sum_squares(grad):
    """Sum of squares, in double precision."""
    cdef int typenum = real_type(grad, "grad")
    cdef Py_ssize_t n = grad.size
    cdef char* g = data_of(grad, typenum, n, "grad")
    cdef double total
    with nogil:
        total = table_of(typenum).sum_squares(g, n)
    return total
