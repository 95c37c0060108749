# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Forward and BPTT time loops of RNN, LSTM and GRU: arrays in, arrays out.

The same functions as rnnfast.reference.recurrent, which is their specification. The loops run in C
with the GIL released, in one OpenMP region a call. Each member of the team takes a slice of the
batch through all layers, directions and steps and waits for nobody, because no sample needs
another's state; where the batch is too small for that, members share the hidden units of every
step and meet at a barrier after each.

Rows of all internal arrays are samples, longest first, so that the samples still active at step t
are the rows [0, active[t]). Time is natural in every array, for reverse directions too; history
has T + 1 places, and step t leads from place t to t + 1 (forward) or from t + 1 to t (reverse).
"""

import numpy as np

cimport cython
cimport numpy as cnp
from cython.parallel cimport parallel
from libc.string cimport memcpy, memset

from rnnfast.core cimport kernels as k
from rnnfast.core.kernels cimport (
    RNNFAST_BLOCK_ROWS, RNNFAST_CELLS, RNNFAST_LINE, RNNFAST_VECTORS, omp_get_num_threads,
    omp_get_thread_num, rnnfast_backstep, rnnfast_cell, rnnfast_kernels, rnnfast_matmul,
    rnnfast_outer, rnnfast_padded, rnnfast_panels, rnnfast_run, rnnfast_step, rnnfast_stride,
)

cnp.import_array()

cdef extern from *:
    """
    #include <sched.h>
    /* A barrier that spins first: a step takes microseconds, a sleeping thread's wake-up tens. */
    typedef struct { int arrived, round; } barrier;

    static void barrier_wait(barrier *b, int members)
    {
        const int round = __atomic_load_n(&b->round, __ATOMIC_RELAXED);
        if (__atomic_add_fetch(&b->arrived, 1, __ATOMIC_ACQ_REL) == members) {
            __atomic_store_n(&b->arrived, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&b->round, round + 1, __ATOMIC_RELEASE);
            return;
        }
        for (int spins = 0; __atomic_load_n(&b->round, __ATOMIC_ACQUIRE) == round; spins++)
            if (spins > 4000)
                sched_yield();
    }
    """
    ctypedef struct barrier:
        pass
    void barrier_wait(barrier* b, int members) noexcept nogil

cdef enum:
    # Measured with benchmarks/test_engine.py --thresholds: below them a team costs more than it
    # gives. Multiply-adds in a whole call, and in one step of one layer.
    SERIAL_WORK = 400_000
    SHARED_STEP_WORK = 24_000
    # Rows of a slice up to which the input product of many steps is formed as one matmul first.
    FEW_ROWS = 8
    PRODUCT_BYTES = 1 << 18


# ---- packed weights

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
    """Weights of all layers and directions as the kernels read them. Opaque and immutable."""

    cdef const rnnfast_kernels* kernels
    cdef const rnnfast_cell* info
    cdef int cell, layers, directions, training, typenum
    cdef Py_ssize_t itemsize, hidden, projection, recurrent
    cdef Part* parts
    cdef char* block

    def __dealloc__(self):
        k.give(self.block)


cdef size_t _pack_bytes(Packed net, Py_ssize_t n_out, int gates, Py_ssize_t n_in) except? 0:
    cdef Py_ssize_t lanes = net.kernels.lanes
    cdef Py_ssize_t width = rnnfast_panels(n_out, gates, <int>lanes) * lanes
    width *= RNNFAST_VECTORS if gates == 1 else gates
    return (k.product(width * net.itemsize, n_in) + RNNFAST_LINE - 1) // RNNFAST_LINE * RNNFAST_LINE


cdef void _pack_bias(cython.floating* to, const cython.floating* b_ih,
                     const cython.floating* b_hh, const rnnfast_cell* cell, Py_ssize_t hidden,
                     Py_ssize_t lanes) noexcept nogil:
    # (panels, 4, lanes), what each slot adds: the input's bias, the recurrent one, or their sum.
    cdef Py_ssize_t u, at
    cdef int s, gate
    for s in range(cell.slots):
        gate = cell.order[s]
        for u in range(hidden):
            at = u if cell.gates == 1 else (u // lanes * RNNFAST_VECTORS + s) * lanes + u % lanes
            if b_ih != NULL and cell.x_slot <= s < cell.x_slot + cell.gates:
                to[at] += b_ih[gate * hidden + u]
            if b_hh != NULL and cell.h_slot <= s < cell.h_slot + cell.gates:
                to[at] += b_hh[gate * hidden + u]


cdef char* _contiguous(object array, Packed net, Py_ssize_t size, str name) except? NULL:
    # The data of a C-contiguous array of `size` elements of the net's type; None: NULL.
    if array is None:
        return NULL
    if not isinstance(array, np.ndarray) or cnp.PyArray_TYPE(array) != net.typenum:
        raise TypeError(f"{name} must be an array of {net.itemsize * 8}-bit floats, "
                        f"got {getattr(array, 'dtype', type(array).__name__)}")
    if cnp.PyArray_SIZE(array) != size or not cnp.PyArray_IS_C_CONTIGUOUS(array):
        raise ValueError(f"{name} must be C-contiguous with {size} elements, "
                         f"got shape {(<object>array).shape}")
    return <char*>cnp.PyArray_DATA(array)


def pack(str cell, list weights, int num_layers, int num_directions, bint training):
    """Weights in the kernels' layout, for the instruction set selected now.

    Parameters
    ----------
    cell : {"rnn_tanh", "rnn_relu", "lstm", "gru"}
    weights : list of L*D tuples
        ``(w_ih (G*H, F), w_hh (G*H, K), b_ih (G*H,), b_hh (G*H,), w_hr (P, H))`` of one dtype,
        C-contiguous; biases and ``w_hr`` may be None. F is I, or D*K above the first layer.
    num_layers, num_directions : int
    training : bool
        Whether `backward` will be called.

    Returns
    -------
    Packed
        A snapshot: later changes of `weights` do not reach it.
    """
    cdef Packed net = Packed.__new__(Packed)
    cdef Py_ssize_t i, H, K, P, I, GH
    cdef int index = 0, s, gates
    cdef int isa = k.current_isa()
    cdef const rnnfast_kernels* kn
    cdef char* at
    cdef size_t size
    cdef Part* part
    cdef const int* order
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
    gates = net.info.gates
    order = net.info.order
    net.hidden = H = first.shape[0] // gates
    net.recurrent = K = weights[0][1].shape[1]
    net.projection = P = 0 if weights[0][4] is None else weights[0][4].shape[0]
    GH = gates * H

    # Sizes first, so that one block holds everything.
    cdef size_t bias_bytes = _pack_bytes(net, H, gates if gates == 1 else RNNFAST_VECTORS, 1)
    size = (sizeof(Part) * len(weights) + RNNFAST_LINE - 1) // RNNFAST_LINE * RNNFAST_LINE
    for w_ih, _, _, _, _ in weights:
        I = w_ih.shape[1]
        size += _pack_bytes(net, H, gates, I) + _pack_bytes(net, H, gates, K) + bias_bytes
        if P:
            size += _pack_bytes(net, P, 1, H)
        if training:
            size += _pack_bytes(net, K, 1, GH) + _pack_bytes(net, I, 1, GH)
            if P:
                size += _pack_bytes(net, H, 1, P)
    net.block = <char*>k.take(size)
    net.parts = <Part*>net.block
    at = net.block + (sizeof(Part) * len(weights) + RNNFAST_LINE - 1) // RNNFAST_LINE * RNNFAST_LINE

    cdef char* w_ih_data
    cdef char* w_hh_data
    cdef char* w_hr_data
    cdef char* b_ih_data
    cdef char* b_hh_data
    for i in range(num_layers * num_directions):
        w_ih, w_hh, b_ih, b_hh, w_hr = weights[i]
        part = net.parts + i
        part.input = I = w_ih.shape[1]
        w_ih_data = _contiguous(w_ih, net, GH * I, "weight_ih")
        w_hh_data = _contiguous(w_hh, net, GH * K, "weight_hh")
        b_ih_data = _contiguous(b_ih, net, GH, "bias_ih")
        b_hh_data = _contiguous(b_hh, net, GH, "bias_hh")
        w_hr_data = _contiguous(w_hr, net, P * H, "weight_hr")
        part.weight_r = part.weight_ht = part.weight_xt = part.weight_rt = NULL
        part.weight_x = at
        at += _pack_bytes(net, H, gates, I)
        part.weight_h = at
        at += _pack_bytes(net, H, gates, K)
        part.bias = at
        at += bias_bytes
        kn.pack(part.weight_x, w_ih_data, I, 1, H, I, 0, I, gates, order + net.info.x_slot,
                0, rnnfast_panels(H, gates, kn.lanes))
        kn.pack(part.weight_h, w_hh_data, K, 1, H, K, 0, K, gates, order + net.info.h_slot,
                0, rnnfast_panels(H, gates, kn.lanes))
        memset(part.bias, 0, bias_bytes)
        if net.itemsize == 4:
            _pack_bias(<float*>part.bias, <float*>b_ih_data, <float*>b_hh_data, net.info, H, kn.lanes)
        else:
            _pack_bias(<double*>part.bias, <double*>b_ih_data, <double*>b_hh_data, net.info, H,
                       kn.lanes)
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
        for s in range(gates):
            kn.pack(part.weight_ht, w_hh_data + order[net.info.h_slot + s] * H * K * net.itemsize,
                    1, K, K, H, s * H, GH, 1, NULL, 0, rnnfast_panels(K, 1, kn.lanes))
            kn.pack(part.weight_xt, w_ih_data + order[net.info.x_slot + s] * H * I * net.itemsize,
                    1, I, I, H, s * H, GH, 1, NULL, 0, rnnfast_panels(I, 1, kn.lanes))
        if P:
            part.weight_rt = at
            at += _pack_bytes(net, H, 1, P)
            kn.pack(part.weight_rt, w_hr_data, 1, H, H, P, 0, P, 1, NULL,
                    0, rnnfast_panels(H, 1, kn.lanes))
    return net


# ---- the problem of one call, as the team sees it

cdef struct State:
    # What one layer and direction keeps. Time-major, rows in the order of the batch.
    char* h      # (places, B, ldh)
    char* c      # (places or 1, B, ldc)
    char* gates  # (T, B, ldg): activated, then their gradients; NULL at inference
    char* m      # (T or 1, B, ldc): o tanh(c) before the projection; NULL without one
    char* dh     # (T, B, ldh): gradient of the projected h; backward with projection only
    char* grad_x  # (I, ldw) weight gradients, transposed
    char* grad_h  # (K, ldw)
    char* grad_b  # (1, ldw)
    char* grad_r  # (P, ldc)


cdef struct Job:
    Py_ssize_t T, B
    Py_ssize_t ldh, ldc, ldg, ldw, slot  # slot: distance between slots of a gate row
    Py_ssize_t places
    int training, shared, gather_x, want_dx, want_grads, used
    Py_ssize_t chunk
    Py_ssize_t* sample  # (B,) the sample in each row, NULL: the row itself
    Py_ssize_t* length  # (B,) by row
    Py_ssize_t* active  # (T + 1,) rows still active at each step
    # the caller's arrays; strides in elements
    char* x
    Py_ssize_t x_time, x_row
    char* y
    Py_ssize_t y_time, y_row
    char* masks
    char* h0
    char* c0
    char* hn
    char* cn
    char* dy
    Py_ssize_t dy_time, dy_row
    char* dx
    Py_ssize_t dx_time, dx_row
    char* dh0
    char* dc0
    char* dhn
    char* dcn
    # workspace
    State* states   # (L * D,)
    char** inputs   # (L,) what each layer reads: (T or chunk, B, input_row)
    Py_ssize_t* input_row
    Py_ssize_t* input_time
    char* product   # (chunk, B, ldp)
    Py_ssize_t ldp
    char* outside   # (B, ldh) gradient that reaches h at one step from outside the recurrence
    char* zeros     # (ldc,) read as rows of stride 0
    char* carry     # (B, ldc)
    char* between[2]  # (T, B, ldy) gradients between layers
    Py_ssize_t ldy
    char** grads    # (L * D * 5,) the caller's
    char* gradients  # all grad_* of the states, zeroed by the team
    Py_ssize_t gradient_lines
    barrier meet


cdef struct Member:
    # One thread's part: rows [b0, b1) and share i of n of the panels; rows [o0, o1) for chores that
    # belong to one row alone.
    Py_ssize_t b0, b1, o0, o1
    int i, n, index, count


cdef inline void _wait(Job* job, Member* me) noexcept nogil:
    if job.shared:
        barrier_wait(&job.meet, me.count)


cdef inline Py_ssize_t _share(Py_ssize_t n, int i, int parts) noexcept nogil:
    return n * i // parts


cdef inline Py_ssize_t _sample(const Job* job, Py_ssize_t row) noexcept nogil:
    return row if job.sample == NULL else job.sample[row]


cdef Member _member(const Job* job, int index, int count) noexcept nogil:
    # Slices of about the same number of active steps.
    cdef Member me
    cdef Py_ssize_t r, bound, total = 0, seen = 0
    me.index, me.count = index, count
    me.i, me.n = index if job.shared else 0, count if job.shared else 1
    me.o0, me.o1 = _share(job.B, index, count), _share(job.B, index + 1, count)
    if job.sample != NULL and not job.shared:
        for r in range(job.B):
            total += job.length[r]
        me.o0, me.o1 = job.B, job.B
        for r in range(job.B):
            if seen >= _share(total, index, count) and me.o0 == job.B:
                me.o0 = r
            if seen >= _share(total, index + 1, count) and index + 1 < count:
                me.o1 = r
                break
            seen += job.length[r]
        if me.o0 > me.o1:
            me.o0 = me.o1
    me.b0, me.b1 = 0 if job.shared else me.o0, job.B if job.shared else me.o1
    return me


cdef inline void _copy_row(char* to, const char* source, Py_ssize_t bytes) noexcept nogil:
    # source NULL: zeros. Rows of one element are the univariate series' and not worth a call.
    if source == NULL:
        memset(to, 0, bytes)
    elif bytes == 4:
        (<int*>to)[0] = (<int*>source)[0]
    else:
        memcpy(to, source, bytes)


cdef void _multiply(cython.floating* to, const cython.floating* by, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        to[i] *= by[i]


cdef void _add(cython.floating* to, const cython.floating* what, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        to[i] += what[i]


cdef inline void _multiply_row(char* to, const char* by, Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    if size == 4:
        _multiply(<float*>to, <float*>by, n)
    else:
        _multiply(<double*>to, <double*>by, n)


cdef inline void _add_row(char* to, const char* what, Py_ssize_t n, Py_ssize_t size) noexcept nogil:
    if size == 4:
        _add(<float*>to, <float*>what, n)
    else:
        _add(<double*>to, <double*>what, n)


cdef inline const char* _mask(const Job* job, Packed net, int layer, Py_ssize_t t,
                              Py_ssize_t row, int direction) noexcept nogil:
    # Dropout mask on the output of `layer`: (L - 1, T, B, D K).
    return job.masks + ((((layer * job.T + t) * job.B + _sample(job, row)) * net.directions
                         + direction) * net.recurrent) * net.itemsize


# ---- forward

cdef void _start_state(Job* job, Packed net, Member* me, int index, int reverse) noexcept nogil:
    # The initial state goes to the place before each row's first step.
    cdef Py_ssize_t r, place, K = net.recurrent, H = net.hidden, size = net.itemsize
    cdef State* state = job.states + index
    for r in range(me.o0, me.o1):
        place = job.length[r] % job.places if reverse else 0
        _copy_row(state.h + (place * job.B + r) * job.ldh * size,
                  NULL if job.h0 == NULL else job.h0 + (index * job.B + _sample(job, r)) * K * size,
                  K * size)
        if state.c != NULL:
            place = place if job.training else 0
            _copy_row(state.c + (place * job.B + r) * job.ldc * size,
                      NULL if job.c0 == NULL
                      else job.c0 + (index * job.B + _sample(job, r)) * H * size,
                      H * size)


cdef void _final_state(Job* job, Packed net, Member* me, int index, int reverse) noexcept nogil:
    cdef Py_ssize_t r, place, K = net.recurrent, H = net.hidden, size = net.itemsize
    cdef State* state = job.states + index
    for r in range(me.o0, me.o1):
        place = 0 if reverse else job.length[r] % job.places
        _copy_row(job.hn + (index * job.B + _sample(job, r)) * K * size,
                  state.h + (place * job.B + r) * job.ldh * size, K * size)
        if state.c != NULL:
            place = place if job.training else 0
            _copy_row(job.cn + (index * job.B + _sample(job, r)) * H * size,
                      state.c + (place * job.B + r) * job.ldc * size, H * size)


cdef void _gather_x(Job* job, Packed net, Member* me, Py_ssize_t t0, Py_ssize_t t1,
                    Py_ssize_t origin) noexcept nogil:
    # Rows of x into the first layer's own array, at steps counted from `origin`.
    cdef Py_ssize_t t, r, I = net.parts[0].input, size = net.itemsize
    for t in range(t0, t1):
        for r in range(me.o0, min(me.o1, job.active[t])):
            _copy_row(job.inputs[0] + ((t - origin) * job.B + r) * job.input_row[0] * size,
                      job.x + (t * job.x_time + _sample(job, r) * job.x_row) * size, I * size)


cdef void _hand_on(Job* job, Packed net, int layer, int direction, const char* h, Py_ssize_t t,
                   Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t u0, Py_ssize_t u1) noexcept nogil:
    # Columns [u0, u1) of the step's h to where the next layer, or the caller, reads them.
    cdef Py_ssize_t r, K = net.recurrent, size = net.itemsize, bytes = (u1 - u0) * size
    cdef int top = layer == net.layers - 1
    cdef char* to
    if not top and job.inputs[layer + 1] == job.states[layer * net.directions].h + job.B * job.ldh * size:
        return  # the next layer reads the history itself
    for r in range(b0, b1):
        if top:
            to = job.y + (t * job.y_time + _sample(job, r) * job.y_row + direction * K + u0) * size
        else:
            to = job.inputs[layer + 1] + (t * job.input_time[layer + 1]
                                          + r * job.input_row[layer + 1] + direction * K + u0) * size
        _copy_row(to, h + (r * job.ldh + u0) * size, bytes)
        if not top and job.masks != NULL:
            _multiply_row(to, _mask(job, net, layer, t, r, direction) + u0 * size, u1 - u0, size)


cdef void _forward_layer(Job* job, Packed net, Member* me, int layer, int direction) noexcept nogil:
    cdef const rnnfast_kernels* kn = net.kernels
    cdef Py_ssize_t H = net.hidden, K = net.recurrent, size = net.itemsize, T = job.T, B = job.B
    cdef int index = layer * net.directions + direction, gates = net.info.gates
    cdef int reverse = direction, gather = layer == 0 and job.gather_x and not (
        job.training and direction)
    cdef Part* part = net.parts + index
    cdef State* state = job.states + index
    cdef rnnfast_step step
    cdef rnnfast_matmul project
    cdef Py_ssize_t panels = rnnfast_panels(H, gates, kn.lanes), p, p0, p1, q0 = 0, q1 = 0
    cdef Py_ssize_t units = kn.lanes * (RNNFAST_VECTORS if gates == 1 else 1)
    cdef Py_ssize_t done, t, ta, tb, n, before, after, origin = 0, out_u0, out_u1, i
    cdef char* x
    p0, p1 = _share(panels, me.i, me.n), _share(panels, me.i + 1, me.n)
    out_u0, out_u1 = min(p0 * units, H), min(p1 * units, H)
    if net.projection:
        i = rnnfast_panels(K, 1, kn.lanes)
        q0, q1 = _share(i, me.i, me.n), _share(i, me.i + 1, me.n)
        out_u0 = min(q0 * kn.lanes * RNNFAST_VECTORS, K)
        out_u1 = min(q1 * kn.lanes * RNNFAST_VECTORS, K)

    memset(&step, 0, sizeof(step))
    step.input, step.recurrent, step.hidden = part.input, K, H
    step.ldx = job.input_row[layer]
    step.ldh, step.ldc, step.ldg, step.ldp = job.ldh, job.ldc, job.ldg, job.ldp
    step.weight_x, step.weight_h, step.bias = part.weight_x, part.weight_h, part.bias
    step.ldh_out = job.ldc if net.projection else job.ldh
    memset(&project, 0, sizeof(project))
    project.lda, project.n_runs, project.run_length = job.ldc, 1, H
    project.weight, project.ldo, project.n_out = part.weight_r, job.ldh, K

    _start_state(job, net, me, index, reverse)
    _wait(job, me)
    done = 0
    while done < T:
        # A chunk of steps: its inputs gathered, and their product formed first if that pays.
        n = min(job.chunk, T - done)
        ta = T - done - n if reverse else done
        tb = ta + n
        done += n
        if layer == 0 and job.gather_x and not job.training:
            origin = ta
        if gather:
            _gather_x(job, net, me, ta, tb, origin)
            _wait(job, me)
        x = job.inputs[layer] - origin * job.input_time[layer] * size
        if job.product != NULL:
            step.product = NULL
            if (job.sample == NULL and me.b0 == 0 and me.b1 == B
                    and job.input_time[layer] == B * job.input_row[layer]):
                step.x = x + ta * job.input_time[layer] * size
                kn.input_product(&step, gates, job.product, 0, n * B, p0, p1)
            else:
                for p in range(p0, p1):
                    for t in range(ta, tb):
                        step.x = x + t * job.input_time[layer] * size
                        kn.input_product(&step, gates,
                                         job.product + (t - ta) * B * job.ldp * size,
                                         me.b0, min(me.b1, job.active[t]), p, p + 1)
        for i in range(n):
            t = tb - 1 - i if reverse else ta + i
            if job.active[t] <= me.b0:
                continue
            before, after = t + reverse, t + 1 - reverse
            before, after = before % job.places, after % job.places
            step.x = x + t * job.input_time[layer] * size
            if job.product != NULL:
                step.product = job.product + (t - ta) * B * job.ldp * size
            step.h = state.h + before * B * job.ldh * size
            step.h_out = state.h + after * B * job.ldh * size
            if net.info.has_cell_state:
                if job.training:
                    step.c = state.c + before * B * job.ldc * size
                    step.c_out = state.c + after * B * job.ldc * size
                else:
                    step.c = step.c_out = state.c
            if job.training:
                step.gates = state.gates + t * B * job.ldg * size
            if net.projection:
                project.out = step.h_out
                step.h_out = state.m + (t if job.training else 0) * B * job.ldc * size
                project.a = step.h_out
            kn.cell[net.cell].forward(&step, me.b0, min(me.b1, job.active[t]), p0, p1)
            if net.projection:
                _wait(job, me)
                kn.matmul(&project, me.b0, min(me.b1, job.active[t]), q0, q1)
            _hand_on(job, net, layer, direction, state.h + after * B * job.ldh * size, t,
                     me.b0, min(me.b1, job.active[t]), out_u0, out_u1)
            _wait(job, me)
    _final_state(job, net, me, index, reverse)


cdef void _forward_member(Job* job, Packed net, int index, int count) noexcept nogil:
    cdef Member me = _member(job, index, count)
    cdef Py_ssize_t r, t, width = net.directions * net.recurrent * net.itemsize
    cdef int layer, direction
    cdef unsigned long long fp = k.fp_enter()
    for layer in range(net.layers):
        for direction in range(net.directions):
            _forward_layer(job, net, &me, layer, direction)
        _wait(job, &me)
    if job.sample != NULL:
        for r in range(me.o0, me.o1):
            for t in range(job.length[r], job.T):
                memset(job.y + (t * job.y_time + _sample(job, r) * job.y_row) * net.itemsize, 0,
                       width)
    k.fp_leave(fp)


# ---- backward

cdef void _add_outside(Job* job, Packed net, int layer, int direction, const char* dy_below,
                       Py_ssize_t t, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t starting,
                       Py_ssize_t u0, Py_ssize_t u1, char* to) noexcept nogil:
    # Columns [u0, u1) of the gradient that reaches h at step t from the layer above (or the caller)
    # and, for rows from `starting` on, whose last step this is, from the final state.
    cdef Py_ssize_t r, K = net.recurrent, size = net.itemsize, bytes = (u1 - u0) * size
    cdef int top = layer == net.layers - 1, index = layer * net.directions + direction
    cdef char* row
    cdef const char* source
    for r in range(b0, b1):
        row = to + (r * job.ldh + u0) * size
        if top:
            source = NULL if job.dy == NULL else job.dy + (
                t * job.dy_time + _sample(job, r) * job.dy_row + direction * K + u0) * size
        else:
            source = dy_below + ((t * job.B + r) * job.ldy + direction * K + u0) * size
        _copy_row(row, source, bytes)
        if not top and job.masks != NULL:
            _multiply_row(row, _mask(job, net, layer, t, r, direction) + u0 * size, u1 - u0, size)
        if r >= starting and job.dhn != NULL:
            _add_row(row, job.dhn + ((index * job.B + _sample(job, r)) * K + u0) * size, u1 - u0,
                     size)


cdef void _backward_layer(Job* job, Packed net, Member* me, int layer, int direction) noexcept nogil:
    cdef const rnnfast_kernels* kn = net.kernels
    cdef Py_ssize_t H = net.hidden, K = net.recurrent, size = net.itemsize, T = job.T, B = job.B
    cdef int index = layer * net.directions + direction, gates = net.info.gates
    cdef int reverse = direction
    cdef Part* part = net.parts + index
    cdef State* state = job.states + index
    cdef rnnfast_backstep step
    cdef rnnfast_matmul back
    cdef Py_ssize_t panels = rnnfast_panels(H, 1, kn.lanes), p0, p1, q0, q1, u0, u1, v0, v1
    cdef Py_ssize_t unit = kn.lanes * RNNFAST_VECTORS
    cdef Py_ssize_t i, t, r, n, starting, ending, before, after, follower
    cdef char* recurrent = state.gates + net.info.h_slot * job.slot * size
    cdef char* outside = job.outside
    p0, p1 = _share(panels, me.i, me.n), _share(panels, me.i + 1, me.n)
    u0, u1 = min(p0 * unit, H), min(p1 * unit, H)
    panels = rnnfast_panels(K, 1, kn.lanes)
    q0, q1 = _share(panels, me.i, me.n), _share(panels, me.i + 1, me.n)
    v0, v1 = min(q0 * unit, K), min(q1 * unit, K)

    memset(&step, 0, sizeof(step))
    step.hidden = H
    step.ldh, step.ldc, step.ldg, step.ldk = job.ldh, job.ldc, job.ldg, job.ldc
    step.carry = job.carry
    # dh that comes through the recurrence: dgates of the following step times W_hh.
    memset(&back, 0, sizeof(back))
    back.lda, back.n_runs, back.run_length, back.run_pitch = job.ldg, gates, H, job.slot
    back.weight, back.ldo, back.n_out, back.accumulate = part.weight_ht, job.ldh, K, 1
    if net.projection:
        step.dh_in, step.ldd = job.zeros, 0
        step.ldn, step.n_runs, step.run_length = job.ldh, 1, K
        step.weight_h = part.weight_rt
    else:
        step.dh_in, step.ldd = outside, job.ldh
        step.ldn, step.n_runs, step.run_length, step.run_pitch = job.ldg, gates, H, job.slot
        step.weight_h = part.weight_ht

    for r in range(me.o0, me.o1):
        _copy_row(job.carry + r * job.ldc * size,
                  NULL if job.dcn == NULL
                  else job.dcn + (index * B + _sample(job, r)) * H * size, H * size)
        if job.length[r] == 0:  # the state passed through
            _copy_row(job.dh0 + (index * B + _sample(job, r)) * K * size,
                      NULL if job.dhn == NULL
                      else job.dhn + (index * B + _sample(job, r)) * K * size, K * size)
    _wait(job, me)

    for i in range(T):
        t = i if reverse else T - 1 - i
        n = min(me.b1, job.active[t])
        if n <= me.b0:
            continue
        before, after = t + reverse, t + 1 - reverse
        follower = t - 1 if reverse else t + 1
        # Rows whose last step this is, and rows whose first it is, in the order of the forward pass.
        if reverse:
            starting = me.b0 if t == 0 else n
            ending = max(me.b0, min(n, job.active[t + 1]))
        else:
            starting = max(me.b0, min(n, job.active[t + 1]))
            ending = me.b0 if t == 0 else n
        step.gates = state.gates + t * B * job.ldg * size
        step.h_prev = state.h + before * B * job.ldh * size
        step.h = state.h + after * B * job.ldh * size
        if net.info.has_cell_state:
            step.c_prev = state.c + before * B * job.ldc * size
            step.c = state.c + after * B * job.ldc * size
        if net.projection:
            outside = state.dh + t * B * job.ldh * size
        _add_outside(job, net, layer, direction, job.between[(layer + 1) & 1], t, me.b0, n, starting,
                     v0 if net.projection else u0, v1 if net.projection else u1, outside)
        if net.projection:
            back.out = outside
            back.out_row = NULL
            back.a = recurrent + follower * B * job.ldg * size
            back.accumulate = 1
            if starting > me.b0:
                kn.matmul(&back, me.b0, starting, q0, q1)
            _wait(job, me)
            step.next = outside
            kn.cell[net.cell].backward(&step, me.b0, n, p0, p1)
        else:
            step.next = recurrent + follower * B * job.ldg * size
            if starting > me.b0:
                kn.cell[net.cell].backward(&step, me.b0, starting, p0, p1)
            step.next = NULL
            kn.cell[net.cell].backward(&step, starting, n, p0, p1)
        _wait(job, me)
        if ending < n:
            # dh0 = dgates W_hh, for a GRU with the share that skipped the gates.
            for r in range(ending, n):
                _copy_row(job.dh0 + ((index * B + _sample(job, r)) * K + v0) * size,
                          job.carry + (r * job.ldc + v0) * size
                          if net.info.carries_dh else NULL,
                          (v1 - v0) * size)
            back.a = recurrent + t * B * job.ldg * size
            back.out, back.out_row = job.dh0 + index * B * K * size, job.sample
            back.ldo = K
            kn.matmul(&back, ending, n, q0, q1)
            back.ldo = job.ldh
    _wait(job, me)
    if net.info.has_cell_state:
        for r in range(me.o0, me.o1):
            _copy_row(job.dc0 + (index * B + _sample(job, r)) * H * size,
                      job.carry + r * job.ldc * size, H * size)
    _wait(job, me)


cdef void _input_gradient(Job* job, Packed net, Member* me, int layer, int direction) noexcept nogil:
    # dgates W_ih for all steps at once, to the layer below or to the caller's dx.
    cdef const rnnfast_kernels* kn = net.kernels
    cdef int index = layer * net.directions + direction
    cdef Part* part = net.parts + index
    cdef State* state = job.states + index
    cdef Py_ssize_t panels = rnnfast_panels(part.input, 1, kn.lanes), p, t, t0 = 0, t1 = job.T
    cdef Py_ssize_t size = net.itemsize, out_time
    cdef rnnfast_matmul m
    cdef char* a = state.gates + net.info.x_slot * job.slot * size
    cdef char* out
    memset(&m, 0, sizeof(m))
    m.lda, m.n_runs, m.run_length, m.run_pitch = job.ldg, net.info.gates, net.hidden, job.slot
    m.weight, m.n_out, m.accumulate = part.weight_xt, part.input, direction
    if layer:
        out, out_time, m.ldo = job.between[layer & 1], job.B * job.ldy, job.ldy
    else:
        out, out_time, m.ldo, m.out_row = job.dx, job.dx_time, job.dx_row, job.sample
    if job.shared:
        t0, t1 = _share(job.T, me.i, me.n), _share(job.T, me.i + 1, me.n)
    if job.sample == NULL and me.b0 == 0 and me.b1 == job.B and out_time == job.B * m.ldo:
        m.a, m.out = a + t0 * job.B * job.ldg * size, out + t0 * out_time * size
        kn.matmul(&m, 0, (t1 - t0) * job.B, 0, panels)
    else:
        for p in range(panels):
            for t in range(t0, t1):
                m.a, m.out = a + t * job.B * job.ldg * size, out + t * out_time * size
                kn.matmul(&m, me.b0, min(me.b1, job.active[t]), p, p + 1)
    _wait(job, me)


cdef int _next_block(const Job* job, Py_ssize_t* t, Py_ssize_t* r, rnnfast_run* runs) noexcept nogil:
    # The next RNNFAST_BLOCK_ROWS active rows of the whole batch, as runs of the flattened (T, B).
    cdef Py_ssize_t left = RNNFAST_BLOCK_ROWS, n
    cdef int count = 0
    while left and t[0] < job.T:
        n = min(left, job.active[t[0]] - r[0])
        if n > 0:
            if count and runs[count - 1].start + runs[count - 1].count == t[0] * job.B + r[0]:
                runs[count - 1].count += n
            else:
                runs[count].start, runs[count].count = t[0] * job.B + r[0], n
                count += 1
            left -= n
            r[0] += n
        if r[0] >= job.active[t[0]]:
            t[0] += 1
            r[0] = 0
    return count


cdef inline void _outer_share(const rnnfast_kernels* kn, const rnnfast_outer* o,
                              const rnnfast_run* runs, int count, const Member* me) noexcept nogil:
    cdef Py_ssize_t tiles = kn.outer_tiles(o.n_a, o.n_g)
    kn.outer(o, runs, count, _share(tiles, me.index, me.count),
             _share(tiles, me.index + 1, me.count))


cdef void _weight_gradients(Job* job, Packed net, Member* me, int index) noexcept nogil:
    # dW += dgates^T [x, h] over all rows of the batch, in an order that no team changes; members own
    # tiles of dW.
    cdef const rnnfast_kernels* kn = net.kernels
    cdef int layer = index // net.directions, reverse = index % net.directions, count
    cdef Part* part = net.parts + index
    cdef State* state = job.states + index
    cdef Py_ssize_t size = net.itemsize, t = 0, r = 0
    cdef Py_ssize_t width = net.info.gates * job.slot
    cdef rnnfast_run runs[RNNFAST_BLOCK_ROWS]
    cdef rnnfast_outer x_side, h_side, bias, projection
    memset(&bias, 0, sizeof(bias))
    bias.g, bias.ldg, bias.n_g = state.gates, job.ldg, net.info.slots * job.slot
    bias.n_a, bias.out, bias.ldo = 1, state.grad_b, job.ldw
    x_side = h_side = bias
    x_side.a, x_side.lda, x_side.n_a = job.inputs[layer], job.input_row[layer], part.input
    x_side.g, x_side.n_g = state.gates + net.info.x_slot * job.slot * size, width
    x_side.out = state.grad_x
    h_side.a = state.h + (job.B * job.ldh * size if reverse else 0)
    h_side.lda, h_side.n_a = job.ldh, net.recurrent
    h_side.g, h_side.n_g = state.gates + net.info.h_slot * job.slot * size, width
    h_side.out = state.grad_h
    projection = bias
    projection.a, projection.lda, projection.n_a = state.dh, job.ldh, net.recurrent
    projection.g, projection.ldg, projection.n_g = state.m, job.ldc, net.hidden
    projection.out, projection.ldo = state.grad_r, job.ldc
    while True:
        count = _next_block(job, &t, &r, runs)
        if count == 0:
            break
        _outer_share(kn, &x_side, runs, count, me)
        _outer_share(kn, &h_side, runs, count, me)
        _outer_share(kn, &bias, runs, count, me)
        if net.projection:
            _outer_share(kn, &projection, runs, count, me)


cdef void _add_gradients(Job* job, Packed net, Member* me, int index) noexcept nogil:
    # Into the caller's arrays, members by hidden units.
    cdef const rnnfast_kernels* kn = net.kernels
    cdef Part* part = net.parts + index
    cdef State* state = job.states + index
    cdef const rnnfast_cell* info = net.info
    cdef Py_ssize_t size = net.itemsize, H = net.hidden, K = net.recurrent, I = part.input, r
    cdef Py_ssize_t u0 = _share(H, me.index, me.count), u1 = _share(H, me.index + 1, me.count)
    cdef char** grads = job.grads + 5 * index
    cdef int s, gate
    for s in range(info.gates):
        gate = info.order[info.x_slot + s]
        kn.unpack(grads[0] + gate * H * I * size, I, state.grad_x + s * job.slot * size, job.ldw,
                  u0, u1, I)
        if grads[2] != NULL:
            _add_row(grads[2] + (gate * H + u0) * size,
                     state.grad_b + ((info.x_slot + s) * job.slot + u0) * size, u1 - u0, size)
        gate = info.order[info.h_slot + s]
        kn.unpack(grads[1] + gate * H * K * size, K, state.grad_h + s * job.slot * size, job.ldw,
                  u0, u1, K)
        if grads[3] != NULL:
            _add_row(grads[3] + (gate * H + u0) * size,
                     state.grad_b + ((info.h_slot + s) * job.slot + u0) * size, u1 - u0, size)
    if net.projection:
        for r in range(K):
            _add_row(grads[4] + (r * H + u0) * size, state.grad_r + (r * job.ldc + u0) * size,
                     u1 - u0, size)


cdef void _backward_member(Job* job, Packed net, int index, int count) noexcept nogil:
    cdef Member me = _member(job, index, count)
    cdef int layer, direction, i
    cdef Py_ssize_t r, t, size = net.itemsize
    cdef State* state
    cdef unsigned long long fp = k.fp_enter()
    memset(job.gradients + _share(job.gradient_lines, index, count) * RNNFAST_LINE, 0,
           (_share(job.gradient_lines, index + 1, count)
            - _share(job.gradient_lines, index, count)) * RNNFAST_LINE)
    if job.sample != NULL and job.want_dx:
        for r in range(me.o0, me.o1):
            for t in range(job.length[r], job.T):
                memset(job.dx + (t * job.dx_time + _sample(job, r) * job.dx_row) * size, 0,
                       net.parts[0].input * size)
    for layer in range(net.layers - 1, -1, -1):
        for direction in range(net.directions):
            _backward_layer(job, net, &me, layer, direction)
            if layer or job.want_dx:
                _input_gradient(job, net, &me, layer, direction)
    if job.want_grads:
        barrier_wait(&job.meet, count)
        for i in range(net.layers * net.directions):
            _weight_gradients(job, net, &me, i)
        barrier_wait(&job.meet, count)
        for i in range(net.layers * net.directions):
            _add_gradients(job, net, &me, i)
    k.fp_leave(fp)


# ---- memory and the calls from Python

cdef inline char* _bump(char** at, size_t bytes) noexcept nogil:
    cdef char* block = at[0]
    at[0] += (bytes + RNNFAST_LINE - 1) // RNNFAST_LINE * RNNFAST_LINE
    return block


cdef void _place_lists(Job* job, Packed net, char** at) noexcept nogil:
    cdef Py_ssize_t parts = net.layers * net.directions
    job.states = <State*>_bump(at, sizeof(State) * parts)
    job.inputs = <char**>_bump(at, sizeof(char*) * net.layers)
    job.input_row = <Py_ssize_t*>_bump(at, sizeof(Py_ssize_t) * net.layers)
    job.input_time = <Py_ssize_t*>_bump(at, sizeof(Py_ssize_t) * net.layers)
    job.grads = <char**>_bump(at, sizeof(char*) * parts * 5)
    job.sample = <Py_ssize_t*>_bump(at, sizeof(Py_ssize_t) * job.B)
    job.length = <Py_ssize_t*>_bump(at, sizeof(Py_ssize_t) * job.B)
    job.active = <Py_ssize_t*>_bump(at, sizeof(Py_ssize_t) * (job.T + 1))


cdef void _place_forward(Job* job, Packed net, char** at) noexcept nogil:
    # Everything the forward pass writes.
    cdef Py_ssize_t size = net.itemsize, B = job.B, n, kept = job.T if job.training else 1
    cdef int index, layer
    cdef State* state
    for index in range(net.layers * net.directions):
        state = job.states + index
        memset(state, 0, sizeof(State))
        state.h = _bump(at, job.places * B * job.ldh * size)
        if net.info.has_cell_state:
            state.c = _bump(at, (job.places if job.training else 1) * B * job.ldc * size)
        if job.training:
            state.gates = _bump(at, job.T * B * job.ldg * size)
        if net.projection:
            state.m = _bump(at, kept * B * job.ldc * size)
    for layer in range(net.layers):
        n = net.parts[layer * net.directions].input
        n = n if n * size < RNNFAST_LINE else rnnfast_stride(n, size)
        job.input_row[layer], job.input_time[layer] = n, B * n
        if layer == 0 and not job.gather_x:
            job.inputs[0], job.input_row[0], job.input_time[0] = job.x, job.x_row, job.x_time
        elif layer == 0:
            job.inputs[0] = _bump(at, (job.T if job.training else job.chunk) * B * n * size)
        elif job.training and net.directions == 1 and job.masks == NULL:
            # The history of the layer below is the input.
            job.inputs[layer] = job.states[layer - 1].h + B * job.ldh * size
            job.input_row[layer], job.input_time[layer] = job.ldh, B * job.ldh
        elif layer >= 3 and not job.training:
            job.inputs[layer] = job.inputs[layer - 2]  # two arrays take turns
        else:
            job.inputs[layer] = _bump(at, job.T * B * n * size)
    job.product = _bump(at, job.chunk * B * job.ldp * size) if job.ldp else NULL


cdef void _place_backward(Job* job, Packed net, char** at) noexcept nogil:
    cdef Py_ssize_t size = net.itemsize
    cdef int index
    cdef State* state
    job.outside = _bump(at, job.B * job.ldh * size)
    job.zeros = _bump(at, job.ldc * size)
    job.carry = _bump(at, job.B * job.ldc * size)
    job.between[0] = job.between[1] = NULL
    if net.layers > 1:
        job.between[0] = _bump(at, job.T * job.B * job.ldy * size)
        job.between[1] = _bump(at, job.T * job.B * job.ldy * size)
    if net.projection:
        for index in range(net.layers * net.directions):
            job.states[index].dh = _bump(at, job.T * job.B * job.ldh * size)
    job.gradients = at[0]
    if job.want_grads:
        for index in range(net.layers * net.directions):
            state = job.states + index
            state.grad_x = _bump(at, net.parts[index].input * job.ldw * size)
            state.grad_h = _bump(at, net.recurrent * job.ldw * size)
            state.grad_b = _bump(at, job.ldw * size)
            state.grad_r = _bump(at, net.projection * job.ldc * size)
    job.gradient_lines = (at[0] - job.gradients) // RNNFAST_LINE


@cython.final
cdef class Tape:
    """What backward needs of a forward call. Opaque; serves one backward."""

    cdef Job job
    cdef char* block

    def __cinit__(self):
        memset(&self.job, 0, sizeof(Job))

    def __dealloc__(self):
        k.give(<char*>self.job.states)
        k.give(self.block)

    @property
    def nbytes(self):
        """Bytes of stored states, gates and inputs."""
        return k.size_of(self.block)


cdef char* _strided(object array, Packed net, Py_ssize_t T, Py_ssize_t B, Py_ssize_t n, str name,
                    Py_ssize_t* time, Py_ssize_t* row) except? NULL:
    # The data of a (T, B, n) array with adjacent elements on the last axis; strides in elements.
    if array is None:
        return NULL
    if not isinstance(array, np.ndarray) or cnp.PyArray_TYPE(array) != net.typenum:
        raise TypeError(f"{name} must be an array of {net.itemsize * 8}-bit floats, "
                        f"got {getattr(array, 'dtype', type(array).__name__)}")
    cdef cnp.npy_intp* shape = cnp.PyArray_DIMS(array)
    cdef cnp.npy_intp* strides
    if (cnp.PyArray_NDIM(array) != 3 or shape[0] != T or shape[1] != B or shape[2] != n):
        raise ValueError(f"{name} must have shape ({T}, {B}, {n}), got {(<object>array).shape}")
    strides = cnp.PyArray_STRIDES(array)
    if ((n > 1 and strides[2] != net.itemsize) or strides[0] % net.itemsize
            or strides[1] % net.itemsize or not cnp.PyArray_ISALIGNED(array)):
        raise ValueError(f"{name} must be aligned with adjacent elements on its last axis")
    time[0], row[0] = strides[0] // net.itemsize, strides[1] // net.itemsize
    return <char*>cnp.PyArray_DATA(array)


cdef object _order_rows(Job* job, object lengths):
    # Rows longest first, and how many are active at each step.
    cdef Py_ssize_t b, t
    cdef cnp.int64_t* values
    for b in range(job.B if lengths is None else 0):
        job.length[b] = job.T
    for t in range(job.T if lengths is None else 0):
        job.active[t] = job.B
    job.active[job.T] = 0
    if lengths is None:
        job.sample = NULL
        return
    order = np.argsort(-lengths, kind="stable").astype(np.intp)
    active = np.searchsorted(np.sort(lengths), np.arange(job.T + 1), side="right")
    for b, sample in enumerate(order):
        job.sample[b] = sample
        job.length[b] = lengths[sample]
    for t, shorter in enumerate(active):
        job.active[t] = job.B - shorter


cdef int _team(Job* job, Packed net) noexcept nogil:
    # How many threads; job.shared: whether they share the units of each step and not the batch.
    cdef int n = k.team_size(), index
    cdef Py_ssize_t r
    cdef double step = 0, steps = 0  # multiply-adds of one sample's step in all layers; steps
    for index in range(net.layers * net.directions):
        step += net.info.gates * net.hidden * <double>(net.parts[index].input + net.recurrent)
    for r in range(job.B):
        steps += job.length[r]
    job.shared = 0
    if n < 2 or step * steps < SERIAL_WORK:
        return 1
    if job.B < n:
        if step * job.B / (net.layers * net.directions) < SHARED_STEP_WORK:
            return <int>max(1, job.B)
        job.shared = 1
    return n


def forward(Packed net, x, h0, c0, lengths, masks, y, h_n, c_n, bint training):
    """Run all layers and directions over all steps.

    Parameters
    ----------
    net : Packed
    x : (T, B, I) array
        Any strides with adjacent elements on the last axis.
    h0 : (L*D, B, K) array or None
        Initial state, None: zeros. K is H, or P with a projection.
    c0 : (L*D, B, H) array or None
        Initial cell state of an LSTM.
    lengths : (B,) int64 array or None
        Steps of each sample, in [0, T].
    masks : (L-1, T, B, D*K) array or None
        Factors on the outputs of all layers but the last (dropout).
    y : (T, B, D*K) array
        Written; zero past the end of a sample. Strides as `x`.
    h_n, c_n : (L*D, B, K) and (L*D, B, H) arrays
        Written; `c_n` None unless the cell is an LSTM.
    training : bool
        Whether to keep what `backward` needs.

    Returns
    -------
    Tape or None
    """
    cdef Tape tape = Tape.__new__(Tape)
    cdef Job* job = &tape.job
    cdef Py_ssize_t T = x.shape[0], B = x.shape[1], size = net.itemsize, H = net.hidden
    cdef Py_ssize_t parts = net.layers * net.directions, panels, K = net.recurrent
    cdef int team
    cdef char* at
    job.T, job.B, job.training = T, B, training
    job.x = _strided(x, net, T, B, net.parts[0].input, "x", &job.x_time, &job.x_row)
    job.y = _strided(y, net, T, B, net.directions * K, "y", &job.y_time, &job.y_row)
    job.h0 = _contiguous(h0, net, parts * B * K, "h0")
    job.c0 = _contiguous(c0, net, parts * B * H, "c0")
    job.hn = _contiguous(h_n, net, parts * B * K, "h_n")
    job.cn = _contiguous(c_n, net, parts * B * H, "c_n")
    job.masks = _contiguous(masks, net, (net.layers - 1) * T * B * net.directions * K, "masks")
    if training and not net.training:
        raise ValueError("these weights were packed for inference only")

    # Sizes. The largest array is checked for overflow; the others are no larger.
    job.slot = rnnfast_padded(H, size)
    job.ldh, job.ldc = rnnfast_stride(K, size), rnnfast_stride(H, size)
    job.ldg = rnnfast_stride(net.info.slots * job.slot, size)
    job.places = T + 1 if training else 2
    k.product(k.product(T + 1, B),
              8 * size * (job.ldg + net.parts[0].input + net.directions * job.ldh))
    at = NULL
    _place_lists(job, net, &at)
    at = <char*>k.take(<size_t>at)
    _place_lists(job, net, &at)
    _order_rows(job, lengths)
    team = _team(job, net)
    job.gather_x = training or lengths is not None
    panels = rnnfast_panels(H, net.info.gates, net.kernels.lanes)
    job.ldp = panels * RNNFAST_VECTORS * net.kernels.lanes
    if (B if job.shared else B // team) <= FEW_ROWS and T > 1:
        job.chunk = max(1, PRODUCT_BYTES // (B * job.ldp * size + 1))
    else:
        job.ldp = 0
        job.chunk = max(1, PRODUCT_BYTES // (B * net.parts[0].input * size + 1))
    job.chunk = min(job.chunk, max(T, 1))
    at = NULL
    _place_forward(job, net, &at)
    tape.block = at = <char*>k.take(<size_t>at)
    _place_forward(job, net, &at)

    if team == 1:
        with nogil:
            _forward_member(job, net, 0, 1)
    else:
        with nogil, parallel(num_threads=team):
            _forward_member(job, net, omp_get_thread_num(), omp_get_num_threads())
    return tape if training else None


def backward(Packed net, Tape tape, dy, dh_n, dc_n, dx, dh0, dc0, grads):
    """Back-propagation through time. Uses the tape up.

    Parameters
    ----------
    net : Packed
        The weights that `forward` was given.
    tape : Tape
    dy : (T, B, D*K) array or None
        Gradient of `y`; None: zeros. Strides as `x` in `forward`.
    dh_n, dc_n : arrays like `h_n`, `c_n`, or None
    dx : (T, B, I) array or None
        Written; None: not wanted.
    dh0, dc0 : arrays like `h_n`, `c_n`
        Written; `dc0` None unless the cell is an LSTM.
    grads : list of L*D tuples like `weights` of `pack`, or None
        Added into; None: not wanted.
    """
    cdef Job* job = &tape.job
    cdef Py_ssize_t T = job.T, B = job.B, size = net.itemsize, H = net.hidden, K = net.recurrent
    cdef Py_ssize_t parts = net.layers * net.directions, i, GH = net.info.gates * H
    cdef int team
    cdef char* at = NULL
    cdef char* block
    if job.used:
        raise RuntimeError("this tape was used by an earlier backward; run forward again")
    job.dy = _strided(dy, net, T, B, net.directions * K, "dy", &job.dy_time, &job.dy_row)
    job.dx = _strided(dx, net, T, B, net.parts[0].input, "dx", &job.dx_time, &job.dx_row)
    job.dhn = _contiguous(dh_n, net, parts * B * K, "dh_n")
    job.dcn = _contiguous(dc_n, net, parts * B * H, "dc_n")
    job.dh0 = _contiguous(dh0, net, parts * B * K, "dh0")
    job.dc0 = _contiguous(dc0, net, parts * B * H, "dc0")
    job.want_dx, job.want_grads = dx is not None, grads is not None
    if grads is not None:
        for i in range(parts):
            w_ih, w_hh, b_ih, b_hh, w_hr = grads[i]
            job.grads[5 * i] = _contiguous(w_ih, net, GH * net.parts[i].input, "grad of weight_ih")
            job.grads[5 * i + 1] = _contiguous(w_hh, net, GH * K, "grad of weight_hh")
            job.grads[5 * i + 2] = _contiguous(b_ih, net, GH, "grad of bias_ih")
            job.grads[5 * i + 3] = _contiguous(b_hh, net, GH, "grad of bias_hh")
            job.grads[5 * i + 4] = _contiguous(w_hr, net, net.projection * H, "grad of weight_hr")
    job.ldw = rnnfast_stride(net.info.slots * job.slot, size)
    job.ldy = rnnfast_stride(net.directions * K, size)
    team = _team(job, net)
    _place_backward(job, net, &at)
    block = at = <char*>k.take(<size_t>at)
    _place_backward(job, net, &at)
    memset(job.zeros, 0, job.ldc * size)
    job.used = 1
    if team == 1:
        with nogil:
            _backward_member(job, net, 0, 1)
    else:
        with nogil, parallel(num_threads=team):
            _backward_member(job, net, omp_get_thread_num(), omp_get_num_threads())
    k.give(block)
