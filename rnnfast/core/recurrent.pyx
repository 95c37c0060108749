# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Forward and BPTT time loops of every cell: arrays in, arrays out.

The same functions as rnnfast.reference.recurrent, which is their specification and says what their
arguments are; but arrays are C-contiguous unless a function says otherwise. The loops run in C
with the GIL released, in one OpenMP region a call. Each member of the team takes a slice of the
batch through all layers, directions and steps and waits for nobody, because no sample needs
another's state; where the batch is too small for that, members share the hidden units of every
step and meet at a barrier after each.

Rows of all internal arrays are samples, longest first, so that the samples still active at step t
are the rows [0, active[t]). Time is natural in every array, for reverse directions too; history
has T + 1 places, and step t leads from place t to t + 1 (forward) or from t + 1 to t (reverse).
"""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport parallel
from libc.string cimport memset

from rnnfast.core cimport kernels as k
from rnnfast.core.backward cimport backward_member, weight_gradient
from rnnfast.core.barrier cimport barrier_gather
from rnnfast.core.forward cimport forward_member
from rnnfast.core.gradient cimport SUMS_BYTES, tiles_of
from rnnfast.core.job cimport (
    Host, Job, Tape, Zone, copy_row, forms_product, narrow, order_rows, place_backward,
    place_forward, place_lists, products, sample_of, strided, team_for, thresholds,
)
from rnnfast.core.kernels cimport (
    RNNFAST_VECTORS, omp_get_num_threads, omp_get_thread_num, rnnfast_outer, rnnfast_padded,
    rnnfast_panels, rnnfast_stride,
)
from rnnfast.core.packed cimport WEIGHTS, Packed, contiguous, read_weights

from rnnfast.core.packed import pack  # noqa: F401

cnp.import_array()


cdef struct Hosted:
    Job* job
    void* net
    int team
    int gathered


cdef void _hosted_member(void* argument, size_t place) noexcept nogil:
    # The network as a pointer: with its type, its references would be counted, which needs the GIL.
    cdef Hosted* hosted = <Hosted*>argument
    cdef int index = <int>place, count = hosted.team
    if hosted.job.shared:
        index = barrier_gather(&hosted.gathered, hosted.team, hosted.job.patience, &count)
    if index >= 0:
        (<void (*)(Job*, void*, int, int) noexcept nogil>forward_member)(
            hosted.job, hosted.net, index, count)


cdef int _run(Packed net, Tape tape, const cnp.int64_t* lengths) except -1:
    # A forward call whose arrays are known.
    cdef Job* job = &tape.job
    cdef Py_ssize_t T = job.T, B = job.B, size = net.itemsize, H = net.hidden, K = net.recurrent
    cdef Py_ssize_t parts = net.layers * net.directions, panels
    cdef Py_ssize_t rows
    cdef int team
    cdef char* at
    cdef Hosted hosted
    if job.zone_h.share == NULL:
        job.zone_h.share = net.zone_h
    if job.zone_c.share == NULL:
        job.zone_c.share = net.zone_c
    # Sizes. A bound on all arrays together is checked for overflow.
    job.slot = rnnfast_padded(H, size)
    job.ldh, job.ldc = rnnfast_stride(K, size), rnnfast_stride(H, size)
    job.ldg = rnnfast_stride(net.info.slots * job.slot, size)
    job.places = T + 1 if job.training else 2
    k.product(k.product(T + 1, B),
              8 * size * parts * (job.ldg + net.parts[0].input + net.directions * job.ldh))
    at = NULL
    place_lists(job, net, &at)
    at = <char*>k.take(<size_t>at)
    place_lists(job, net, &at)
    order_rows(job, lengths)
    team = team_for(job, net)
    if job.host.run == NULL:
        team = k.granted(team)
    job.gather_x = job.training or lengths != NULL
    panels = rnnfast_panels(H, net.info.panel_gates, net.kernels.lanes)
    job.ldp = panels * RNNFAST_VECTORS * net.kernels.lanes
    if net.info.reset_before:
        job.ldp = net.info.slots * job.slot
    rows = B if job.shared or job.apart else B // team
    if forms_product(job, net, rows):
        job.chunk = max(1, thresholds.product_bytes // (B * job.ldp * size + 1))
    else:
        job.ldp = 0
        job.chunk = max(1, thresholds.product_bytes // (B * net.parts[0].input * size + 1))
    job.chunk = min(job.chunk, max(T, 1))
    at = NULL
    place_forward(job, net, &at)
    tape.block = at = <char*>k.take(<size_t>at)
    place_forward(job, net, &at)

    if team == 1:
        with nogil:
            forward_member(job, net, 0, 1)
    elif job.host.run != NULL:
        hosted.job, hosted.net, hosted.team, hosted.gathered = job, <void*>net, team, 0
        with nogil:
            job.host.run(job.host.context, _hosted_member, team, &hosted)
    else:
        with nogil, parallel(num_threads=team):
            forward_member(job, net, omp_get_thread_num(), omp_get_num_threads())
    return k.raise_pending(job.stop)


cdef inline bint _is_ready(object array, Packed net, Py_ssize_t parts, Py_ssize_t rows,
                           Py_ssize_t columns):
    # Whether the engine can take a state as it is: None, or (L*D, B, columns) in good order.
    if array is None:
        return True
    if not cnp.PyArray_CheckExact(array) or cnp.PyArray_NDIM(array) != 3:
        return False
    cdef cnp.npy_intp* shape = cnp.PyArray_DIMS(array)
    return (cnp.PyArray_TYPE(array) == net.typenum and cnp.PyArray_ISCARRAY_RO(array)
            and shape[0] == parts and shape[1] == rows and shape[2] == columns)


cdef inline bint _is_mask(object array, int axes, Py_ssize_t n, Py_ssize_t m):
    # Whether the array is of booleans, and (n, m), or (n,) if it has one axis.
    if not cnp.PyArray_CheckExact(array) or cnp.PyArray_TYPE(array) != cnp.NPY_BOOL:
        return False
    return (cnp.PyArray_NDIM(array) == axes and cnp.PyArray_DIMS(array)[0] == n
            and (axes == 1 or cnp.PyArray_DIMS(array)[1] == m))


cdef inline void _take_resets(Job* job, object resets, bint batch_first):
    # (T, B), or (B, T) or (B,) with `batch_first`.
    cdef cnp.npy_intp* strides = cnp.PyArray_STRIDES(resets)
    cdef int last = cnp.PyArray_NDIM(resets) - 1
    job.resets = <const char*>cnp.PyArray_DATA(resets)
    job.resets_time = strides[last if batch_first else 0]
    job.resets_row = strides[0 if batch_first else last]


cdef inline char* _data(object array):
    return NULL if array is None else <char*>cnp.PyArray_DATA(array)


cdef Tape _dense(Packed net, Py_ssize_t T, Py_ssize_t B, bint batch_first, char* x, char* h0,
                 char* c0, char* y, char* h_n, char* c_n):
    # A call on C-contiguous arrays, planned.
    cdef Py_ssize_t I = net.parts[0].input, width = net.directions * net.recurrent
    cdef Tape tape = Tape.__new__(Tape)
    cdef Job* job = &tape.job
    job.T, job.B = T, B
    job.x, job.y, job.h0, job.c0, job.hn, job.cn = x, y, h0, c0, h_n, c_n
    job.x_time, job.x_row = (I, T * I) if batch_first else (B * I, I)
    job.y_time, job.y_row = (width, T * width) if batch_first else (B * width, width)
    return tape


cdef int infer_into(Packed net, Py_ssize_t T, Py_ssize_t B, char* x, char* h0, char* c0,
                    const cnp.int64_t* lengths, char* y, char* h_n, char* c_n,
                    Host host) except -1:
    cdef Tape tape = _dense(net, T, B, False, x, h0, c0, y, h_n, c_n)
    tape.job.host = host
    return _run(net, tape, lengths)


def quick(Packed packed, x, state, int axes, bint batch_first, bint training, resets=None):
    """A call the short way, without masks: for arrays that need neither checks nor copies.

    Parameters
    ----------
    packed : Packed
    x : (T, B, I) array, (B, T, I) with `batch_first`, or (B, I), one step, if `axes` is 2
    state : as a layer takes it
        (L*D, B, K) array, with a cell state the pair of it and an (L*D, B, H) array, or None in place
        of any.
    axes : {2, 3}
        How many axes x should have.
    batch_first, training : bool
    resets : bool array of the shape of x without features, or None
        As in `forward`.

    Returns
    -------
    y, state, or y, state, tape if `training`
        New arrays, y like x with D*K columns; or None in place of all where an array is empty or not
        C-contiguous, aligned, in native byte order and of the shape and dtype above, or for one step
        in two directions.
    """
    cdef Packed net = packed
    cdef Tape tape
    cdef cnp.npy_intp dims[3]
    cdef cnp.npy_intp* shape
    cdef Py_ssize_t parts = net.layers * net.directions, width = net.directions * net.recurrent
    cdef Py_ssize_t I = net.parts[0].input, T = 1, B
    if training and not net.training:
        raise ValueError("these weights were packed for inference only")
    h0 = c0 = c_n = None
    if (not cnp.PyArray_CheckExact(x) or cnp.PyArray_NDIM(x) != axes or cnp.PyArray_SIZE(x) == 0
            or cnp.PyArray_TYPE(x) != net.typenum or not cnp.PyArray_ISCARRAY_RO(x)
            or (axes == 2 and net.directions == 2)):
        return None
    if not net.info.has_cell_state:
        h0 = state
    elif type(state) is tuple and len(<tuple>state) == 2:
        h0, c0 = (<tuple>state)[0], (<tuple>state)[1]
    elif state is not None:
        return None
    shape = cnp.PyArray_DIMS(x)
    if resets is not None and not _is_mask(resets, axes - 1, shape[0], shape[1]):
        return None
    if axes == 3:
        T, B = shape[batch_first], shape[not batch_first]
        dims[0], dims[1], dims[2] = shape[0], shape[1], width
    else:
        B = shape[0]
        dims[0], dims[1] = B, width
    if (shape[axes - 1] != I or not _is_ready(h0, net, parts, B, net.recurrent)
            or not _is_ready(c0, net, parts, B, net.hidden)):
        return None
    y = cnp.PyArray_SimpleNew(axes, dims, net.typenum)
    dims[0], dims[1], dims[2] = parts, B, net.recurrent
    h_n = cnp.PyArray_SimpleNew(3, dims, net.typenum)
    if net.info.has_cell_state:
        dims[2] = net.hidden
        c_n = cnp.PyArray_SimpleNew(3, dims, net.typenum)
    tape = _dense(net, T, B, batch_first, <char*>cnp.PyArray_DATA(x), _data(h0), _data(c0),
                  <char*>cnp.PyArray_DATA(y), <char*>cnp.PyArray_DATA(h_n), _data(c_n))
    tape.job.training = training
    if resets is not None:
        _take_resets(&tape.job, resets, batch_first or axes == 2)
    _run(net, tape, NULL)
    state = h_n if c_n is None else (h_n, c_n)
    return (y, state, tape) if training else (y, state)


cdef int _zone_masks(Zone* zone, object masks, Packed net, Py_ssize_t T, Py_ssize_t B,
                     Py_ssize_t n) except -1:
    # A mask for each part, step and sample in place of the expectation.
    zone.share = contiguous(masks, net, net.layers * net.directions * T * B * n, "masks of zoneout")
    if zone.share != NULL:
        zone.row, zone.time, zone.part = n, B * n, T * B * n
    return 0


def forward(Packed packed, x, h0, c0, lengths, masks, y, h_n, c_n, bint training, resets=None):
    """Run all layers and directions over all steps.

    `x` and `y` may have any strides with adjacent elements on the last axis.
    """
    cdef Packed net = packed
    cdef Tape tape = Tape.__new__(Tape)
    cdef Job* job = &tape.job
    cdef Py_ssize_t T, B, H = net.hidden, parts = net.layers * net.directions, K = net.recurrent
    cdef const cnp.int64_t* steps = NULL
    if lengths is not None:
        if not isinstance(lengths, np.ndarray) or cnp.PyArray_TYPE(lengths) != cnp.NPY_INT64:
            raise TypeError(f"lengths must be an array of int64, got {lengths!r}")
        lengths = np.ascontiguousarray(lengths, np.int64)
        steps = <const cnp.int64_t*>cnp.PyArray_DATA(lengths)
    if x.ndim == 2 and lengths is not None:
        B = lengths.size
        job.packed, job.rows = 1, x.shape[0]
        T = min(max(0, steps[0]), job.rows) if B else 0  # more steps than rows there cannot be
    else:
        T, B = x.shape[:2]
        if lengths is not None and lengths.size != B:
            raise ValueError(f"lengths must have {B} numbers, got {lengths.size}")
    job.T, job.B, job.training = T, B, training
    if resets is not None:
        if not _is_mask(resets, 2, T, B):
            raise ValueError(f"resets must be a bool array of shape ({T}, {B}), got {resets!r}")
        _take_resets(job, resets, False)
    job.x = strided(x, net, job, net.parts[0].input, "x", &job.x_time, &job.x_row)
    job.y = strided(y, net, job, net.directions * K, "y", &job.y_time, &job.y_row)
    job.h0 = contiguous(h0, net, parts * B * K, "h0")
    job.c0 = contiguous(c0, net, parts * B * H, "c0")
    job.hn = contiguous(h_n, net, parts * B * K, "h_n")
    job.cn = contiguous(c_n, net, parts * B * H, "c_n")
    if masks is not None:
        job.masks = contiguous(masks.between, net, (net.layers - 1) * T * B * net.directions * K,
                               "masks between layers")
        job.drops = contiguous(masks.recurrent, net, parts * B * K, "masks of recurrent dropout")
        _zone_masks(&job.zone_h, masks.zone_h, net, T, B, K)
        _zone_masks(&job.zone_c, masks.zone_c, net, T, B, H)
        tape.masks = masks
    if training and not net.training:
        raise ValueError("these weights were packed for inference only")

    _run(net, tape, steps)
    return tape if training else None


def gates(Packed packed, Tape tape):
    """What the gates did in a call of `forward` whose tape no `backward` has used."""
    cdef Packed net = packed
    cdef Job* job = &tape.job
    cdef Py_ssize_t H = net.hidden, size = net.itemsize, index, t, r, s, slot
    cdef int G = net.info.gates
    out = np.zeros((net.layers * net.directions, G, job.T, job.B, H), f"f{size}")
    cdef char* to = <char*>cnp.PyArray_DATA(out)
    for index in range(net.layers * net.directions):
        for s in range(G):
            slot = net.info.x_slot + s
            for t in range(job.T):
                for r in range(job.active[t]):
                    copy_row(to + (((index * G + net.info.order[slot]) * job.T + t) * job.B
                                   + sample_of(job, r)) * H * size,
                             job.states[index].gates
                             + ((t * job.B + r) * job.ldg + slot * job.slot) * size, H * size)
    return out


def backward(Packed packed, Tape tape, dy, dh_n, dc_n, dx, dh0, dc0, grads):
    """Back-propagation through time. Uses the tape up. Strides of `dy` and `dx` as in `forward`."""
    cdef Packed net = packed
    cdef Job* job = &tape.job
    cdef Py_ssize_t T = job.T, B = job.B, size = net.itemsize, H = net.hidden, K = net.recurrent
    cdef Py_ssize_t parts = net.layers * net.directions, i
    cdef int team, side
    cdef double work = 0  # multiply-adds of the weight gradients
    cdef rnnfast_outer o
    cdef char* at = NULL
    cdef char* block
    if job.used:
        raise RuntimeError("this tape was used by an earlier backward; run forward again")
    job.dy = strided(dy, net, job, net.directions * K, "dy", &job.dy_time, &job.dy_row)
    job.dx = strided(dx, net, job, net.parts[0].input, "dx", &job.dx_time, &job.dx_row)
    job.dhn = contiguous(dh_n, net, parts * B * K, "dh_n")
    job.dcn = contiguous(dc_n, net, parts * B * H, "dc_n")
    job.dh0 = contiguous(dh0, net, parts * B * K, "dh0")
    job.dc0 = contiguous(dc0, net, parts * B * H, "dc0")
    job.want_dx, job.want_grads = dx is not None, grads is not None
    if grads is not None:
        for i in range(parts):
            read_weights(net, i, grads[i], job.grads + WEIGHTS * i)
    job.ldy = rnnfast_stride(net.directions * K, size)
    team = k.granted(team_for(job, net))
    job.sums_bytes = 0
    for i in range(parts if job.want_grads else 0):
        for side in range(1 if narrow(net, i) else 0, products(net)):
            o = weight_gradient(job, net, i, side)
            job.sums_bytes += tiles_of(net.kernels, &o) * net.kernels.tile_bytes
            work += <double>o.n_runs * o.run_length * o.n_a * T * B
    job.keep_sums = work > thresholds.kept_sums_work
    if not job.keep_sums:
        job.member_sums = min(job.sums_bytes, SUMS_BYTES)
        job.sums_bytes = team * job.member_sums
    place_backward(job, net, &at)
    block = at = <char*>k.take(<size_t>at)
    place_backward(job, net, &at)
    memset(job.zeros, 0, job.ldc * size)
    job.used = 1
    if team == 1:
        with nogil:
            backward_member(job, net, 0, 1)
    else:
        with nogil, parallel(num_threads=team):
            backward_member(job, net, omp_get_thread_num(), omp_get_num_threads())
    k.give(block)
    k.raise_pending(job.stop)
