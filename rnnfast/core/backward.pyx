# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The backward pass of one thread: BPTT for its rows, then its tiles of the weight gradients."""

from libc.string cimport memset

from rnnfast.core cimport kernels as k
from rnnfast.core.arrays cimport share_of
from rnnfast.core.barrier cimport barrier_wait
from rnnfast.core.gradient cimport Rows, sum_narrow, sum_tiles, tiles_end, tiles_of
from rnnfast.core.job cimport (
    Job, Member, State, copy_row, entry_of, member_of, narrow, prefetch_from, products, row_at,
    stopped, wait,
)
from rnnfast.core.kernels cimport (
    RNNFAST_VECTORS, at_once, flag_raised, rnnfast_cell, rnnfast_kernels, rnnfast_matmul,
    rnnfast_outer, rnnfast_panels,
)
from rnnfast.core.packed cimport (
    B_HH, B_IH, FIRST_VECTOR, VECTORS, W_HH, W_HR, W_IH, WEIGHTS, Packed, Part, row_of,
)
from rnnfast.core.phases cimport (
    AFTER, BEFORE, NEXT, STEP, Walk, begin, plan_backward, set_work, take_rows,
)

cdef enum:
    ROWS_AT_ONCE = 4096


cdef void _start_gradients(Walk* w, Packed net) noexcept nogil:
    # The carry, which is dc of the final state, and arrays that the steps add to.
    cdef Job* job = w.job
    cdef State* state = w.state
    cdef int v
    cdef Py_ssize_t r, H = net.hidden, K = net.recurrent, size = net.itemsize
    for r in range(w.me.o0, w.me.o1):
        if job.kept_h != NULL:
            copy_row(job.kept_h + r * job.ldh * size, NULL, K * size)
        for v in range(VECTORS):
            if state.dvectors[v] != NULL:
                copy_row(state.dvectors[v] + r * job.ldg * size, NULL, job.ldg * size)
        copy_row(job.carry + r * job.ldc * size, entry_of(job, net, job.dcn, w.index, r, H),
                 H * size)
        if job.length[r] == 0 and job.dh0 != NULL:  # no steps: the state passes through
            copy_row(entry_of(job, net, job.dh0, w.index, r, K),
                     entry_of(job, net, job.dhn, w.index, r, K), K * size)


cdef void _backward_layer(Job* job, Packed net, Member* me, int layer, int direction) noexcept nogil:
    cdef Walk w
    cdef Py_ssize_t T = job.T, H = net.hidden, size = net.itemsize, i, t, n, r, first, last
    cdef double work = <double>net.info.gates * H * net.recurrent  # of a row
    begin(&w, job, net, me, layer, direction)
    plan_backward(&w, net)
    set_work(&w, work)
    _start_gradients(&w, net)
    wait(job, me)
    for i in range(T):
        t = i if direction else T - 1 - i
        n = min(me.b1, job.active[t])
        if n <= me.b0:
            continue
        w.t = w.clock[STEP] = t
        w.clock[BEFORE], w.clock[AFTER] = t + direction, t + 1 - direction
        w.clock[NEXT] = t - 1 if direction else t + 1
        first = me.b0 if t == 0 else n  # from this row on no step is before t,
        last = max(me.b0, min(n, job.active[t + 1]))  # from this one on none is after it
        w.starting, w.ending = (first, last) if direction else (last, first)
        take_rows(&w, net, n, False)
    wait(job, me)
    if job.dc0 != NULL:
        for r in range(me.o0, me.o1):
            copy_row(entry_of(job, net, job.dc0, w.index, r, H),
                     job.carry + r * job.ldc * size, H * size)
    wait(job, me)


