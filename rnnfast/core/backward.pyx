# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The backward pass of one thread: BPTT for its rows, then its tiles of the weight gradients."""

from libc.string cimport memset

from rnnfast.core cimport kernels as k
from rnnfast.core.gradient cimport Rows, sum_narrow, sum_tiles, tiles_end, tiles_of
from rnnfast.core.job cimport (
    Job, Member, State, barrier_wait, copy_row, drops_of, flag_raised, mask_of, member_of,
    narrow, products, row_at, sample_of, share, stopped, thresholds, wait, zone_of,
)
from rnnfast.core.kernels cimport (
    RNNFAST_VECTORS, rnnfast_backstep, rnnfast_cell, rnnfast_kernels, rnnfast_matmul, rnnfast_norm,
    rnnfast_outer, rnnfast_panels,
)
from rnnfast.core.packed cimport (
    B_HH, B_IH, B_LN, W_HH, W_HR, W_IH, W_LN, WEIGHTS, Packed, Part, norm_slot,
)

cdef enum:
    ROWS_AT_ONCE = 4096


cdef void _add_outside(Job* job, Packed net, int layer, int direction, const char* dy_below,
                       Py_ssize_t t, Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t starting,
                       Py_ssize_t u0, Py_ssize_t u1, char* to) noexcept nogil:
    # Columns [u0, u1) of the gradient of h at step t from the layer above, or the caller, plus that of
    # the final state for rows from `starting` on, whose last step this is.
    cdef Py_ssize_t r, K = net.recurrent, size = net.itemsize, bytes = (u1 - u0) * size
    cdef int top = layer == net.layers - 1, index = layer * net.directions + direction
    cdef char* row
    cdef const char* source
    for r in range(b0, b1):
        row = to + (r * job.ldh + u0) * size
        if top:
            source = NULL if job.dy == NULL else job.dy + (
                row_at(job, t, r, job.dy_time, job.dy_row) + direction * K + u0) * size
        else:
            source = dy_below + ((t * job.B + r) * job.ldy + direction * K + u0) * size
        copy_row(row, source, bytes)
        if not top and job.masks != NULL:
            net.kernels.multiply(row, mask_of(job, net, layer, t, r, direction) + u0 * size, u1 - u0)
        if r >= starting and job.dhn != NULL:
            net.kernels.add(row, 1, job.dhn + ((index * job.B + sample_of(job, r)) * K + u0) * size,
                            u1 - u0)


cdef void _two_parts(void (*run)(const rnnfast_backstep*, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                 Py_ssize_t) noexcept nogil,
                     rnnfast_backstep* step, const char* next, Py_ssize_t b0, Py_ssize_t starting,
                     Py_ssize_t b1, Py_ssize_t p0, Py_ssize_t p1) noexcept nogil:
    # Runs rows [b0, starting) with `next`, the gradients of the following step, the others without.
    step.next = next
    if starting > b0:
        run(step, b0, starting, p0, p1)
    step.next = NULL
    run(step, starting, b1, p0, p1)


