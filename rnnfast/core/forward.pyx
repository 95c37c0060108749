# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The forward pass of one thread: its rows through all layers, directions and steps."""

from libc.string cimport memset

from rnnfast.core cimport kernels as k
from rnnfast.core.job cimport (
    Job, Member, State, Zone, copy_row, drops_of, mask_of, member_of, row_at, sample_of, share,
    stopped, thresholds, wait, zone_of,
)
from rnnfast.core.kernels cimport (
    RNNFAST_VECTORS, rnnfast_kernels, rnnfast_masked, rnnfast_matmul, rnnfast_norm, rnnfast_panels,
    rnnfast_step,
)
from rnnfast.core.packed cimport Packed, Part, abreast


cdef void _zone_out(const Job* job, Packed net, const Zone* zone, int index, Py_ssize_t t, char* to,
                    const char* fresh, const char* old, Py_ssize_t ld, Py_ssize_t b0, Py_ssize_t b1,
                    Py_ssize_t u0, Py_ssize_t u1, Py_ssize_t columns) noexcept nogil:
    # to = share old + (1 - share) fresh, columns [u0, u1) of rows [b0, b1).
    cdef rnnfast_masked m
    m.columns, m.to, m.fresh, m.old, m.ld = columns, to, fresh, old, ld
    m.mask, m.ldm, m.mask_row = zone_of(net, zone, index, t), zone.row, job.sample
    net.kernels.mask_rows(&m, b0, b1, u0, u1)


cdef void _drop(const Job* job, Packed net, int index, Py_ssize_t place, Py_ssize_t b0,
                Py_ssize_t b1, Py_ssize_t u0, Py_ssize_t u1) noexcept nogil:
    # The h at a place times the mask of recurrent dropout, for columns [u0, u1) of rows [b0, b1).
    cdef rnnfast_masked m
    cdef Py_ssize_t at = place * job.B * job.ldh * net.itemsize
    m.columns, m.ld, m.old = net.recurrent, job.ldh, NULL
    m.to, m.fresh = job.states[index].dropped + at, job.states[index].h + at
    m.mask, m.ldm, m.mask_row = drops_of(job, net, index), net.recurrent, job.sample
    net.kernels.mask_rows(&m, b0, b1, u0, u1)


cdef void _start_state(Job* job, Packed net, Member* me, int index, int reverse) noexcept nogil:
    # Copies the initial state to the place before the first step of each row.
    cdef Py_ssize_t r, place, K = net.recurrent, H = net.hidden, size = net.itemsize
    cdef State* state = job.states + index
    for r in range(me.o0, me.o1):
        place = job.length[r] % job.places if reverse else 0
        copy_row(state.h + (place * job.B + r) * job.ldh * size,
                  NULL if job.h0 == NULL else job.h0 + (index * job.B + sample_of(job, r)) * K * size,
                  K * size)
        if job.drops != NULL:
            _drop(job, net, index, place, r, r + 1, 0, K)
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
    # Copies rows of x to the array of the first layer, whose steps count from `origin`.
    cdef Py_ssize_t t, r, I = net.parts[0].input, size = net.itemsize
    for t in range(t0, t1):
        for r in range(me.o0, min(me.o1, job.active[t])):
            copy_row(job.inputs[0] + ((t - origin) * job.B + r) * job.input_row[0] * size,
                      job.x + row_at(job, t, r, job.x_time, job.x_row) * size, I * size)


cdef void _input_product(const Job* job, Packed net, const Member* me, int layer, rnnfast_step* step,
                         int gates, const char* x, char* to, Py_ssize_t ta, Py_ssize_t tb,
                         Py_ssize_t p0, Py_ssize_t p1) noexcept nogil:
    # x W_x + b of steps [ta, tb) and panels [p0, p1), to rows ldp apart.
    cdef Py_ssize_t size = net.itemsize, t, p
    step.product = NULL
    if (job.sample == NULL and me.b0 == 0 and me.b1 == job.B
            and job.input_time[layer] == job.B * job.input_row[layer]):
        step.x = x + ta * job.input_time[layer] * size
        step.gates = to
        net.kernels.input_product(step, gates, 0, (tb - ta) * job.B, p0, p1)
        return
    for p in range(p0, p1):
        for t in range(ta, tb):
            step.x = x + t * job.input_time[layer] * size
            step.gates = to + (t - ta) * job.B * job.ldp * size
            net.kernels.input_product(step, gates, me.b0, min(me.b1, job.active[t]), p, p + 1)


