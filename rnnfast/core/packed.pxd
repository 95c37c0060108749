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
    # where r comes before the product, weight_x and weight_h are n's, weight_ht is of r and z, and
    # these are n's transposed, H -> K, and, I -> and K -> 2 padded H, of r and z
    char* reset_ht
    char* reset_x
    char* reset_h


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


cdef inline int abreast(const rnnfast_cell* info) noexcept nogil:
    # Gates side by side in a panel of weight_x and weight_h.
    return 1 if info.reset_before else info.gates


cdef inline int norm_slot(const rnnfast_cell* info, int slot) noexcept nogil:
    # Where weight_ln has a slot: those that x feeds in PyTorch's order of gates, then the others.
    return info.order[slot] if slot < info.gates else slot


# The data of a C-contiguous array of `size` elements of the net's type; None: NULL.
cdef char* contiguous(object array, Packed net, Py_ssize_t size, str name) except? NULL