cdef void _input_gradient(Job* job, Packed net, Member* me, int layer, int direction) noexcept nogil:
    # dgates W_ih for all steps, to the layer below or to the caller's dx.
    cdef const rnnfast_kernels* kn = net.kernels
    cdef int index = layer * net.directions + direction
    cdef Part* part = net.parts + index
    cdef State* state = job.states + index
    cdef Py_ssize_t panels = rnnfast_panels(part.input, 1, kn.lanes), p, t, t0 = 0, t1 = job.T
    cdef Py_ssize_t size = net.itemsize, out_time, row, n
    cdef double work = <double>net.info.gates * net.hidden * part.input  # of a row
    cdef rnnfast_matmul m
    cdef char* a = state.gates + net.info.x_slot * job.slot * size
    cdef char* out
    memset(&m, 0, sizeof(m))
    m.lda, m.n_runs, m.run_length, m.run_pitch = job.ldg, net.info.gates, net.hidden, job.slot
    m.weight, m.n_out, m.accumulate = part.weight_xt.data, part.input, direction
    m.fetch = prefetch_from(net.info.gates * net.hidden * part.input * size, 1)
    if layer:
        out, out_time, m.ldo = job.between[layer & 1], job.B * job.ldy, job.ldy
    else:
        out, out_time, m.ldo, m.out_row = job.dx, job.dx_time, job.dx_row, job.sample
    if job.shared:
        t0, t1 = share_of(job.T, me.i, me.n), share_of(job.T, me.i + 1, me.n)
    if job.sample == NULL and me.b0 == 0 and me.b1 == job.B and out_time == job.B * m.ldo:
        m.a, m.out = a, out
        row = t0 * job.B
        while row < t1 * job.B:  # the rows of all steps are one matrix
            n = min(t1 * job.B - row, min(ROWS_AT_ONCE, at_once(work)))
            if not stopped(me, work * n):
                kn.matmul(&m, row, row + n, 0, panels)
            row += n
    else:
        for p in range(panels):
            for t in range(t0, t1):
                m.a = a + t * job.B * job.ldg * size
                m.out = out + (t * out_time + (0 if layer else job.start[t] * m.ldo)) * size
                if not stopped(me, work * (me.b1 - me.b0) / panels):
                    kn.matmul(&m, me.b0, min(me.b1, job.active[t]), p, p + 1)
    wait(job, me)


cdef rnnfast_outer weight_gradient(const Job* job, Packed net, int index, int side) noexcept nogil:
    cdef int layer = index // net.directions, reverse = index % net.directions
    cdef Part* part = net.parts + index
    cdef State* state = job.states + index
    cdef Py_ssize_t size = net.itemsize
    cdef int slot = net.info.h_slot if side else net.info.x_slot, runs = net.info.gates
    cdef rnnfast_outer o
    if side == 1 and net.info.reset_before:  # r and z; n is side 2
        slot, runs = slot + 1, runs - 1
    memset(&o, 0, sizeof(o))
    o.g, o.ldg = state.gates + slot * job.slot * size, job.ldg
    o.n_runs, o.run_length, o.run_pitch = runs, net.hidden, job.slot
    o.order = net.info.order + slot
    o.out = job.grads[WEIGHTS * index + (W_HH if side else W_IH)]
    if side == 0:
        o.a, o.lda, o.n_a = job.inputs[layer], job.input_row[layer], part.input
    else:
        o.a, o.lda, o.n_a = state.dropped if job.drops != NULL else state.h, job.ldh, net.recurrent
        if reverse:
            o.a = <const char*>o.a + job.B * job.ldh * size
    if side == 2 and net.info.reset_before:
        o.n_runs = 1
        o.a = state.reset
    elif side == 2:
        o.g, o.ldg, o.n_runs, o.run_length, o.order = state.dh, job.ldh, 1, net.recurrent, NULL
        o.a, o.lda, o.n_a, o.out = state.m, job.ldc, net.hidden, job.grads[WEIGHTS * index + W_HR]
    return o


cdef void _weight_gradients(Job* job, Packed net, Member* me, int form, int add) noexcept nogil:
    # Forms the sums over all rows of the batch, then adds them to the caller's arrays. Members own tiles
    # of dW and panels of columns, so the order of a sum does not depend on the team.
    cdef const rnnfast_kernels* kn = net.kernels
    cdef int index, side
    cdef Py_ssize_t tiles, q, end, last
    cdef Rows rows
    cdef rnnfast_outer o
    cdef char* kept = job.sums
    rows.T, rows.B, rows.active = job.T, job.B, job.active
    for index in range(net.layers * net.directions):
        for side in range(1 if narrow(net, index) else 0, products(net)):
            o = weight_gradient(job, net, index, side)
            tiles = tiles_of(kn, &o)
            q, last = share_of(tiles, me.index, me.count), share_of(tiles, me.index + 1, me.count)
            while q < last:
                end = tiles_end(kn, q, last)
                o.sums = kept + q * kn.tile_bytes if job.keep_sums else job.sums + me.index * job.member_sums
                if form:
                    sum_tiles(kn, &o, &rows, q, end, &me.watch if job.keep_sums else NULL)
                if add:
                    kn.outer_add(&o, q, end)
                q = end
            kept += tiles * kn.tile_bytes
        _narrow_gradients(job, net, me, index, &rows, form, add)


