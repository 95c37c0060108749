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

cimport numpy as cnp
from cython.parallel cimport parallel
from libc.string cimport memset

from rnnfast.core cimport kernels as k
from rnnfast.core.gradient cimport Rows, SUMS_BYTES, sum_narrow, sum_tiles, tiles_end, tiles_of
from rnnfast.core.job cimport (
    Job, Member, State, Tape, barrier_wait, copy_row, mask_of, member_of, narrow, order_rows,
    flag_raised, place_backward, place_forward, place_lists, sample_of, share, stopped, strided,
    team_for, thresholds, wait,
)
from rnnfast.core.kernels cimport (
    RNNFAST_VECTORS, omp_get_num_threads, omp_get_thread_num,
    rnnfast_backstep, rnnfast_cell, rnnfast_kernels, rnnfast_matmul, rnnfast_outer, rnnfast_padded,
    rnnfast_panels, rnnfast_step, rnnfast_stride,
)
from rnnfast.core.packed cimport Packed, Part, contiguous

from rnnfast.core.packed import pack  # noqa: F401

cnp.import_array()

cdef enum:
    ROWS_AT_ONCE = 4096


# ---- forward

cdef void _start_state(Job* job, Packed net, Member* me, int index, int reverse) noexcept nogil:
    # The initial state goes to the place before each row's first step.
    cdef Py_ssize_t r, place, K = net.recurrent, H = net.hidden, size = net.itemsize
    cdef State* state = job.states + index
    for r in range(me.o0, me.o1):
        place = job.length[r] % job.places if reverse else 0
        copy_row(state.h + (place * job.B + r) * job.ldh * size,
                  NULL if job.h0 == NULL else job.h0 + (index * job.B + sample_of(job, r)) * K * size,
                  K * size)
        if state.c != NULL:
            place = place if job.training else 0
            copy_row(state.c + (place * job.B + r) * job.ldc * size,
                      NULL if job.c0 == NULL
                      else job.c0 + (index * job.B + sample_of(job, r)) * H * size,
                      H * size)


cdef void _final_state(Job* job, Packed net, Member* me, int index, int reverse) noexcept nogil:
    cdef Py_ssize_t r, place, K = net.recurrent, H = net.hidden, size = net.itemsize
    cdef State* state = job.states + index
    for r in range(me.o0, me.o1):
        place = 0 if reverse else job.length[r] % job.places
        copy_row(job.hn + (index * job.B + sample_of(job, r)) * K * size,
                  state.h + (place * job.B + r) * job.ldh * size, K * size)
        if state.c != NULL:
            place = place if job.training else 0
            copy_row(job.cn + (index * job.B + sample_of(job, r)) * H * size,
                      state.c + (place * job.B + r) * job.ldc * size, H * size)