cdef void _backward_layer(Job* job, Packed net, Member* me, int layer, int direction) noexcept nogil:
    cdef const rnnfast_kernels* kn = net.kernels
    cdef Py_ssize_t H = net.hidden, K = net.recurrent, size = net.itemsize, T = job.T, B = job.B
    cdef int index = layer * net.directions + direction, gates = net.info.gates
    cdef int reverse = direction
    cdef Part* part = net.parts + index
    cdef State* state = job.states + index
    cdef rnnfast_backstep step, recurrence, reset
    cdef rnnfast_backstep* zoned = &recurrence if net.projection else &step
    cdef Py_ssize_t panels = rnnfast_panels(H, 1, kn.lanes), p0, p1, q0, q1, u0, u1, v0, v1
    cdef Py_ssize_t unit = kn.lanes * RNNFAST_VECTORS
    cdef Py_ssize_t i, t, r, n, starting, ending, before, after, follower
    cdef int runs = gates - net.info.reset_before  # of dgates in the product for h itself
    cdef char* recurrent = state.gates + (net.info.h_slot + gates - runs) * job.slot * size
    cdef char* outside = job.outside
    cdef char* dh0
    cdef const char* next
    cdef rnnfast_norm norm
    cdef double work = <double>gates * H * K * (me.b1 - me.b0)
    p0, p1 = share(panels, me.i, me.n), share(panels, me.i + 1, me.n)
    u0, u1 = min(p0 * unit, H), min(p1 * unit, H)
    panels = rnnfast_panels(K, 1, kn.lanes)
    q0, q1 = share(panels, me.i, me.n), share(panels, me.i + 1, me.n)
    v0, v1 = min(q0 * unit, K), min(q1 * unit, K)

    # dh through the recurrence: dgates of the following step times W_hh. Without a projection the
    # kernel of the cell forms it.
    memset(&recurrence, 0, sizeof(recurrence))
    recurrence.hidden, recurrence.carries_dh = K, net.info.carries_dh
    recurrence.fetch = gates * H * K * size // me.n >= thresholds.cached_weights
    recurrence.ldh, recurrence.ldc, recurrence.ldg, recurrence.ldk = job.ldh, job.ldc, job.ldg, job.ldc
    recurrence.dh_in, recurrence.ldd, recurrence.carry = outside, job.ldh, job.carry
    recurrence.ldn, recurrence.n_runs, recurrence.run_length = job.ldg, runs, H
    recurrence.run_pitch, recurrence.weight_h = job.slot, part.weight_ht.data
    recurrence.mask_row, recurrence.kept_h, recurrence.kept_c = job.sample, job.kept_h, job.kept_c
    recurrence.ld_zone_h, recurrence.ld_zone_c = job.zone_h.row, job.zone_c.row
    if job.drops != NULL:
        recurrence.drop, recurrence.ld_drop = drops_of(job, net, index), K
    step = recurrence
    step.hidden = H
    if net.projection:
        step.dh_in, step.ldd, step.drop = job.zeros, 0, NULL
        step.ldn, step.n_runs, step.run_length = job.ldh, 1, K
        step.weight_h = part.weight_rt.data
    reset = step  # the gradient of r h, through the part of W_hh for n
    reset.dh_in, reset.ldd, reset.n_runs, reset.weight_h = job.zeros, 0, 1, part.reset_ht.data
    memset(&norm, 0, sizeof(norm))
    norm.hidden, norm.gamma, norm.ld = H, part.gamma, job.ldg
    norm.dgamma, norm.dbeta = state.dgamma, state.dbeta

    for r in range(me.o0, me.o1):
        if job.kept_h != NULL:
            copy_row(job.kept_h + r * job.ldh * size, NULL, K * size)
        if state.dgamma != NULL:
            copy_row(state.dgamma + r * job.ldg * size, NULL, job.ldg * size)
            copy_row(state.dbeta + r * job.ldg * size, NULL, job.ldg * size)
        copy_row(job.carry + r * job.ldc * size,
                  NULL if job.dcn == NULL
                  else job.dcn + (index * B + sample_of(job, r)) * H * size, H * size)
        if job.length[r] == 0 and job.dh0 != NULL:  # no steps: the state passes through
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
        # Rows from `starting` on have their last step here, rows from `ending` on their first, in the
        # order of the forward pass.
        if reverse:
            starting = me.b0 if t == 0 else n
            ending = max(me.b0, min(n, job.active[t + 1]))
        else:
            starting = max(me.b0, min(n, job.active[t + 1]))
            ending = me.b0 if t == 0 else n
        step.gates = state.gates + t * B * job.ldg * size
        step.h_prev = state.h + before * B * job.ldh * size
        step.h = state.h + after * B * job.ldh * size
        if job.zone_h.share != NULL:
            step.h = state.fresh_h + t * B * job.ldh * size
        if net.info.has_cell_state:
            step.c_prev = state.c + before * B * job.ldc * size
            step.c = state.c + after * B * job.ldc * size
        if job.zone_c.share != NULL:
            step.c = state.fresh_c + t * B * job.ldc * size
            step.zone_c = zone_of(net, &job.zone_c, index, t)
        if job.zone_h.share != NULL:
            zoned.zone_h = zone_of(net, &job.zone_h, index, t)
        if net.projection:
            outside = state.dh + t * B * job.ldh * size
        _add_outside(job, net, layer, direction, job.between[(layer + 1) & 1], t, me.b0, n, starting,
                     v0 if net.projection else u0, v1 if net.projection else u1, outside)
        next = recurrent + follower * B * job.ldg * size
        if net.projection:
            recurrence.dh_in = recurrence.dh = outside
            recurrence.ldd = job.ldh
            _two_parts(kn.recurrent_gradient, &recurrence, next, me.b0, starting, n, q0, q1)
            wait(job, me)
        if not stopped(job, me, work):
            if net.projection:
                step.next = outside
                kn.cell[net.cell].backward(&step, me.b0, n, p0, p1)
            else:
                _two_parts(kn.cell[net.cell].backward, &step, next, me.b0, starting, n, p0, p1)
        wait(job, me)
        if net.info.reset_before:
            reset.next = reset.gates = step.gates
            reset.h_prev = step.h_prev
            if not flag_raised(&job.stop):
                kn.reset_backward(&reset, me.b0, n, p0, p1)
            wait(job, me)
        if part.gamma != NULL:
            norm.normal = state.normal + t * B * job.ldg * size
            norm.rstd = state.rstd + t * B * net.info.slots * size
            norm.gates = step.gates
            kn.norm_backward(&norm, net.info.slots, me.b0 + share(n - me.b0, me.i, me.n),
                             me.b0 + share(n - me.b0, me.i + 1, me.n))
            wait(job, me)
        if ending < n and job.dh0 != NULL:
            # dh0 = dgates W_hh, plus for a GRU the part that bypasses the gates, plus that of zoneout.
            recurrence.dh_in, recurrence.ldd = job.zeros, 0
            if net.info.carries_dh:
                recurrence.dh_in, recurrence.ldd = job.carry, job.ldc
            recurrence.dh, recurrence.zone_h = job.outside, NULL
            recurrence.next = recurrent + t * B * job.ldg * size
            kn.recurrent_gradient(&recurrence, ending, n, q0, q1)
            for r in range(ending, n):
                dh0 = job.dh0 + ((index * B + sample_of(job, r)) * K + v0) * size
                copy_row(dh0, job.outside + (r * job.ldh + v0) * size, (v1 - v0) * size)
                if job.kept_h != NULL:
                    kn.add(dh0, 1, job.kept_h + (r * job.ldh + v0) * size, v1 - v0)
    wait(job, me)
    if job.dc0 != NULL:
        for r in range(me.o0, me.o1):
            copy_row(job.dc0 + (index * B + sample_of(job, r)) * H * size,
                      job.carry + r * job.ldc * size, H * size)
    wait(job, me)


