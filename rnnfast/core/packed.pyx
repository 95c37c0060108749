# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Packs the weights of a network once for all calls until they change."""

import numpy as np

cimport cython
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport parallel
from libc.string cimport memset

from rnnfast.core cimport kernels as k
from rnnfast.core.arrays cimport data_of, own_end, own_start
from rnnfast.core.kernels cimport (
    RNNFAST_VECTORS, omp_get_thread_num, rnnfast_cell, rnnfast_padded, rnnfast_panels,
)

cnp.import_array()


@cython.final
cdef class Packed:
    """Weights of all layers and directions as the kernels read them. Opaque and immutable."""

    def __dealloc__(self):
        k.give(self.parts)
        k.give(self.block)


cdef void _pack_bias(char* to, char* b_ih, char* b_hh, Packed net) noexcept nogil:
    # The bias of each slot: b_ih, b_hh, or their sum. It is laid out panel by panel or, where gates are
    # packed singly, one padded H after the other.
    cdef const rnnfast_cell* cell = net.info
    cdef Py_ssize_t lanes = net.kernels.lanes, H = net.hidden, size = net.itemsize, u = 0, at, n
    cdef int s
    while u < H:
        n = min(lanes, H - u)
        for s in range(cell.slots):
            at = u * RNNFAST_VECTORS + s * lanes
            if cell.panel_gates == 1:
                at = s * rnnfast_padded(H, size) + u
            if b_ih != NULL and cell.x_slot <= s < cell.x_slot + cell.gates:
                net.kernels.add(to + at * size, 1, b_ih + (cell.order[s] * H + u) * size, n)
            if b_hh != NULL and cell.h_slot <= s < cell.h_slot + cell.gates:
                net.kernels.add(to + at * size, 1, b_hh + (cell.order[s] * H + u) * size, n)
        u += lanes


cdef void _pack_vector(char* to, int vector, char* values, Packed net) noexcept nogil:
    # One padded H after the other. NULL stands for zeros.
    cdef Py_ssize_t H = net.hidden, size = net.itemsize
    cdef int s, row
    memset(to, 0, net.info.slots * rnnfast_padded(H, size) * size)
    for s in range(net.info.slots if values != NULL else 0):
        row = row_of(net.info, vector, s)
        if row >= 0:
            net.kernels.add(to + s * rnnfast_padded(H, size) * size, 1, values + row * H * size, H)


cdef enum:
    SHARED_BYTES = 1 << 20  # threads share the packing of so many, which takes one of them 80 microseconds


cdef char* contiguous(object array, Packed net, Py_ssize_t size, str name) except? NULL:
    return data_of(array, net.typenum, size, name)


cdef int read_weights(Packed net, int index, object weights, char** to) except -1:
    # By index, which is faster than by name.
    cdef Py_ssize_t H = net.hidden, GH = net.info.gates * H, SH = net.info.slots * H
    if not isinstance(weights, tuple) or len(<tuple>weights) != WEIGHTS:
        raise TypeError(f"weights must be of type Weights, got {type(weights).__name__}")
    given = <tuple>weights
    to[W_IH] = contiguous(given[W_IH], net, GH * net.parts[index].input, "w_ih")
    to[W_HH] = contiguous(given[W_HH], net, GH * net.recurrent, "w_hh")
    to[B_IH] = contiguous(given[B_IH], net, GH, "b_ih")
    to[B_HH] = contiguous(given[B_HH], net, GH, "b_hh")
    to[W_HR] = contiguous(given[W_HR], net, net.projection * H, "w_hr")
    to[W_LN] = contiguous(given[W_LN], net, SH, "w_ln")
    to[B_LN] = contiguous(given[B_LN], net, SH, "b_ln")
    to[W_OWN] = contiguous(given[W_OWN], net, net.own_rows * H, "w_own")
    return 0


cdef int _plan(Packed net, Panels* to, Py_ssize_t outputs, int gates, Py_ssize_t inputs,
               char** at) except -1:
    cdef Py_ssize_t lanes = net.kernels.lanes
    cdef Py_ssize_t width = rnnfast_panels(outputs, gates, <int>lanes) * lanes
    width *= RNNFAST_VECTORS if gates == 1 else gates
    to.outputs, to.gates, to.inputs = outputs, gates, inputs
    to.bytes = k.product(width * net.itemsize, inputs)
    to.data = bump(at, to.bytes)
    return 0