cdef void _gather_x(Job* job, Packed net, Member* me, Py_ssize_t t0, Py_ssize_t t1,
                    Py_ssize_t origin) noexcept nogil:
    # Rows of x into the first layer's own array, at steps counted from `origin`.
    cdef Py_ssize_t t, r, I = net.parts[0].input, size = net.itemsize
    for t in range(t0, t1):
        for r in range(me.o0, min(me.o1, job.active[t])):
            copy_row(job.inputs[0] + ((t - origin) * job.B + r) * job.input_row[0] * size,
                      job.x + (t * job.x_time + sample_of(job, r) * job.x_row) * size, I * size)


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
            to = job.y + (t * job.y_time + sample_of(job, r) * job.y_row + direction * K + u0) * size
        else:
            to = job.inputs[layer + 1] + (t * job.input_time[layer + 1]
                                          + r * job.input_row[layer + 1] + direction * K + u0) * size
        copy_row(to, h + (r * job.ldh + u0) * size, bytes)
        if not top and job.masks != NULL:
            net.kernels.multiply(to, mask_of(job, net, layer, t, r, direction) + u0 * size, u1 - u0)


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
    cdef Py_ssize_t done, t, ta, tb, n, before, after, origin = 0, out_u0, out_u1, i, b1
    cdef double work = <double>gates * H * (part.input + K) * (me.b1 - me.b0)
    cdef char* x
    p0, p1 = share(panels, me.i, me.n), share(panels, me.i + 1, me.n)
    out_u0, out_u1 = min(p0 * units, H), min(p1 * units, H)
    if net.projection:
        i = rnnfast_panels(K, 1, kn.lanes)
        q0, q1 = share(i, me.i, me.n), share(i, me.i + 1, me.n)
        out_u0 = min(q0 * kn.lanes * RNNFAST_VECTORS, K)
        out_u1 = min(q1 * kn.lanes * RNNFAST_VECTORS, K)

    memset(&step, 0, sizeof(step))
    step.input, step.recurrent, step.hidden = part.input, K, H
    step.fetch = gates * H * (part.input + K) * size // me.n >= thresholds.cached_weights
    step.ldx = job.input_row[layer]
    step.ldh, step.ldc, step.ldg, step.ldp = job.ldh, job.ldc, job.ldg, job.ldp
    step.weight_x, step.weight_h, step.bias = part.weight_x, part.weight_h, part.bias
    step.ldh_out = job.ldc if net.projection else job.ldh
    memset(&project, 0, sizeof(project))
    project.lda, project.n_runs, project.run_length = job.ldc, 1, H
    project.weight, project.ldo, project.n_out = part.weight_r, job.ldh, K

    _start_state(job, net, me, index, reverse)
    wait(job, me)
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
            wait(job, me)
        x = job.inputs[layer] - origin * job.input_time[layer] * size
        if job.product != NULL and not stopped(job, me, n * work):
            step.product = NULL
            if (job.sample == NULL and me.b0 == 0 and me.b1 == B
                    and job.input_time[layer] == B * job.input_row[layer]):
                step.x = x + ta * job.input_time[layer] * size
                step.gates = job.product
                kn.input_product(&step, gates, 0, n * B, p0, p1)
            else:
                for p in range(p0, p1):
                    for t in range(ta, tb):
                        step.x = x + t * job.input_time[layer] * size
                        step.gates = job.product + (t - ta) * B * job.ldp * size
                        kn.input_product(&step, gates, me.b0, min(me.b1, job.active[t]), p, p + 1)
            step.gates = NULL
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
            b1 = me.b0 if stopped(job, me, work) else min(me.b1, job.active[t])
            kn.cell[net.cell].forward(&step, me.b0, b1, p0, p1)
            if net.projection:
                wait(job, me)
                kn.matmul(&project, me.b0, b1, q0, q1)
            _hand_on(job, net, layer, direction, state.h + after * B * job.ldh * size, t,
                     me.b0, b1, out_u0, out_u1)
            wait(job, me)
    _final_state(job, net, me, index, reverse)


