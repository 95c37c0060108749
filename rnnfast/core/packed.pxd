# Weights in the kernels' layout.

cimport cython

from rnnfast.core.kernels cimport rnnfast_cell, rnnfast_kernels


cdef struct Part:
    # One layer and direction, in the kernels' layout; the last three only for training.
    Py_ssize_t input
    char* weight_x   # (gates) I -> H
    char* weight_h   # (gates) K -> H
    char* bias       # zeros with layer normalisation, whose shift it then is
    char* gamma      # (S, padded H), or NULL; with layer normalisation, as is beta
    char* beta
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
    cdef char* zone_h  # (K,) and (H,) the zoneout's expectation; NULL: none
    cdef char* zone_c
    cdef object zones  # the arrays of these


cdef inline int norm_slot(const rnnfast_cell* info, int slot) noexcept nogil:
    # Where weight_ln has a slot: those that x feeds in PyTorch's order of gates, then the others.
    return info.order[slot] if slot < info.gates else slot


# The data of a C-contiguous array of `size` elements of the net's type; None: NULL.
cdef char* contiguous(object array, Packed net, Py_ssize_t size, str name) except? NULL