cdef void _narrow_gradients(Job* job, Packed net, Member* me, int index, const Rows* rows, int form,
                            int add) noexcept nogil:
    # Gradients of the biases, as the product with a column of ones, of W_ih for narrow inputs, and of the
    # vectors.
    cdef const rnnfast_kernels* kn = net.kernels
    cdef const rnnfast_cell* info = net.info
    cdef Py_ssize_t size = net.itemsize, H = net.hidden, width = info.slots * job.slot
    cdef Py_ssize_t panel = kn.lanes * RNNFAST_VECTORS, panels = (width + panel - 1) // panel
    cdef Py_ssize_t c0 = min(width, share_of(panels, me.index, me.count) * panel)
    cdef Py_ssize_t c1 = min(width, share_of(panels, me.index + 1, me.count) * panel)
    cdef Py_ssize_t I = narrow(net, index), c, n, i
    cdef int layer = index // net.directions, s, v, row
    cdef char* sums = job.states[index].sums
    cdef char* sums_x = sums + width * size
    cdef char* sums_v = sums_x + I * width * size
    cdef char** grads = job.grads + WEIGHTS * index
    cdef State* state = job.states + index
    cdef const char* g = state.gates + c0 * size
    cdef Rows one  # one step: the gradients of the vectors are already sums over time
    one.T, one.B, one.active = 1, job.B, &job.B
    if form:
        for i in range(1 + I + VECTORS):
            memset(sums + (i * width + c0) * size, 0, (c1 - c0) * size)
        for v in range(VECTORS):
            if state.dvectors[v] != NULL:
                sum_narrow(kn, NULL, 0, 1, state.dvectors[v] + c0 * size, job.ldg, &one, c1 - c0,
                           sums_v + (v * width + c0) * size, width)
        if grads[B_IH] != NULL or grads[B_HH] != NULL:
            sum_narrow(kn, NULL, 0, 1, g, job.ldg, rows, c1 - c0, sums + c0 * size, width)
        sum_narrow(kn, job.inputs[layer], job.input_row[layer], I, g, job.ldg, rows, c1 - c0,
                   sums_x + c0 * size, width)
    for s in range(info.slots if add else 0):
        c = max(c0, s * job.slot)
        n = min(c1, s * job.slot + H) - c
        if n <= 0:
            continue
        for v in range(VECTORS):
            row = row_of(info, v, s)
            if grads[FIRST_VECTOR + v] != NULL and row >= 0:
                kn.add(grads[FIRST_VECTOR + v] + (row * H + c - s * job.slot) * size, 1,
                       sums_v + (v * width + c) * size, n)
        row = info.order[s] * H + c - s * job.slot
        if info.x_slot <= s < info.x_slot + info.gates:
            for i in range(I):
                kn.add(grads[W_IH] + (row * I + i) * size, I, sums_x + (i * width + c) * size, n)
            if grads[B_IH] != NULL:
                kn.add(grads[B_IH] + row * size, 1, sums + c * size, n)
        if grads[B_HH] != NULL and info.h_slot <= s < info.h_slot + info.gates:
            kn.add(grads[B_HH] + row * size, 1, sums + c * size, n)


cdef void backward_member(Job* job, Packed net, int index, int count) noexcept nogil:
    cdef Member me = member_of(job, index, count)
    cdef int layer, direction
    cdef Py_ssize_t r, t, size = net.itemsize
    if job.sample != NULL and not job.packed and job.want_dx:
        for r in range(me.o0, me.o1):
            for t in range(job.length[r], job.T):
                memset(job.dx + row_at(job, t, r, job.dx_time, job.dx_row) * size, 0,
                       net.parts[0].input * size)
    for layer in range(net.layers - 1, -1, -1):
        for direction in range(net.directions):
            _backward_layer(job, net, &me, layer, direction)
            if layer or job.want_dx:
                _input_gradient(job, net, &me, layer, direction)
    if job.want_grads:
        # All or nothing: where this takes so long that it checks for signals, nothing is added before
        # the last check.
        barrier_wait(&job.meet, count)
        if job.keep_sums:
            _weight_gradients(job, net, &me, 1, 0)
            barrier_wait(&job.meet, count)
        if not flag_raised(&job.stop):
            _weight_gradients(job, net, &me, not job.keep_sums, 1)
    k.fp_leave(me.watch.fp)
