# Weights in the kernels' layout.

cimport cython

from rnnfast.core.kernels cimport rnnfast_cell, rnnfast_kernels


cdef struct Part:
    # One layer and direction, in the kernels' layout; the last three only for training.
    Py_ssize_t input
    char* weight_x   # (gates) I -> H
    char* weight_h   # (gates) K -> H
    char* bias
    char* weight_r   # projection H -> P, or NULL
    char* weight_ht  # transposed: G H -> K
    char* weight_xt  # transposed: G H -> I
    char* weight_rt  # transposed: P -> H, or NULL


@cython.final
cdef class Packed:
    cdef const rnnfast_kernels* kernels
    cdef const rnnfast_cell* info
    cdef int cell, layers, directions, training, typenum
    cdef Py_ssize_t itemsize, hidden, projection, recurrent
    cdef Part* parts
    cdef char* block


# The data of a C-contiguous array of `size` elements of the net's type; None: NULL.
cdef char* contiguous(object array, Packed net, Py_ssize_t size, str name) except? NULL