cdef void _input_gradient(Job* job, Packed net, Member* me, int layer, int direction) noexcept nogil:
    # dgates W_ih for all steps, to the layer below or to the caller's dx.
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
    m.weight, m.n_out, m.accumulate = part.weight_xt.data, part.input, direction
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
                m.a = a + t * job.B * job.ldg * size
                m.out = out + (t * out_time + (0 if layer else job.start[t] * m.ldo)) * size
                if not stopped(job, me, work / panels):
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
    # Gradients of the biases, as the product with a column of ones, and of W_ih for narrow inputs.
    cdef const rnnfast_kernels* kn = net.kernels
    cdef const rnnfast_cell* info = net.info
    cdef Py_ssize_t size = net.itemsize, H = net.hidden, width = info.slots * job.slot
    cdef Py_ssize_t panel = kn.lanes * RNNFAST_VECTORS, panels = (width + panel - 1) // panel
    cdef Py_ssize_t c0 = min(width, share(panels, me.index, me.count) * panel)
    cdef Py_ssize_t c1 = min(width, share(panels, me.index + 1, me.count) * panel)
    cdef Py_ssize_t I = narrow(net, index), c, n, i
    cdef int layer = index // net.directions, s, row
    cdef char* sums = job.states[index].sums
    cdef char** grads = job.grads + WEIGHTS * index
    cdef State* state = job.states + index
    cdef const char* g = state.gates + c0 * size
    cdef char* dgamma = sums + (I + 1) * width * size
    cdef char* dbeta = sums + (I + 2) * width * size
    cdef Rows one  # one step: the gradients of the normalisation are already sums over time
    if not I and grads[B_IH] == NULL and grads[B_HH] == NULL and state.dgamma == NULL:
        return
    if form:
        for i in range(I + (1 if state.dgamma == NULL else 3)):
            memset(sums + (i * width + c0) * size, 0, (c1 - c0) * size)
        if state.dgamma != NULL:
            one.T, one.B, one.active = 1, job.B, &job.B
            sum_narrow(kn, NULL, 0, 1, state.dgamma + c0 * size, job.ldg, &one, c1 - c0,
                       dgamma + c0 * size, width)
            sum_narrow(kn, NULL, 0, 1, state.dbeta + c0 * size, job.ldg, &one, c1 - c0,
                       dbeta + c0 * size, width)
        sum_narrow(kn, NULL, 0, 1, g, job.ldg, rows, c1 - c0, sums + c0 * size, width)
        sum_narrow(kn, job.inputs[layer], job.input_row[layer], I, g, job.ldg, rows, c1 - c0,
                   sums + (width + c0) * size, width)
    for s in range(info.slots if add else 0):
        c = max(c0, s * job.slot)
        n = min(c1, s * job.slot + H) - c
        if n <= 0:
            continue
        row = norm_slot(info, s) * H + c - s * job.slot
        if grads[W_LN] != NULL:
            kn.add(grads[W_LN] + row * size, 1, dgamma + c * size, n)
        if grads[B_LN] != NULL:
            kn.add(grads[B_LN] + row * size, 1, dbeta + c * size, n)
        row = info.order[s] * H + c - s * job.slot
        if info.x_slot <= s < info.x_slot + info.gates:
            for i in range(I):
                kn.add(grads[W_IH] + (row * I + i) * size, I, sums + ((i + 1) * width + c) * size, n)
            if grads[B_IH] != NULL:
                kn.add(grads[B_IH] + row * size, 1, sums + c * size, n)
        if grads[B_HH] != NULL and info.h_slot <= s < info.h_slot + info.gates:
            kn.add(grads[B_HH] + row * size, 1, sums + c * size, n)


cdef void backward_member(Job* job, Packed net, int index, int count) noexcept nogil:
    cdef Member me = member_of(job, index, count)
    cdef int layer, direction
    cdef Py_ssize_t r, t, size = net.itemsize
    me.fp = k.fp_enter()
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
    k.fp_leave(me.fp)