cdef void _forward_member(Job* job, Packed net, int index, int count) noexcept nogil:
    cdef Member me = member_of(job, index, count)
    cdef Py_ssize_t r, t, width = net.directions * net.recurrent * net.itemsize
    cdef int layer, direction
    me.fp = k.fp_enter()
    for layer in range(net.layers):
        for direction in range(net.directions):
            _forward_layer(job, net, &me, layer, direction)
        wait(job, &me)
    if job.sample != NULL:
        for r in range(me.o0, me.o1):
            for t in range(job.length[r], job.T):
                memset(job.y + (t * job.y_time + sample_of(job, r) * job.y_row) * net.itemsize, 0,
                       width)
    k.fp_leave(me.fp)


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
                t * job.dy_time + sample_of(job, r) * job.dy_row + direction * K + u0) * size
        else:
            source = dy_below + ((t * job.B + r) * job.ldy + direction * K + u0) * size
        copy_row(row, source, bytes)
        if not top and job.masks != NULL:
            net.kernels.multiply(row, mask_of(job, net, layer, t, r, direction) + u0 * size, u1 - u0)
        if r >= starting and job.dhn != NULL:
            net.kernels.add(row, 1, job.dhn + ((index * job.B + sample_of(job, r)) * K + u0) * size,
                            u1 - u0)


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
    cdef double work = <double>gates * H * K * (me.b1 - me.b0)
    p0, p1 = share(panels, me.i, me.n), share(panels, me.i + 1, me.n)
    u0, u1 = min(p0 * unit, H), min(p1 * unit, H)
    panels = rnnfast_panels(K, 1, kn.lanes)
    q0, q1 = share(panels, me.i, me.n), share(panels, me.i + 1, me.n)
    v0, v1 = min(q0 * unit, K), min(q1 * unit, K)

    memset(&step, 0, sizeof(step))
    step.hidden = H
    step.fetch = gates * H * K * size // me.n >= thresholds.cached_weights
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
        copy_row(job.carry + r * job.ldc * size,
                  NULL if job.dcn == NULL
                  else job.dcn + (index * B + sample_of(job, r)) * H * size, H * size)
        if job.length[r] == 0 and job.dh0 != NULL:  # the state passed through
            copy_row(job.dh0 + (index * B + sample_of(job, r)) * K * size,
                      NULL if job.dhn == NULL
                      else job.dhn + (index * B + sample_of(job, r)) * K * size, K * size)
    wait(job, me)

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
            wait(job, me)
            step.next = outside
            kn.cell[net.cell].backward(&step, me.b0, n, p0, p1)
        elif not stopped(job, me, work):
            step.next = recurrent + follower * B * job.ldg * size
            if starting > me.b0:
                kn.cell[net.cell].backward(&step, me.b0, starting, p0, p1)
            step.next = NULL
            kn.cell[net.cell].backward(&step, starting, n, p0, p1)
        wait(job, me)
        if ending < n and job.dh0 != NULL:
            # dh0 = dgates W_hh, for a GRU with the share that skipped the gates.
            for r in range(ending, n):
                copy_row(job.dh0 + ((index * B + sample_of(job, r)) * K + v0) * size,
                          job.carry + (r * job.ldc + v0) * size
                          if net.info.carries_dh else NULL,
                          (v1 - v0) * size)
            back.a = recurrent + t * B * job.ldg * size
            back.out, back.out_row = job.dh0 + index * B * K * size, job.sample
            back.ldo = K
            kn.matmul(&back, ending, n, q0, q1)
            back.ldo = job.ldh
    wait(job, me)
    if job.dc0 != NULL:
        for r in range(me.o0, me.o1):
            copy_row(job.dc0 + (index * B + sample_of(job, r)) * H * size,
                      job.carry + r * job.ldc * size, H * size)
    wait(job, me)


