# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Packs the weights of a network once for all calls until they change."""

import numpy as np

cimport cython
cimport numpy as cnp
from libc.string cimport memset

from rnnfast.core cimport kernels as k
from rnnfast.core.kernels cimport (
    RNNFAST_CELLS, RNNFAST_LINE, RNNFAST_VECTORS, rnnfast_cell, rnnfast_kernels, rnnfast_padded,
    rnnfast_panels,
)

cnp.import_array()


@cython.final
cdef class Packed:
    """Weights of all layers and directions as the kernels read them. Opaque and immutable."""

    def __dealloc__(self):
        k.give(self.block)


cdef size_t _pack_bytes(Packed net, Py_ssize_t n_out, int gates, Py_ssize_t n_in) except? 0:
    cdef Py_ssize_t lanes = net.kernels.lanes
    cdef Py_ssize_t width = rnnfast_panels(n_out, gates, <int>lanes) * lanes
    width *= RNNFAST_VECTORS if gates == 1 else gates
    return (k.product(width * net.itemsize, n_in) + RNNFAST_LINE - 1) // RNNFAST_LINE * RNNFAST_LINE


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
            if abreast(cell) == 1:
                at = s * rnnfast_padded(H, size) + u
            if b_ih != NULL and cell.x_slot <= s < cell.x_slot + cell.gates:
                net.kernels.add(to + at * size, 1, b_ih + (cell.order[s] * H + u) * size, n)
            if b_hh != NULL and cell.h_slot <= s < cell.h_slot + cell.gates:
                net.kernels.add(to + at * size, 1, b_hh + (cell.order[s] * H + u) * size, n)
        u += lanes


cdef void _pack_norm(char* to, char* values, Packed net) noexcept nogil:
    # gamma or beta, one padded H after the other.
    cdef Py_ssize_t H = net.hidden, size = net.itemsize
    cdef int s
    for s in range(net.info.slots):
        net.kernels.add(to + s * rnnfast_padded(H, size) * size, 1,
                        values + norm_slot(net.info, s) * H * size, H)


cdef object _reset_rows(object weight, Py_ssize_t H, Py_ssize_t slot):
    # The rows of r and of z, each padded to a slot, so that no vector holds units of both.
    rows = np.zeros((2, slot, weight.shape[1]), weight.dtype)
    rows[:, :H] = weight[:2 * H].reshape(2, H, weight.shape[1])
    return rows


cdef char* contiguous(object array, Packed net, Py_ssize_t size, str name) except? NULL:
    if array is None:
        return NULL
    if not isinstance(array, np.ndarray) or cnp.PyArray_TYPE(array) != net.typenum:
        raise TypeError(f"{name} must be an array of {net.itemsize * 8}-bit floats, "
                        f"got {getattr(array, 'dtype', type(array).__name__)}")
    if cnp.PyArray_SIZE(array) != size or not cnp.PyArray_IS_C_CONTIGUOUS(array):
        raise ValueError(f"{name} must be C-contiguous with {size} elements, "
                         f"got shape {(<object>array).shape}")
    return <char*>cnp.PyArray_DATA(array)