cdef int _place(Packed net, list weights, char** at) except -1:
    # The size of every array, and its address from at[0] on.
    cdef Py_ssize_t H = net.hidden, K = net.recurrent, P = net.projection, I
    cdef Py_ssize_t slot = rnnfast_padded(H, net.itemsize), G = net.info.gates
    cdef int together = net.info.panel_gates, before = net.info.reset_before, index, v
    cdef Part* part
    for index in range(net.layers * net.directions):
        part = net.parts + index
        part.input = I = weights[index].w_ih.shape[1]
        _plan(net, &part.weight_x, H, together, I, at)
        if not net.info.input_only:
            _plan(net, &part.weight_h, H, together, K, at)
        if before:
            _plan(net, &part.bias, G * slot, 1, 1, at)
            _plan(net, &part.reset_x, 2 * slot, 1, I, at)
            _plan(net, &part.reset_h, 2 * slot, 1, K, at)
        else:
            _plan(net, &part.bias, H, 1 if G == 1 else RNNFAST_VECTORS, 1, at)
        for v in range(VECTORS):
            if weights[index][FIRST_VECTOR + v] is not None or (
                    v == BETA and part.vectors[GAMMA] != NULL):
                part.vectors[v] = bump(at, net.info.slots * slot * net.itemsize)
        if P:
            _plan(net, &part.weight_r, P, 1, H, at)
        if net.training:
            if not net.info.input_only:
                _plan(net, &part.weight_ht, K, 1, (G - before) * H, at)
            _plan(net, &part.weight_xt, I, 1, G * H, at)
        if net.training and before:
            _plan(net, &part.reset_ht, K, 1, H, at)
        if net.training and P:
            _plan(net, &part.weight_rt, H, 1, P, at)
    return 0


cdef void _pack_rows(Packed net, Panels* to, const char* weight, const int* order) noexcept nogil:
    # A weight (gates outputs, inputs): the calling thread's share of it, here and below.
    cdef Py_ssize_t panels = rnnfast_panels(to.outputs, to.gates, net.kernels.lanes)
    net.kernels.pack(to.data, weight, to.inputs, 1, to.outputs, to.inputs, 0, to.inputs, to.gates,
                     order, own_start(panels), own_end(panels))


cdef void _pack_columns(Packed net, Panels* to, const char* weight, Py_ssize_t rows,
                        Py_ssize_t first) noexcept nogil:
    # The transpose of a weight (rows, outputs), as the inputs from `first` on.
    cdef Py_ssize_t panels = rnnfast_panels(to.outputs, 1, net.kernels.lanes)
    net.kernels.pack(to.data, weight, 1, to.outputs, to.outputs, rows, first, to.inputs, 1, NULL,
                     own_start(panels), own_end(panels))