cdef void _hand_on(Job* job, Packed net, int layer, int direction, const char* h, Py_ssize_t t,
                   Py_ssize_t b0, Py_ssize_t b1, Py_ssize_t u0, Py_ssize_t u1) noexcept nogil:
    # Copies columns [u0, u1) of h to where the next layer, or the caller, reads them.
    cdef Py_ssize_t r, K = net.recurrent, size = net.itemsize, bytes = (u1 - u0) * size
    cdef int top = layer == net.layers - 1
    cdef char* to
    if not top and job.inputs[layer + 1] == job.states[layer * net.directions].h + job.B * job.ldh * size:
        return  # the next layer reads the history of this one in place
    for r in range(b0, b1):
        if top:
            to = job.y + (row_at(job, t, r, job.y_time, job.y_row) + direction * K + u0) * size
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
    cdef int together = abreast(net.info)
    cdef int reverse = direction, gather = layer == 0 and job.gather_x and not (
        job.training and direction)
    cdef Part* part = net.parts + index
    cdef State* state = job.states + index
    cdef rnnfast_step step, first
    cdef rnnfast_norm norm
    cdef rnnfast_matmul project
    cdef char* fed = state.dropped if job.drops != NULL else state.h
    cdef Py_ssize_t panels = rnnfast_panels(H, together, kn.lanes), p0, p1, q0 = 0, q1 = 0
    cdef Py_ssize_t s0 = 0, s1 = 0
    cdef Py_ssize_t units = kn.lanes * (RNNFAST_VECTORS if together == 1 else 1)
    cdef Py_ssize_t done, t, ta, tb, n, before, after, kept, origin = 0, i, b1
    # What this member writes at a step: rows [r0, r1), and these columns of the cell's output and of h.
    cdef Py_ssize_t r0, r1, cell_u0, cell_u1, out_u0, out_u1
    cdef double work = <double>gates * H * (part.input + K) * (me.b1 - me.b0)
    cdef char* x
    cdef char* h_out
    cdef char* c_out = NULL
    p0, p1 = share(panels, me.i, me.n), share(panels, me.i + 1, me.n)
    cell_u0, cell_u1 = min(p0 * units, H), min(p1 * units, H)
    if part.gamma != NULL:  # a member normalises whole rows
        cell_u0, cell_u1 = 0, H
    out_u0, out_u1 = cell_u0, cell_u1
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
    step.weight_x, step.weight_h, step.bias = part.weight_x.data, part.weight_h.data, part.bias.data
    step.ldh_out = job.ldc if net.projection else job.ldh
    if net.info.reset_before:  # r and z
        first = step
        first.hidden = 2 * job.slot
        first.weight_x, first.weight_h = part.reset_x.data, part.reset_h.data
        first.bias = part.bias.data + job.slot * size
        i = rnnfast_panels(first.hidden, 1, kn.lanes)
        s0, s1 = share(i, me.i, me.n), share(i, me.i + 1, me.n)
    memset(&project, 0, sizeof(project))
    project.lda, project.n_runs, project.run_length = job.ldc, 1, H
    project.weight, project.ldo, project.n_out = part.weight_r.data, job.ldh, K
    memset(&norm, 0, sizeof(norm))
    norm.hidden, norm.gamma, norm.beta, norm.ld = H, part.gamma, part.beta, job.ldg

    _start_state(job, net, me, index, reverse)
    wait(job, me)
    done = 0
    while done < T:
        # A chunk of steps: first gathers its inputs and, if that pays, forms their product.
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
            _input_product(job, net, me, layer, &step, together, x, job.product, ta, tb, p0, p1)
            if net.info.reset_before:
                _input_product(job, net, me, layer, &first, 1, x, job.product + job.slot * size, ta,
                               tb, s0, s1)
        for i in range(n):
            t = tb - 1 - i if reverse else ta + i
            if job.active[t] <= me.b0:
                continue
            before, after = t + reverse, t + 1 - reverse
            before, after = before % job.places, after % job.places
            kept = t if job.training else 0
            step.x = x + t * job.input_time[layer] * size
            if job.product != NULL:
                step.product = job.product + (t - ta) * B * job.ldp * size
            step.h = fed + before * B * job.ldh * size
            step.h_prev = state.h + before * B * job.ldh * size
            if job.zone_h.share != NULL:
                step.h_out = state.fresh_h + kept * B * job.ldh * size
            else:
                step.h_out = state.h + after * B * job.ldh * size
            if net.info.has_cell_state:
                if job.training:
                    step.c = state.c + before * B * job.ldc * size
                    step.c_out = state.c + after * B * job.ldc * size
                else:
                    step.c = step.c_out = state.c
            if job.zone_c.share != NULL:
                c_out = <char*>step.c_out
                step.c_out = state.fresh_c + kept * B * job.ldc * size
            h_out = <char*>step.h_out
            if net.projection:
                project.out = h_out
                step.h_out = state.m + kept * B * job.ldc * size
                project.a = step.h_out
            b1 = me.b0 if stopped(job, me, work) else min(me.b1, job.active[t])
            r0, r1 = me.b0, b1
            if net.info.reset_before:
                first.x, first.h, first.product = step.x, step.h, step.product
                if step.product != NULL:
                    first.product = <char*>step.product + job.slot * size
                first.gates = state.gates + (kept * B * job.ldg + job.slot) * size
                step.h = first.h_out = state.reset + kept * B * job.ldh * size
                kn.reset_forward(&first, me.b0, b1, s0, s1)
                wait(job, me)
            if part.gamma != NULL:
                norm.normal = state.normal + kept * B * job.ldg * size
                norm.rstd = state.rstd + kept * B * net.info.slots * size
                step.gates = norm.normal
                kn.slot_sums(&step, together, me.b0, b1, p0, p1)
                wait(job, me)
                r0 = me.b0 + share(b1 - me.b0, me.i, me.n)
                r1 = me.b0 + share(b1 - me.b0, me.i + 1, me.n)
            step.gates = NULL
            if state.gates != NULL:
                step.gates = state.gates + kept * B * job.ldg * size
            if part.gamma != NULL:
                kn.cell[net.cell].norm_forward(&step, &norm, r0, r1)
            else:
                kn.cell[net.cell].forward(&step, me.b0, b1, p0, p1)
            if job.zone_c.share != NULL:
                _zone_out(job, net, &job.zone_c, index, t, c_out, <char*>step.c_out,
                          <char*>step.c, job.ldc, r0, r1, cell_u0, cell_u1, H)
            if net.projection:
                wait(job, me)
                kn.matmul(&project, me.b0, b1, q0, q1)
                r0, r1 = me.b0, b1
            if job.zone_h.share != NULL:
                _zone_out(job, net, &job.zone_h, index, t, state.h + after * B * job.ldh * size, h_out,
                          <char*>step.h_prev, job.ldh, r0, r1, out_u0, out_u1, K)
            if job.drops != NULL:
                _drop(job, net, index, after, r0, r1, out_u0, out_u1)
            _hand_on(job, net, layer, direction, state.h + after * B * job.ldh * size, t,
                     r0, r1, out_u0, out_u1)
            wait(job, me)
    _final_state(job, net, me, index, reverse)


cdef void forward_member(Job* job, Packed net, int index, int count) noexcept nogil:
    cdef Member me = member_of(job, index, count)
    cdef Py_ssize_t r, t, width = net.directions * net.recurrent * net.itemsize
    cdef int layer, direction
    me.fp = k.fp_enter()
    for layer in range(net.layers):
        for direction in range(net.directions):
            _forward_layer(job, net, &me, layer, direction)
        wait(job, &me)
    if job.sample != NULL and not job.packed:
        for r in range(me.o0, me.o1):
            for t in range(job.length[r], job.T):
                memset(job.y + row_at(job, t, r, job.y_time, job.y_row) * net.itemsize, 0, width)
    k.fp_leave(me.fp)