def pack(str cell, list weights, int num_layers, int num_directions, bint training, zoneout):
    """Weights in the kernels' layout, for the instruction set selected now.

    Parameters
    ----------
    cell : {"rnn_tanh", "rnn_relu", "lstm", "gru", "gru_reset_before"}
    weights : list of L*D tuples
        ``(w_ih (G*H, F), w_hh (G*H, K), b_ih (G*H,), b_hh (G*H,), w_hr (P, H), w_ln (S*H,),
        b_ln (S*H,))`` of one dtype, C-contiguous; all but the first two may be None. F is I, or
        D*K above the first layer. With ``w_ln`` the sums are layer normalised, slot by slot: the
        cell's gates, for a GRU r, z and the two of n, of x and of h.
    num_layers, num_directions : int
    training : bool
        Whether `backward` will be called.
    zoneout : (float, float)
        Of h and c: the share of the old state that is kept, where no masks say which units.

    Returns
    -------
    Packed
        A snapshot: later changes of `weights` do not reach it.
    """
    cdef Packed net = Packed.__new__(Packed)
    cdef Py_ssize_t i, H, K, P, I, GH
    cdef int index = 0, s, gates, together, before
    cdef int isa = k.current_isa()
    cdef const rnnfast_kernels* kn
    cdef char* at
    cdef size_t size
    cdef Part* part
    while index < RNNFAST_CELLS and k.cell(index).name != cell.encode():
        index += 1
    if index == RNNFAST_CELLS:
        raise ValueError(f"cell {cell!r} is unknown")
    first = weights[0][0]
    net.typenum = cnp.PyArray_TYPE(first)
    if net.typenum != cnp.NPY_FLOAT32 and net.typenum != cnp.NPY_FLOAT64:
        raise TypeError(f"weights must be float32 or float64, got {first.dtype}")
    net.itemsize = cnp.PyArray_ITEMSIZE(first)
    net.kernels = kn = k.table(isa, net.itemsize)
    net.info = k.cell(index)
    net.cell, net.layers, net.directions, net.training = index, num_layers, num_directions, training
    gates, together, before = net.info.gates, abreast(net.info), net.info.reset_before
    net.hidden = H = first.shape[0] // gates
    net.recurrent = K = weights[0][1].shape[1]
    net.projection = P = 0 if weights[0][4] is None else weights[0][4].shape[0]
    GH = gates * H
    if P > H:
        raise ValueError(f"a projection must not be larger than the {H} units, got {P}")

    if before and weights[0][5] is not None:
        raise ValueError(f"{cell} takes no layer normalisation")

    # Sizes first, so that one block holds everything.
    cdef Py_ssize_t slot = rnnfast_padded(H, net.itemsize)
    cdef size_t bias_bytes = _pack_bytes(net, H, gates if gates == 1 else RNNFAST_VECTORS, 1)
    if before:
        bias_bytes = _pack_bytes(net, gates * slot, 1, 1)
    size = (sizeof(Part) * len(weights) + RNNFAST_LINE - 1) // RNNFAST_LINE * RNNFAST_LINE
    cdef size_t norm_bytes = net.info.slots * slot * net.itemsize
    for w_ih, _, _, _, _, w_ln, _ in weights:
        I = w_ih.shape[1]
        size += 0 if w_ln is None else 2 * norm_bytes
        size += _pack_bytes(net, H, together, I) + _pack_bytes(net, H, together, K) + bias_bytes
        if before:
            size += _pack_bytes(net, 2 * slot, 1, I) + _pack_bytes(net, 2 * slot, 1, K)
        if P:
            size += _pack_bytes(net, P, 1, H)
        if training:
            size += _pack_bytes(net, K, 1, GH) + _pack_bytes(net, I, 1, GH)
            if before:
                size += _pack_bytes(net, K, 1, H)
            if P:
                size += _pack_bytes(net, H, 1, P)
    net.block = <char*>k.take(size)
    net.parts = <Part*>net.block
    net.zones = [np.full(n, share, first.dtype) if share else None
                 for share, n in zip(zoneout, (K, H))]
    net.zone_h = contiguous(net.zones[0], net, K, "zoneout of h")
    net.zone_c = contiguous(net.zones[1], net, H, "zoneout of c")
    at = net.block + (sizeof(Part) * len(weights) + RNNFAST_LINE - 1) // RNNFAST_LINE * RNNFAST_LINE

    cdef Py_ssize_t last
    cdef char* w_ih_data
    cdef char* w_hh_data
    cdef char* w_hr_data
    cdef char* b_ih_data
    cdef char* b_hh_data
    cdef char* w_ln_data
    cdef char* b_ln_data
    for i in range(num_layers * num_directions):
        w_ih, w_hh, b_ih, b_hh, w_hr, w_ln, b_ln = weights[i]
        part = net.parts + i
        part.input = I = w_ih.shape[1]
        w_ih_data = contiguous(w_ih, net, GH * I, "weight_ih")
        w_hh_data = contiguous(w_hh, net, GH * K, "weight_hh")
        b_ih_data = contiguous(b_ih, net, GH, "bias_ih")
        b_hh_data = contiguous(b_hh, net, GH, "bias_hh")
        w_hr_data = contiguous(w_hr, net, P * H, "weight_hr")
        w_ln_data = contiguous(w_ln, net, net.info.slots * H, "weight_ln")
        b_ln_data = contiguous(b_ln, net, net.info.slots * H, "bias_ln")
        part.gamma = part.beta = NULL
        part.weight_r = part.weight_ht = part.weight_xt = part.weight_rt = NULL
        part.reset_ht = part.reset_x = part.reset_h = NULL
        part.weight_x = at
        at += _pack_bytes(net, H, together, I)
        part.weight_h = at
        at += _pack_bytes(net, H, together, K)
        part.bias = at
        at += bias_bytes
        last = net.info.order[0] * H * net.itemsize if before else 0  # the rows of n
        kn.pack(part.weight_x, w_ih_data + last * I, I, 1, H, I, 0, I, together,
                net.info.order + net.info.x_slot, 0, rnnfast_panels(H, together, kn.lanes))
        kn.pack(part.weight_h, w_hh_data + last * K, K, 1, H, K, 0, K, together,
                net.info.order + net.info.h_slot, 0, rnnfast_panels(H, together, kn.lanes))
        if before:
            part.reset_x = at
            at += _pack_bytes(net, 2 * slot, 1, I)
            part.reset_h = at
            at += _pack_bytes(net, 2 * slot, 1, K)
            rows = _reset_rows(w_ih, H, slot)
            kn.pack(part.reset_x, <char*>cnp.PyArray_DATA(rows), I, 1, 2 * slot, I, 0, I, 1, NULL,
                    0, rnnfast_panels(2 * slot, 1, kn.lanes))
            rows = _reset_rows(w_hh, H, slot)
            kn.pack(part.reset_h, <char*>cnp.PyArray_DATA(rows), K, 1, 2 * slot, K, 0, K, 1, NULL,
                    0, rnnfast_panels(2 * slot, 1, kn.lanes))
        memset(part.bias, 0, bias_bytes)
        _pack_bias(part.bias, b_ih_data, b_hh_data, net)
        if w_ln_data != NULL:
            part.gamma, part.beta = at, at + norm_bytes
            at += 2 * norm_bytes
            memset(part.gamma, 0, 2 * norm_bytes)
            _pack_norm(part.gamma, w_ln_data, net)
            if b_ln_data != NULL:
                _pack_norm(part.beta, b_ln_data, net)
        if P:
            part.weight_r = at
            at += _pack_bytes(net, P, 1, H)
            kn.pack(part.weight_r, w_hr_data, H, 1, P, H, 0, H, 1, NULL,
                    0, rnnfast_panels(P, 1, kn.lanes))
        if not training:
            continue
        part.weight_ht = at
        at += _pack_bytes(net, K, 1, GH)
        part.weight_xt = at
        at += _pack_bytes(net, I, 1, GH)
        for s in range(gates - before):
            kn.pack(part.weight_ht,
                    w_hh_data + net.info.order[net.info.h_slot + before + s] * H * K * net.itemsize,
                    1, K, K, H, s * H, GH - before * H, 1, NULL, 0, rnnfast_panels(K, 1, kn.lanes))
        for s in range(gates):
            kn.pack(part.weight_xt, w_ih_data + net.info.order[net.info.x_slot + s] * H * I * net.itemsize,
                    1, I, I, H, s * H, GH, 1, NULL, 0, rnnfast_panels(I, 1, kn.lanes))
        if before:
            part.reset_ht = at
            at += _pack_bytes(net, K, 1, H)
            kn.pack(part.reset_ht, w_hh_data + last * K, 1, K, K, H, 0, H, 1, NULL,
                    0, rnnfast_panels(K, 1, kn.lanes))
        if P:
            part.weight_rt = at
            at += _pack_bytes(net, H, 1, P)
            kn.pack(part.weight_rt, w_hr_data, 1, H, H, P, 0, P, 1, NULL,
                    0, rnnfast_panels(H, 1, kn.lanes))
    return net