cdef int _pack_reset(Packed net, Panels* to, object weight, int team) except -1:
    # The rows of r and of z, each padded to a slot, so that no vector holds units of both.
    rows = np.zeros((2, to.outputs // 2, to.inputs), weight.dtype)
    rows[:, :net.hidden] = weight[:2 * net.hidden].reshape(2, net.hidden, to.inputs)
    cdef const char* data = <char*>cnp.PyArray_DATA(rows)
    with nogil, parallel(num_threads=team):
        _pack_rows(net, to, data, NULL)
    return 0


cdef void _pack_forward(Packed net, Part* part, char** data) noexcept nogil:
    cdef const rnnfast_cell* cell = net.info
    cdef int v
    # A gate that is packed alone is n, with the last rows.
    cdef Py_ssize_t alone = cell.order[0] * net.hidden * net.itemsize if cell.reset_before else 0
    _pack_rows(net, &part.weight_x, data[W_IH] + alone * part.input, cell.order + cell.x_slot)
    if data[W_HH] != NULL:
        _pack_rows(net, &part.weight_h, data[W_HH] + alone * net.recurrent,
                   cell.order + cell.h_slot)
    if net.projection:
        _pack_rows(net, &part.weight_r, data[W_HR], NULL)
    if omp_get_thread_num() > 0:
        return
    memset(part.bias.data, 0, part.bias.bytes)
    _pack_bias(part.bias.data, data[B_IH], data[B_HH], net)
    for v in range(VECTORS):
        if part.vectors[v] != NULL:
            _pack_vector(part.vectors[v], v, data[FIRST_VECTOR + v], net)


cdef void _pack_backward(Packed net, Part* part, char** data) noexcept nogil:
    cdef const rnnfast_cell* cell = net.info
    cdef Py_ssize_t H = net.hidden, I = part.input, K = net.recurrent, size = net.itemsize
    cdef int before = cell.reset_before, s
    for s in range(0 if data[W_HH] == NULL else cell.gates - before):
        _pack_columns(net, &part.weight_ht,
                      data[W_HH] + cell.order[cell.h_slot + before + s] * H * K * size, H, s * H)
    for s in range(cell.gates):
        _pack_columns(net, &part.weight_xt,
                      data[W_IH] + cell.order[cell.x_slot + s] * H * I * size, H, s * H)
    if before:
        _pack_columns(net, &part.reset_ht, data[W_HH] + cell.order[0] * H * K * size, H, 0)
    if net.projection:
        _pack_columns(net, &part.weight_rt, data[W_HR], net.projection, 0)


cdef Packed _network(str cell, list weights, int num_layers, int num_directions, bint training):
    # What a network is, before its weights are packed.
    cdef Packed net = Packed.__new__(Packed)
    cdef int index = 0
    while k.cell(index).name != NULL and k.cell(index).name != cell.encode():
        index += 1
    if k.cell(index).name == NULL:
        raise ValueError(f"cell {cell!r} is unknown")
    first = weights[0]
    net.typenum = cnp.PyArray_TYPE(first.w_ih)
    if net.typenum != cnp.NPY_FLOAT32 and net.typenum != cnp.NPY_FLOAT64:
        raise TypeError(f"weights must be float32 or float64, got {first.w_ih.dtype}")
    net.itemsize = cnp.PyArray_ITEMSIZE(first.w_ih)
    net.kernels = k.table(k.current_isa(), net.itemsize)
    net.info, net.cell = k.cell(index), net.kernels.cell + index
    net.layers, net.directions, net.training = num_layers, num_directions, training
    net.hidden = first.w_ih.shape[0] // net.info.gates
    if any((entry.w_hh is None) != net.info.input_only
           or (net.info.input_only and entry.b_hh is not None) for entry in weights):
        raise ValueError(f"{cell} takes {'neither w_hh nor b_hh' if net.info.input_only else 'w_hh'}")
    net.recurrent = net.hidden if first.w_hh is None else first.w_hh.shape[1]
    net.projection = 0 if first.w_hr is None else first.w_hr.shape[0]
    if net.projection > net.hidden:
        raise ValueError(f"a projection must not be larger than the {net.hidden} units, "
                         f"got {net.projection}")
    if first.w_ln is not None and not net.info.has_norm:
        raise ValueError(f"{cell} takes no layer normalisation")
    net.own_rows = max(net.info.own)
    if any((entry.w_own is None) == (net.own_rows > 0) for entry in weights):
        raise ValueError(f"{cell} takes {'' if net.own_rows else 'no '}w_own")
    return net


def pack(str cell, list weights, int num_layers, int num_directions, bint training, zoneout):
    """The weights, a list, in the kernels' layout, for the instruction set selected now."""
    cdef Packed net = _network(cell, weights, num_layers, num_directions, training)
    cdef size_t bytes = sizeof(Part) * num_layers * num_directions
    cdef char* data[WEIGHTS]
    cdef char* at = NULL
    cdef Part* part
    cdef int index, team = 1
    net.zones = [np.full(n, share, weights[0].w_ih.dtype) if share else None
                 for share, n in zip(zoneout, (net.recurrent, net.hidden))]
    net.zone_h = contiguous(net.zones[0], net, net.recurrent, "zoneout of h")
    net.zone_c = contiguous(net.zones[1], net, net.hidden, "zoneout of c")
    net.parts = <Part*>k.take(bytes)
    memset(net.parts, 0, bytes)
    _place(net, weights, &at)
    if <size_t>at >= SHARED_BYTES and not k.had_better_be_alone(0):
        team = k.granted(k.team_size())
    net.block = at = <char*>k.take(<size_t>at)
    _place(net, weights, &at)
    for index in range(num_layers * num_directions):
        PyErr_CheckSignals()
        part = net.parts + index
        read_weights(net, index, weights[index], data)
        with nogil, parallel(num_threads=team):
            _pack_forward(net, part, data)
            if training:
                _pack_backward(net, part, data)
        if net.info.reset_before:
            _pack_reset(net, &part.reset_x, weights[index].w_ih, team)
            _pack_reset(net, &part.reset_h, weights[index].w_hh, team)
    return net
