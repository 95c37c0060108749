# Packed weights: in the layout that the kernels read.

cimport cython

from rnnfast.core.kernels cimport rnnfast_cell, rnnfast_kernels


cdef struct Part:
    # The packed weights of one layer and direction. The three transposes, and reset_ht, are packed
    # for training only.
    Py_ssize_t input
    char* weight_x   # (gates) I -> H
    char* weight_h   # (gates) K -> H
    char* bias       # with layer normalisation zero, as beta is the shift
    char* gamma      # (S, padded H), as is beta; NULL without layer normalisation
    char* beta
    char* weight_r   # projection H -> P, or NULL
    char* weight_ht  # transposed: G H -> K
    char* weight_xt  # transposed: G H -> I
    char* weight_rt  # transposed: P -> H, or NULL
    # With the reset gate before the product, weight_x and weight_h hold n alone and weight_ht r and z
    # alone. The others are then the transpose of n, H -> K, and r and z, I -> and K -> 2 padded H.
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
    cdef char* zone_h  # (K,) and (H,) the expected zoneout, or NULL
    cdef char* zone_c
    cdef object zones  # the arrays that own these


cdef inline int abreast(const rnnfast_cell* info) noexcept nogil:
    # Gates side by side in a panel of weight_x and weight_h.
    return 1 if info.reset_before else info.gates


cdef inline int norm_slot(const rnnfast_cell* info, int slot) noexcept nogil:
    # The index of a slot in weight_ln: first the slots that x feeds, in PyTorch's order, then the rest.
    return info.order[slot] if slot < info.gates else slot


# The data of a C-contiguous array of `size` elements of the network's type; None gives NULL.
cdef char* contiguous(object array, Packed net, Py_ssize_t size, str name) except? NULL