cdef void _input_gradient(Job* job, Packed net, Member* me, int layer, int direction) noexcept nogil:
    # dgates W_ih for all steps at once, to the layer below or to the caller's dx.
    cdef const rnnfast_kernels* kn = net.kernels
    cdef int index = layer * net.directions + direction
    cdef Part* part = net.parts + index
    cdef State* state = job.states + index
    cdef Py_ssize_t panels = rnnfast_panels(part.input, 1, kn.lanes), p, t, t0 = 0, t1 = job.T
    cdef Py_ssize_t size = net.itemsize, out_time, n
    cdef double work = <double>net.info.gates * net.hidden * part.input * (me.b1 - me.b0)
    cdef rnnfast_matmul m
    cdef char* a = state.gates + net.info.x_slot * job.slot * size
    cdef char* out
    memset(&m, 0, sizeof(m))
    m.lda, m.n_runs, m.run_length, m.run_pitch = job.ldg, net.info.gates, net.hidden, job.slot
    m.weight, m.n_out, m.accumulate = part.weight_xt, part.input, direction
    m.fetch = net.info.gates * net.hidden * part.input * size >= thresholds.cached_weights
    if layer:
        out, out_time, m.ldo = job.between[layer & 1], job.B * job.ldy, job.ldy
    else:
        out, out_time, m.ldo, m.out_row = job.dx, job.dx_time, job.dx_row, job.sample
    if job.shared:
        t0, t1 = share(job.T, me.i, me.n), share(job.T, me.i + 1, me.n)
    if job.sample == NULL and me.b0 == 0 and me.b1 == job.B and out_time == job.B * m.ldo:
        while t0 < t1:  # the rows of many steps are one matrix
            n = min(t1 - t0, max(1, ROWS_AT_ONCE // max(1, job.B)))
            m.a, m.out = a + t0 * job.B * job.ldg * size, out + t0 * out_time * size
            if not stopped(job, me, work * n):
                kn.matmul(&m, 0, n * job.B, 0, panels)
            t0 += n
    else:
        for p in range(panels):
            for t in range(t0, t1):
                m.a, m.out = a + t * job.B * job.ldg * size, out + t * out_time * size
                if not stopped(job, me, work / panels):
                    kn.matmul(&m, me.b0, min(me.b1, job.active[t]), p, p + 1)
    wait(job, me)


cdef rnnfast_outer _weight_gradient(const Job* job, Packed net, int index, int side) noexcept nogil:
    # dW = dgates^T x (side 0), dgates^T h (1), or of the projection dh^T m (2).
    cdef int layer = index // net.directions, reverse = index % net.directions
    cdef Part* part = net.parts + index
    cdef State* state = job.states + index
    cdef Py_ssize_t size = net.itemsize
    cdef int slot = net.info.h_slot if side else net.info.x_slot
    cdef rnnfast_outer o
    memset(&o, 0, sizeof(o))
    o.g, o.ldg = state.gates + slot * job.slot * size, job.ldg
    o.n_runs, o.run_length, o.run_pitch = net.info.gates, net.hidden, job.slot
    o.order = net.info.order + slot
    o.out = job.grads[5 * index + side]
    if side == 0:
        o.a, o.lda, o.n_a = job.inputs[layer], job.input_row[layer], part.input
    else:
        o.a, o.lda, o.n_a = state.h, job.ldh, net.recurrent
        if reverse:
            o.a = state.h + job.B * job.ldh * size
    if side == 2:
        o.g, o.ldg, o.n_runs, o.run_length, o.order = state.dh, job.ldh, 1, net.recurrent, NULL
        o.a, o.lda, o.n_a, o.out = state.m, job.ldc, net.hidden, job.grads[5 * index + 4]
    return o


cdef void _weight_gradients(Job* job, Packed net, Member* me, int form, int add) noexcept nogil:
    # Sums over all rows of the batch, in an order that no team changes, and then into the caller's
    # arrays; members own tiles of dW and panels of the gates' columns.
    cdef const rnnfast_kernels* kn = net.kernels
    cdef int index, side
    cdef Py_ssize_t tiles, q, end, last
    cdef Rows rows
    cdef rnnfast_outer o
    cdef char* kept = job.sums
    rows.T, rows.B, rows.active = job.T, job.B, job.active
    for index in range(net.layers * net.directions):
        for side in range(1 if narrow(net, index) else 0, 3 if net.projection else 2):
            o = _weight_gradient(job, net, index, side)
            tiles = tiles_of(kn, &o)
            q, last = share(tiles, me.index, me.count), share(tiles, me.index + 1, me.count)
            while q < last:
                end = tiles_end(kn, &o, q, last)
                o.sums = kept + q * kn.tile_bytes if job.keep_sums else job.sums + me.index * job.member_sums
                if form and not (job.keep_sums and stopped(
                        job, me, <double>(end - q) * kn.rows * kn.lanes * RNNFAST_VECTORS
                        * job.T * job.B)):
                    sum_tiles(kn, &o, &rows, q, end)
                if add:
                    kn.outer_add(&o, q, end)
                q = end
            kept += tiles * kn.tile_bytes
        _narrow_gradients(job, net, me, index, &rows, form, add)


cdef void _narrow_gradients(Job* job, Packed net, Member* me, int index, const Rows* rows, int form,
                            int add) noexcept nogil:
    # Gradients of the biases, the product with a column of ones, and of narrow inputs.
    cdef const rnnfast_kernels* kn = net.kernels
    cdef const rnnfast_cell* info = net.info
    cdef Py_ssize_t size = net.itemsize, H = net.hidden, width = info.slots * job.slot
    cdef Py_ssize_t panel = kn.lanes * RNNFAST_VECTORS, panels = (width + panel - 1) // panel
    cdef Py_ssize_t c0 = min(width, share(panels, me.index, me.count) * panel)
    cdef Py_ssize_t c1 = min(width, share(panels, me.index + 1, me.count) * panel)
    cdef Py_ssize_t I = narrow(net, index), c, n, i
    cdef int layer = index // net.directions, s, row
    cdef char* sums = job.states[index].sums
    cdef char** grads = job.grads + 5 * index
    cdef const char* g = job.states[index].gates + c0 * size
    if not I and grads[2] == NULL and grads[3] == NULL:
        return
    if form:
        for i in range(I + 1):
            memset(sums + (i * width + c0) * size, 0, (c1 - c0) * size)
        sum_narrow(kn, NULL, 0, 1, g, job.ldg, rows, c1 - c0, sums + c0 * size, width)
        sum_narrow(kn, job.inputs[layer], job.input_row[layer], I, g, job.ldg, rows, c1 - c0,
                   sums + (width + c0) * size, width)
    for s in range(info.slots if add else 0):
        c = max(c0, s * job.slot)
        n = min(c1, s * job.slot + H) - c
        if n <= 0:
            continue
        row = info.order[s] * H + c - s * job.slot
        if info.x_slot <= s < info.x_slot + info.gates:
            for i in range(I):
                kn.add(grads[0] + (row * I + i) * size, I, sums + ((i + 1) * width + c) * size, n)
            if grads[2] != NULL:
                kn.add(grads[2] + row * size, 1, sums + c * size, n)
        if grads[3] != NULL and info.h_slot <= s < info.h_slot + info.gates:
            kn.add(grads[3] + row * size, 1, sums + c * size, n)


cdef void _backward_member(Job* job, Packed net, int index, int count) noexcept nogil:
    cdef Member me = member_of(job, index, count)
    cdef int layer, direction
    cdef Py_ssize_t r, t, size = net.itemsize
    me.fp = k.fp_enter()
    if job.sample != NULL and job.want_dx:
        for r in range(me.o0, me.o1):
            for t in range(job.length[r], job.T):
                memset(job.dx + (t * job.dx_time + sample_of(job, r) * job.dx_row) * size, 0,
                       net.parts[0].input * size)
    for layer in range(net.layers - 1, -1, -1):
        for direction in range(net.directions):
            _backward_layer(job, net, &me, layer, direction)
            if layer or job.want_dx:
                _input_gradient(job, net, &me, layer, direction)
    if job.want_grads:
        # All or nothing: where it takes so long that signals must be heard, nothing is added before
        # the last of them.
        barrier_wait(&job.meet, count)
        if job.keep_sums:
            _weight_gradients(job, net, &me, 1, 0)
            barrier_wait(&job.meet, count)
        if not flag_raised(&job.stop):
            _weight_gradients(job, net, &me, not job.keep_sums, 1)
    k.fp_leave(me.fp)


# ---- the calls from Python

cdef int _raise_pending(const Job* job) except -1:
    return -1 if flag_raised(&job.stop) else 0  # the exception is set: run_signal_handlers


cdef int _run(Packed net, Tape tape, object lengths) except -1:
    # A forward call whose arrays are known.
    cdef Job* job = &tape.job
    cdef Py_ssize_t T = job.T, B = job.B, size = net.itemsize, H = net.hidden, K = net.recurrent
    cdef Py_ssize_t parts = net.layers * net.directions, panels
    cdef int team
    cdef char* at
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
    job.gather_x = job.training or lengths is not None
    panels = rnnfast_panels(H, net.info.gates, net.kernels.lanes)
    job.ldp = panels * RNNFAST_VECTORS * net.kernels.lanes
    if (T > 1 and (B if job.shared else B // team) <= thresholds.few_rows
            and net.info.gates * H * (net.parts[0].input + K) * size >= thresholds.cached_weights):
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
            _forward_member(job, net, 0, 1)
    else:
        with nogil, parallel(num_threads=team):
            _forward_member(job, net, omp_get_thread_num(), omp_get_num_threads())
    return _raise_pending(job)


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


def infer(Packed packed, x, h0, c0, int axes, bint batch_first):
    """Inference the short way: for arrays that need neither checks nor copies.

    Parameters
    ----------
    packed : Packed
    x : (T, B, I) array, (B, T, I) with `batch_first`, or (B, I), one step, if `axes` is 2
    h0 : (L*D, B, K) array or None
    c0 : (L*D, B, H) array or None
    axes : {2, 3}
        How many axes x should have.
    batch_first : bool

    Returns
    -------
    y, h_n, c_n : array like x with D*K columns, (L*D, B, K), and (L*D, B, H) or None
        New arrays; or None in place of the three where an array is empty or not C-contiguous,
        aligned, in native byte order and of the shape and dtype above, or for one step in two
        directions.
    """
    cdef Packed net = packed
    cdef Tape tape
    cdef Job* job
    cdef cnp.npy_intp dims[3]
    cdef cnp.npy_intp* shape
    cdef Py_ssize_t parts = net.layers * net.directions, width = net.directions * net.recurrent
    cdef Py_ssize_t I = net.parts[0].input, T = 1, B
    if (not cnp.PyArray_CheckExact(x) or cnp.PyArray_NDIM(x) != axes or cnp.PyArray_SIZE(x) == 0
            or cnp.PyArray_TYPE(x) != net.typenum or not cnp.PyArray_ISCARRAY_RO(x)
            or (axes == 2 and net.directions == 2)):
        return None
    shape = cnp.PyArray_DIMS(x)
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
    dims[2] = net.hidden
    c_n = cnp.PyArray_SimpleNew(3, dims, net.typenum) if net.info.has_cell_state else None
    tape = Tape.__new__(Tape)
    job = &tape.job
    job.T, job.B = T, B
    job.x, job.y = <char*>cnp.PyArray_DATA(x), <char*>cnp.PyArray_DATA(y)
    job.x_time, job.x_row = (I, T * I) if batch_first else (B * I, I)
    job.y_time, job.y_row = (width, T * width) if batch_first else (B * width, width)
    job.h0 = NULL if h0 is None else <char*>cnp.PyArray_DATA(h0)
    job.c0 = NULL if c0 is None else <char*>cnp.PyArray_DATA(c0)
    job.hn = <char*>cnp.PyArray_DATA(h_n)
    job.cn = NULL if c_n is None else <char*>cnp.PyArray_DATA(c_n)
    _run(net, tape, None)
    return y, h_n, c_n


def forward(Packed packed, x, h0, c0, lengths, masks, y, h_n, c_n, bint training):
    """Run all layers and directions over all steps.

    Parameters
    ----------
    packed : Packed
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
    cdef Packed net = packed
    cdef Tape tape = Tape.__new__(Tape)
    cdef Job* job = &tape.job
    cdef Py_ssize_t T = x.shape[0], B = x.shape[1], H = net.hidden
    cdef Py_ssize_t parts = net.layers * net.directions, K = net.recurrent
    job.T, job.B, job.training = T, B, training
    job.x = strided(x, net, T, B, net.parts[0].input, "x", &job.x_time, &job.x_row)
    job.y = strided(y, net, T, B, net.directions * K, "y", &job.y_time, &job.y_row)
    job.h0 = contiguous(h0, net, parts * B * K, "h0")
    job.c0 = contiguous(c0, net, parts * B * H, "c0")
    job.hn = contiguous(h_n, net, parts * B * K, "h_n")
    job.cn = contiguous(c_n, net, parts * B * H, "c_n")
    job.masks = contiguous(masks, net, (net.layers - 1) * T * B * net.directions * K, "masks")
    tape.masks = masks
    if training and not net.training:
        raise ValueError("these weights were packed for inference only")

    _run(net, tape, lengths)
    return tape if training else None


def gates(Packed packed, Tape tape):
    """What the gates of an LSTM or a GRU did in a call of `forward`.

    Parameters
    ----------
    packed : Packed
        The weights that `forward` was given.
    tape : Tape
        That no `backward` has used.

    Returns
    -------
    (L*D, G, T, B, H) array
        In PyTorch's order of gates; zero past the end of a sample.
    """
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
    """Back-propagation through time. Uses the tape up.

    Parameters
    ----------
    packed : Packed
        The weights that `forward` was given.
    tape : Tape
    dy : (T, B, D*K) array or None
        Gradient of `y`; None: zeros. Strides as `x` in `forward`.
    dh_n, dc_n : arrays like `h_n`, `c_n`, or None
    dx : (T, B, I) array or None
        Written; None: not wanted.
    dh0, dc0 : arrays like `h_n`, `c_n`, or None
        Written; None: not wanted.
    grads : list of L*D tuples like `weights` of `pack`, or None
        Added into; None: not wanted.
    """
    cdef Packed net = packed
    cdef Job* job = &tape.job
    cdef Py_ssize_t T = job.T, B = job.B, size = net.itemsize, H = net.hidden, K = net.recurrent
    cdef Py_ssize_t parts = net.layers * net.directions, i, GH = net.info.gates * H
    cdef int team, side
    cdef double work = 0  # multiply-adds of the weight gradients
    cdef rnnfast_outer o
    cdef char* at = NULL
    cdef char* block
    if job.used:
        raise RuntimeError("this tape was used by an earlier backward; run forward again")
    job.dy = strided(dy, net, T, B, net.directions * K, "dy", &job.dy_time, &job.dy_row)
    job.dx = strided(dx, net, T, B, net.parts[0].input, "dx", &job.dx_time, &job.dx_row)
    job.dhn = contiguous(dh_n, net, parts * B * K, "dh_n")
    job.dcn = contiguous(dc_n, net, parts * B * H, "dc_n")
    job.dh0 = contiguous(dh0, net, parts * B * K, "dh0")
    job.dc0 = contiguous(dc0, net, parts * B * H, "dc0")
    job.want_dx, job.want_grads = dx is not None, grads is not None
    if grads is not None:
        for i in range(parts):
            w_ih, w_hh, b_ih, b_hh, w_hr = grads[i]
            job.grads[5 * i] = contiguous(w_ih, net, GH * net.parts[i].input, "grad of weight_ih")
            job.grads[5 * i + 1] = contiguous(w_hh, net, GH * K, "grad of weight_hh")
            job.grads[5 * i + 2] = contiguous(b_ih, net, GH, "grad of bias_ih")
            job.grads[5 * i + 3] = contiguous(b_hh, net, GH, "grad of bias_hh")
            job.grads[5 * i + 4] = contiguous(w_hr, net, net.projection * H, "grad of weight_hr")
    job.ldy = rnnfast_stride(net.directions * K, size)
    team = team_for(job, net)
    job.sums_bytes = 0
    for i in range(parts if job.want_grads else 0):
        for side in range(1 if narrow(net, i) else 0, 3 if net.projection else 2):
            o = _weight_gradient(job, net, i, side)
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
            _backward_member(job, net, 0, 1)
    else:
        with nogil, parallel(num_threads=team):
            _backward_member(job, net, omp_get_thread_num(), omp_get_num_threads())
    k.give(block)
    _raise_pending(job)
