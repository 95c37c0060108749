# Packed weights: in the layout that the kernels read.

cimport cython

from rnnfast.core.kernels cimport RNNFAST_LINE, cell_kernels, rnnfast_cell, rnnfast_kernels


cdef enum:
    # The weights of a layer and direction: the fields of `rnnfast.weights.Weights`, in its order.
    W_IH, W_HH, B_IH, B_HH, W_HR, W_LN, B_LN, W_OWN
    WEIGHTS  # how many there are
    # From here on they are vectors: a number for each unit of some slots.
    FIRST_VECTOR = W_LN
    VECTORS = WEIGHTS - FIRST_VECTOR

cdef enum:
    # Each vector's index among the vectors.
    GAMMA, BETA, OWN


cdef struct Panels:
    # A packed matrix, in the layout that rnnfast.h describes.
    char* data
    size_t bytes
    Py_ssize_t outputs, inputs  # outputs of one gate
    int gates  # side by side in a panel


cdef struct Part:
    # The packed weights of one layer and direction. The three transposes, and reset_ht, are packed
    # for training only.
    Py_ssize_t input
    Panels weight_x   # (gates) I -> H
    Panels weight_h   # (gates) K -> H
    Panels bias       # with layer normalisation zero, as beta is the shift
    char* vectors[VECTORS]  # (S, padded H) each, 0 where its slot has none; NULL: it is not there
    Panels weight_r   # projection H -> P
    Panels weight_ht  # transposed: G H -> K
    Panels weight_xt  # transposed: G H -> I
    Panels weight_rt  # transposed: P -> H
    # With the reset gate before the product, weight_x and weight_h hold n alone and weight_ht r and z
    # alone. The others are then the transpose of n, H -> K, and r and z, I -> and K -> 2 padded H.
    Panels reset_ht
    Panels reset_x
    Panels reset_h


@cython.final
cdef class Packed:
    cdef const rnnfast_kernels* kernels
    cdef const rnnfast_cell* info
    cdef const cell_kernels* cell
    cdef int layers, directions, training, typenum
    cdef int own_rows  # of W_OWN
    cdef Py_ssize_t itemsize, hidden, projection, recurrent
    cdef Part* parts
    cdef char* block
    cdef char* zone_h  # (K,) and (H,) the expected zoneout, or NULL
    cdef char* zone_c
    cdef object zones  # the arrays that own these


cdef inline char* bump(char** at, size_t bytes) noexcept nogil:
    # The address of an array in a block whose arrays lie one after the other. A first pass from NULL
    # gives the size of the block.
    cdef char* block = at[0]
    at[0] += (bytes + RNNFAST_LINE - 1) // RNNFAST_LINE * RNNFAST_LINE
    return block


cdef inline int row_of(const rnnfast_cell* info, int vector, int slot) noexcept nogil:
    # The row of a slot in a vector (rows, H) as the caller has it, or -1. Of layer normalisation: first
    # the slots that x feeds, in PyTorch's order, then the rest.
    if vector == OWN:
        return info.own[slot] - 1
    return info.order[slot] if slot < info.gates else slot


cdef inline Py_ssize_t step_inputs(Packed net, int index) noexcept nogil:
    # What a step multiplies: x and, unless the gates are of x alone, h.
    return net.parts[index].input + (0 if net.info.input_only else net.recurrent)


# The data of a C-contiguous array of `size` elements of the network's type; None gives NULL.
cdef char* contiguous(object array, Packed net, Py_ssize_t size, str name) except? NULL

# The data of the weights, or gradients, of a layer and direction, to `to`, W_IH first.
cdef int read_weights(Packed net, int index, object weights, char** to) except -1
