# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The phases of a step: the cell, and each option, its forward above its backward.

A function `_plan_NAME` enters the phase and the pointers that move; `_NAME` runs it for one step.
"""

from libc.string cimport memset

from rnnfast.core.arrays cimport share_of
from rnnfast.core.job cimport (
    Job, State, Zone, copy_row, drops_of, entry_of, in_place, mask_of, prefetch_from, product_of,
    row_at,
)
from rnnfast.core.kernels cimport flag_raised, rnnfast_backstep, rnnfast_masked
from rnnfast.core.packed cimport BETA, GAMMA, OWN, Packed, step_inputs


cdef void plan_forward(Walk* w, Packed net) noexcept nogil:
    w.of_cell = columns_of(w, net, net.hidden, net.info.panel_gates)
    w.of_state = columns_of(w, net, net.recurrent, 1)
    _arrays_forward(w, net)
    if net.info.reset_before:
        _plan_reset_forward(w, net)
    if w.part.vectors[GAMMA] != NULL:
        _plan_norm_forward(w, net)
    else:
        then(w, _cell_forward, 0)
    if w.job.zone_c.share != NULL:
        _plan_zone_c_forward(w, net)
    if net.projection:
        _plan_projection_forward(w, net)
    if w.job.zone_h.share != NULL:
        _plan_zone_h_forward(w, net)
    if w.job.drops != NULL:
        _plan_dropout_forward(w, net)
    if w.layer == net.layers - 1 or not in_place(w.job, net):
        _plan_hand_on(w, net)
    if w.job.cuts != NULL:
        _plan_cut_forward(w, net)
    meet(w)


cdef void plan_backward(Walk* w, Packed net) noexcept nogil:
    w.of_cell = columns_of(w, net, net.hidden, 1)
    w.of_state = columns_of(w, net, net.recurrent, 1)
    _arrays_backward(w, net)
    then(w, _take_outside, 0)
    if w.job.cuts != NULL:
        _plan_restore(w, net)
    if net.projection:
        _plan_projection_backward(w, net)
    else:
        w.outside = w.job.outside
        then(w, _cell_backward, 1)
    if net.info.reset_before:
        _plan_reset_backward(w, net)
    if w.part.vectors[GAMMA] != NULL:
        _plan_norm_backward(w, net)
    if w.job.cuts != NULL:
        then(w, _cut_backward, 0)
    if w.job.dh0 != NULL:
        _plan_initial_backward(w, net)
    if w.job.zone_h.share != NULL or w.job.zone_c.share != NULL:  # last, as the others copy `back`
        _plan_zoneout_backward(w, net)
    if w.job.cuts != NULL:
        follow(w, <void**>&_forms_dh(w, net).cut, <char*>w.job.cuts, AFTER, _cut_pitch(w))


cdef inline Py_ssize_t _pitch(const Walk* w, Packed net, Py_ssize_t ld) noexcept nogil:
    # Bytes from one step to the next.
    return w.job.B * ld * net.itemsize


cdef inline Py_ssize_t _kept(const Walk* w, Packed net, Py_ssize_t ld) noexcept nogil:
    # The same for an array that inference needs for one step only.
    return _pitch(w, net, ld) if w.job.training else 0


cdef inline void _follow_made(Walk* w, Packed net, void** pointer, char* fresh, char* history,
                              Py_ssize_t ld, Py_ssize_t pitch) noexcept nogil:
    # What the cell makes: part of the history, unless zoneout is to mix it into that.
    if fresh != NULL:
        follow(w, pointer, fresh, STEP, _kept(w, net, ld))
    else:
        follow(w, pointer, history, AFTER, pitch)


cdef inline void _wrote(Walk* w, Py_ssize_t r0, Py_ssize_t r1, Columns columns) noexcept nogil:
    w.r0, w.r1, w.wrote = r0, r1, columns


# ---- the cell

cdef void _arrays_forward(Walk* w, Packed net) noexcept nogil:
    cdef Job* job = w.job
    cdef State* state = w.state
    cdef Py_ssize_t h = _pitch(w, net, job.ldh), H = net.hidden, K = net.recurrent
    memset(&w.step, 0, sizeof(w.step))
    w.step.input, w.step.recurrent, w.step.hidden = w.part.input, K, H
    w.step.fetch = prefetch_from(net.info.gates * H * step_inputs(net, w.index) * net.itemsize, w.me.n)
    w.step.ldx, w.step.ldh, w.step.ldc = job.input_row[w.layer], job.ldh, job.ldc
    w.step.ldg, w.step.ldp = job.ldg, job.ldp
    w.step.weight_x, w.step.weight_h = w.part.weight_x.data, w.part.weight_h.data
    w.step.bias = w.part.bias.data
    w.step.ldh_out = job.ldc if net.projection else job.ldh
    follow(w, <void**>&w.step.x, job.inputs[w.layer], INPUT, job.input_time[w.layer] * net.itemsize)
    if job.product != NULL:
        follow(w, <void**>&w.step.product, product_of(job, net, w.direction), CHUNK,
               _pitch(w, net, job.ldp))
    if net.info.carries_dh:
        follow(w, <void**>&w.step.h_prev, state.h, BEFORE, h)
    if net.info.reset_before:
        follow(w, <void**>&w.step.h, state.reset, STEP, _kept(w, net, job.ldh))
    else:
        follow(w, <void**>&w.step.h, _fed(w), BEFORE, h)
    if net.projection:
        follow(w, &w.step.h_out, state.m, STEP, _kept(w, net, job.ldc))
    else:
        _follow_made(w, net, &w.step.h_out, state.fresh_h, state.h, job.ldh, h)
    w.step.own = w.part.vectors[OWN]
    if net.info.has_cell_state:
        follow(w, <void**>&w.step.c, state.c, BEFORE, _kept(w, net, job.ldc))
        _follow_made(w, net, &w.step.c_out, state.fresh_c, state.c, job.ldc, _kept(w, net, job.ldc))
    if state.gates != NULL:
        follow(w, &w.step.gates, state.gates, STEP, _kept(w, net, job.ldg))


cdef void _cell_forward(Walk* w, Packed net) noexcept nogil:
    net.cell.forward(&w.step, w.me.b0, w.b1, w.of_cell.p0, w.of_cell.p1)
    _wrote(w, w.me.b0, w.b1, w.of_cell)


cdef void _arrays_backward(Walk* w, Packed net) noexcept nogil:
    # `back` forms dh from dgates of the following step times W_hh, then goes through the cell.
    cdef Job* job = w.job
    cdef State* state = w.state
    cdef rnnfast_backstep* back = &w.back
    cdef Py_ssize_t h = _pitch(w, net, job.ldh), c = _pitch(w, net, job.ldc)
    cdef Py_ssize_t gates = _pitch(w, net, job.ldg), H = net.hidden, K = net.recurrent
    memset(back, 0, sizeof(back[0]))
    back.hidden, back.carries_dh = K, net.info.carries_dh
    back.fetch = prefetch_from(net.info.gates * H * K * net.itemsize, w.me.n)
    back.ldh, back.ldc, back.ldg, back.ldk = job.ldh, job.ldc, job.ldg, job.ldc
    back.dh_in, back.ldd, back.carry = job.outside, job.ldh, job.carry
    back.n_runs, back.run_length = net.info.gates - net.info.reset_before, H
    back.ldn, back.run_pitch, back.weight_h = job.ldg, job.slot, w.part.weight_ht.data
    back.mask_row, back.kept_h, back.kept_c = job.sample, job.kept_h, job.kept_c
    if job.drops != NULL:
        back.drop, back.ld_drop = drops_of(job, net, w.index), K
    follow(w, &back.gates, state.gates, STEP, gates)
    follow(w, <void**>&w.next, _dgates(w, net), NEXT, gates)
    if net.info.carries_dh:
        follow(w, <void**>&back.h_prev, state.h, BEFORE, h)
    else:
        _follow_made(w, net, <void**>&back.h, state.fresh_h, state.h, job.ldh, h)
    back.own, back.d_own = w.part.vectors[OWN], state.dvectors[OWN]
    if net.info.has_cell_state:
        follow(w, <void**>&back.c_prev, state.c, BEFORE, c)
        _follow_made(w, net, <void**>&back.c, state.fresh_c, state.c, job.ldc, c)


cdef inline char* _dgates(const Walk* w, Packed net) noexcept nogil:
    # Those that W_hh multiplies to give dh of the step before.
    return w.state.gates + ((net.info.h_slot + net.info.reset_before) * w.job.slot * net.itemsize)


cdef void _in_two_parts(Walk* w, rnnfast_backstep* back, Columns columns,
                        void (*run)(const rnnfast_backstep*, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                    Py_ssize_t) noexcept nogil) noexcept nogil:
    # Rows that have a following step, then those that have not, or all where there is no product.
    cdef Py_ssize_t starting = w.me.b0
    if back.weight_h != NULL:
        starting = max(starting, min(w.b1, w.starting))
    back.next = w.next
    if starting > w.me.b0:
        run(back, w.me.b0, starting, columns.p0, columns.p1)
    back.next = NULL
    run(back, starting, w.b1, columns.p0, columns.p1)


cdef void _cell_backward(Walk* w, Packed net) noexcept nogil:
    if not w.stopped:
        _in_two_parts(w, &w.back, w.of_cell, net.cell.backward)


# ---- what stands around a layer: the layer above and the caller

cdef void _plan_hand_on(Walk* w, Packed net) noexcept nogil:
    # Where the layer above, or the caller, reads h. The cell writes it there, unless something else
    # makes h, or masks it, or rows are in another order there.
    cdef Job* job = w.job
    cdef int top = w.layer == net.layers - 1
    cdef char* to = job.y if top else job.inputs[w.layer + 1]
    cdef Py_ssize_t time = job.y_time if top else job.input_time[w.layer + 1]
    if (net.projection or job.zone_h.share != NULL
            or (job.sample != NULL if top else job.masks != NULL)):
        follow(w, <void**>&w.h, w.state.h, AFTER, _pitch(w, net, job.ldh))
        then(w, _hand_on, 0)
        return
    w.step.ldy = job.y_row if top else job.input_row[w.layer + 1]
    follow(w, &w.step.y, to + w.direction * net.recurrent * net.itemsize, STEP, time * net.itemsize)


cdef void _hand_on(Walk* w, Packed net) noexcept nogil:
    cdef Job* job = w.job
    cdef Py_ssize_t r, K = net.recurrent, size = net.itemsize
    cdef Py_ssize_t u0 = w.wrote.u0, bytes = (w.wrote.u1 - w.wrote.u0) * size
    cdef int layer = w.layer, top = layer == net.layers - 1
    cdef char* to
    for r in range(w.r0, w.r1):
        if top:
            to = job.y + (row_at(job, w.t, r, job.y_time, job.y_row) + w.direction * K + u0) * size
        else:
            to = job.inputs[layer + 1] + (w.t * job.input_time[layer + 1]
                                          + r * job.input_row[layer + 1] + w.direction * K + u0) * size
        copy_row(to, w.h + (r * job.ldh + u0) * size, bytes)
        if not top and job.masks != NULL:
            net.kernels.multiply(to, mask_of(job, net, layer, w.t, r, w.direction) + u0 * size,
                                 w.wrote.u1 - u0)


cdef void _take_outside(Walk* w, Packed net) noexcept nogil:
    # The gradient of h from the layer above, or the caller, plus that of the final state for rows whose
    # last step this is.
    cdef Job* job = w.job
    cdef Py_ssize_t r, K = net.recurrent, size = net.itemsize
    cdef Py_ssize_t u0 = w.of_state.u0, n = w.of_state.u1 - w.of_state.u0
    cdef int top = w.layer == net.layers - 1
    cdef const char* above = job.between[(w.layer + 1) & 1]
    cdef const char* source
    cdef char* row
    for r in range(w.me.b0, w.b1):
        row = w.outside + (r * job.ldh + u0) * size
        if top:
            source = NULL if job.dy == NULL else job.dy + (
                row_at(job, w.t, r, job.dy_time, job.dy_row) + w.direction * K + u0) * size
        else:
            source = above + ((w.t * job.B + r) * job.ldy + w.direction * K + u0) * size
        copy_row(row, source, n * size)
        if not top and job.masks != NULL:
            net.kernels.multiply(
                row, mask_of(job, net, w.layer, w.t, r, w.direction) + u0 * size, n)
        if r >= w.starting and job.dhn != NULL:
            net.kernels.add(row, 1, entry_of(job, net, job.dhn, w.index, r, K) + u0 * size, n)


cdef void _plan_initial_backward(Walk* w, Packed net) noexcept nogil:
    # dh0 = dgates W_hh, plus for a GRU the part that bypasses the gates, plus that of zoneout.
    w.initial = w.through if net.projection else w.back
    w.initial.dh_in, w.initial.ldd = w.job.zeros, 0
    if net.info.carries_dh:
        w.initial.dh_in, w.initial.ldd = w.job.carry, w.job.ldc
    w.initial.dh = w.job.outside
    if w.initial.weight_h != NULL:
        follow(w, <void**>&w.initial.next, _dgates(w, net), STEP, _pitch(w, net, w.job.ldg))
    if w.job.cuts != NULL:
        follow(w, <void**>&w.initial.cut, <char*>w.job.cuts, BEFORE, _cut_pitch(w))
    then(w, _initial_backward, 0)


cdef void _initial_backward(Walk* w, Packed net) noexcept nogil:
    cdef Job* job = w.job
    cdef Py_ssize_t r, size = net.itemsize, u0 = w.of_state.u0, n = w.of_state.u1 - w.of_state.u0
    cdef Py_ssize_t ending = max(w.me.b0, w.ending)
    cdef char* dh0
    if ending >= w.b1:
        return
    net.kernels.recurrent_gradient(&w.initial, ending, w.b1, w.of_state.p0, w.of_state.p1)
    for r in range(ending, w.b1):
        dh0 = entry_of(job, net, job.dh0, w.index, r, net.recurrent) + u0 * size
        copy_row(dh0, job.outside + (r * job.ldh + u0) * size, n * size)
        if job.kept_h != NULL:
            net.kernels.add(dh0, 1, job.kept_h + (r * job.ldh + u0) * size, n)


# ---- the projection of h

cdef void _plan_projection_forward(Walk* w, Packed net) noexcept nogil:
    memset(&w.project, 0, sizeof(w.project))
    w.project.lda, w.project.n_runs, w.project.run_length = w.job.ldc, 1, net.hidden
    w.project.weight = w.part.weight_r.data
    w.project.ldo, w.project.n_out = w.job.ldh, net.recurrent
    follow(w, <void**>&w.project.a, w.state.m, STEP, _kept(w, net, w.job.ldc))
    _follow_made(w, net, &w.project.out, w.state.fresh_h, w.state.h, w.job.ldh,
                 _pitch(w, net, w.job.ldh))
    meet(w)  # it reads all units
    then(w, _projection_forward, 0)


cdef void _projection_forward(Walk* w, Packed net) noexcept nogil:
    net.kernels.matmul(&w.project, w.me.b0, w.b1, w.of_state.p0, w.of_state.p1)
    _wrote(w, w.me.b0, w.b1, w.of_state)


cdef void _plan_projection_backward(Walk* w, Packed net) noexcept nogil:
    # `through` forms dh of the projected h, which the weight gradient needs too; `back` takes it through
    # W_hr and the cell.
    cdef Py_ssize_t h = _pitch(w, net, w.job.ldh)
    w.through = w.back
    w.back.hidden, w.back.dh_in, w.back.ldd, w.back.drop = net.hidden, w.job.zeros, 0, NULL
    w.back.ldn, w.back.n_runs, w.back.run_length = w.job.ldh, 1, net.recurrent
    w.back.weight_h = w.part.weight_rt.data
    follow(w, <void**>&w.outside, w.state.dh, STEP, h)
    follow(w, <void**>&w.through.dh_in, w.state.dh, STEP, h)
    follow(w, &w.through.dh, w.state.dh, STEP, h)
    follow(w, <void**>&w.back.next, w.state.dh, STEP, h)
    then(w, _projection_backward, 1)
    then(w, _projected_cell_backward, 1)


cdef void _projection_backward(Walk* w, Packed net) noexcept nogil:
    _in_two_parts(w, &w.through, w.of_state, net.kernels.recurrent_gradient)


cdef void _projected_cell_backward(Walk* w, Packed net) noexcept nogil:
    if not w.stopped:
        net.cell.backward(&w.back, w.me.b0, w.b1, w.of_cell.p0, w.of_cell.p1)


# ---- the reset gate before the product: r and z first, then n, whose recurrent product is of r h

cdef void _plan_reset_forward(Walk* w, Packed net) noexcept nogil:
    cdef Job* job = w.job
    cdef Py_ssize_t slot = job.slot * net.itemsize
    w.reset = w.step
    w.reset.hidden = 2 * job.slot
    w.reset.weight_x, w.reset.weight_h = w.part.reset_x.data, w.part.reset_h.data
    w.reset.bias = w.part.bias.data + slot
    w.of_reset = columns_of(w, net, w.reset.hidden, 1)
    follow(w, <void**>&w.reset.x, job.inputs[w.layer], INPUT,
           job.input_time[w.layer] * net.itemsize)
    if job.product != NULL:
        follow(w, <void**>&w.reset.product, product_of(job, net, w.direction) + slot, CHUNK,
               _pitch(w, net, job.ldp))
    follow(w, <void**>&w.reset.h, _fed(w), BEFORE, _pitch(w, net, job.ldh))
    follow(w, &w.reset.h_out, w.state.reset, STEP, _kept(w, net, job.ldh))
    follow(w, &w.reset.gates, w.state.gates + slot, STEP, _kept(w, net, job.ldg))
    then(w, _reset_forward, 1)


cdef void _reset_forward(Walk* w, Packed net) noexcept nogil:
    net.kernels.reset_forward(&w.reset, w.me.b0, w.b1, w.of_reset.p0, w.of_reset.p1)


cdef void _plan_reset_backward(Walk* w, Packed net) noexcept nogil:
    # The gradient of r h, through the part of W_hh for n.
    cdef Py_ssize_t gates = _pitch(w, net, w.job.ldg)
    w.back_reset = w.back
    w.back_reset.dh_in, w.back_reset.ldd, w.back_reset.n_runs = w.job.zeros, 0, 1
    w.back_reset.weight_h = w.part.reset_ht.data
    follow(w, <void**>&w.back_reset.next, w.state.gates, STEP, gates)
    follow(w, &w.back_reset.gates, w.state.gates, STEP, gates)
    follow(w, <void**>&w.back_reset.h_prev, w.state.h, BEFORE, _pitch(w, net, w.job.ldh))
    then(w, _reset_backward, 1)


cdef void _reset_backward(Walk* w, Packed net) noexcept nogil:
    if not flag_raised(&w.job.stop):
        net.kernels.reset_backward(&w.back_reset, w.me.b0, w.b1, w.of_cell.p0, w.of_cell.p1)


# ---- layer normalisation

cdef void _plan_norm_forward(Walk* w, Packed net) noexcept nogil:
    # A member normalises whole rows, and the cell follows in the same phase.
    cdef State* state = w.state
    memset(&w.norm, 0, sizeof(w.norm))
    w.norm.hidden, w.norm.ld = net.hidden, w.job.ldg
    w.norm.gamma, w.norm.beta = w.part.vectors[GAMMA], w.part.vectors[BETA]
    follow(w, &w.step.sums, state.normal, STEP, _kept(w, net, w.job.ldg))
    follow(w, &w.norm.normal, state.normal, STEP, _kept(w, net, w.job.ldg))
    follow(w, &w.norm.rstd, state.rstd, STEP, _kept(w, net, net.info.slots))
    then(w, _sums_forward, 1)
    then(w, _norm_forward, 0)


cdef void _sums_forward(Walk* w, Packed net) noexcept nogil:
    net.kernels.slot_sums(&w.step, net.info.panel_gates, w.me.b0, w.b1, w.of_cell.p0, w.of_cell.p1)


cdef void _norm_forward(Walk* w, Packed net) noexcept nogil:
    cdef Columns all
    cdef Py_ssize_t b0 = w.me.b0, n = w.b1 - w.me.b0
    all.u0, all.u1 = 0, net.hidden
    _wrote(w, b0 + share_of(n, w.me.i, w.me.n), b0 + share_of(n, w.me.i + 1, w.me.n), all)
    net.cell.norm_forward(&w.step, &w.norm, w.r0, w.r1)


cdef void _plan_norm_backward(Walk* w, Packed net) noexcept nogil:
    cdef State* state = w.state
    memset(&w.norm, 0, sizeof(w.norm))
    w.norm.hidden, w.norm.ld, w.norm.gamma = net.hidden, w.job.ldg, w.part.vectors[GAMMA]
    w.norm.dgamma, w.norm.dbeta = state.dvectors[GAMMA], state.dvectors[BETA]
    follow(w, &w.norm.normal, state.normal, STEP, _pitch(w, net, w.job.ldg))
    follow(w, &w.norm.rstd, state.rstd, STEP, _pitch(w, net, net.info.slots))
    follow(w, &w.norm.gates, state.gates, STEP, _pitch(w, net, w.job.ldg))
    then(w, _norm_backward, 1)


cdef void _norm_backward(Walk* w, Packed net) noexcept nogil:
    cdef Py_ssize_t b0 = w.me.b0, n = w.b1 - w.me.b0
    net.kernels.norm_backward(&w.norm, net.info.slots, b0 + share_of(n, w.me.i, w.me.n),
                              b0 + share_of(n, w.me.i + 1, w.me.n))


# ---- recurrent dropout: W_hh multiplies a masked copy of h; backward, the kernel masks dh

cdef inline char* _fed(const Walk* w) noexcept nogil:
    # What W_hh multiplies.
    return w.state.h if w.job.drops == NULL else w.state.dropped


cdef void _plan_dropout_forward(Walk* w, Packed net) noexcept nogil:
    cdef Py_ssize_t h = _pitch(w, net, w.job.ldh)
    w.drop.columns, w.drop.ld, w.drop.old = net.recurrent, w.job.ldh, NULL
    w.drop.mask, w.drop.ldm = drops_of(w.job, net, w.index), net.recurrent
    w.drop.mask_row = w.job.sample
    follow(w, &w.drop.to, w.state.dropped, AFTER, h)
    follow(w, <void**>&w.drop.fresh, w.state.h, AFTER, h)
    then(w, _dropout_forward, 0)


cdef void _dropout_forward(Walk* w, Packed net) noexcept nogil:
    net.kernels.mask_rows(&w.drop, w.r0, w.r1, w.wrote.u0, w.wrote.u1)


# ---- zoneout: to = share old + (1 - share) fresh; backward, the kernel parts dh and dc

cdef void _plan_zone(Walk* w, Packed net, rnnfast_masked* m, const Zone* zone, char* history,
                     char* fresh, Py_ssize_t columns, Py_ssize_t ld, Py_ssize_t pitch) noexcept nogil:
    m.columns, m.ld, m.ldm, m.mask_row = columns, ld, zone.row, w.job.sample
    follow(w, &m.to, history, AFTER, pitch)
    follow(w, <void**>&m.old, history, BEFORE, pitch)
    follow(w, <void**>&m.fresh, fresh, STEP, _kept(w, net, ld))
    _follow_zone(w, net, &m.mask, zone)


cdef void _follow_zone(Walk* w, Packed net, const void** mask, const Zone* zone) noexcept nogil:
    follow(w, <void**>mask, zone.share + w.index * zone.part * net.itemsize, STEP,
           zone.time * net.itemsize)


cdef void _plan_zone_h_forward(Walk* w, Packed net) noexcept nogil:
    _plan_zone(w, net, &w.zone_h, &w.job.zone_h, w.state.h, w.state.fresh_h, net.recurrent,
               w.job.ldh, _pitch(w, net, w.job.ldh))
    then(w, _zone_h_forward, 0)


cdef void _zone_h_forward(Walk* w, Packed net) noexcept nogil:
    net.kernels.mask_rows(&w.zone_h, w.r0, w.r1, w.wrote.u0, w.wrote.u1)


cdef void _plan_zone_c_forward(Walk* w, Packed net) noexcept nogil:
    _plan_zone(w, net, &w.zone_c, &w.job.zone_c, w.state.c, w.state.fresh_c, net.hidden,
               w.job.ldc, _kept(w, net, w.job.ldc))
    then(w, _zone_c_forward, 0)


cdef void _zone_c_forward(Walk* w, Packed net) noexcept nogil:
    net.kernels.mask_rows(&w.zone_c, w.r0, w.r1, w.wrote.u0, w.wrote.u1)


cdef void _plan_zoneout_backward(Walk* w, Packed net) noexcept nogil:
    cdef rnnfast_backstep* forms_dh = _forms_dh(w, net)
    forms_dh.ld_zone_h, w.back.ld_zone_c = w.job.zone_h.row, w.job.zone_c.row
    if w.job.zone_h.share != NULL:
        _follow_zone(w, net, &forms_dh.zone_h, &w.job.zone_h)
    if w.job.zone_c.share != NULL:
        _follow_zone(w, net, &w.back.zone_c, &w.job.zone_c)


# ---- resets: a step that starts anew finds zeros at the place before it; `lost` has what was there

cdef inline rnnfast_backstep* _forms_dh(Walk* w, Packed net) noexcept nogil:
    return &w.through if net.projection else &w.back


cdef inline Py_ssize_t _cut_pitch(const Walk* w) noexcept nogil:
    return w.job.B * sizeof(Py_ssize_t)


cdef inline const Py_ssize_t* _cuts_after(const Walk* w) noexcept nogil:
    # Of the place after the step; NULL at the end of a reverse direction, which nothing follows.
    cdef Py_ssize_t place = w.t + 1 - w.direction
    return w.job.cuts + place * w.job.B if place else NULL


cdef inline void _move(char* to, Py_ssize_t r, const char* source, Py_ssize_t at, Py_ssize_t ld,
                       Columns columns, Py_ssize_t size) noexcept nogil:
    # Row `at` of `source` to row r; NULL stands for zeros.
    if source != NULL:
        source += (at * ld + columns.u0) * size
    copy_row(to + (r * ld + columns.u0) * size, source, (columns.u1 - columns.u0) * size)


cdef void _plan_cut_forward(Walk* w, Packed net) noexcept nogil:
    follow(w, <void**>&w.h, w.state.h, AFTER, _pitch(w, net, w.job.ldh))
    if net.info.has_cell_state:
        follow(w, <void**>&w.c, w.state.c, AFTER, _kept(w, net, w.job.ldc))
    then(w, _cut_forward, 0)


cdef void _cut_forward(Walk* w, Packed net) noexcept nogil:
    cdef Job* job = w.job
    cdef const Py_ssize_t* cuts = _cuts_after(w)
    cdef Columns of_c = w.of_cell if net.projection else w.wrote
    cdef Py_ssize_t r, size = net.itemsize
    for r in range(w.r0, w.r1 if cuts != NULL else w.r0):
        if cuts[r] == 0:
            continue
        if job.training:
            _move(w.state.lost_h, cuts[r], w.h, r, job.ldh, w.wrote, size)
            if net.info.has_cell_state:
                _move(w.state.lost_c, cuts[r], w.c, r, job.ldc, of_c, size)
        _move(w.h, r, NULL, 0, job.ldh, w.wrote, size)
        if net.info.has_cell_state:
            _move(w.c, r, NULL, 0, job.ldc, of_c, size)
        if job.drops != NULL:
            _move(<char*>w.drop.to, r, NULL, 0, job.ldh, w.wrote, size)


cdef void _plan_restore(Walk* w, Packed net) noexcept nogil:
    follow(w, <void**>&w.h, w.state.h, AFTER, _pitch(w, net, w.job.ldh))
    if net.info.has_cell_state:
        follow(w, <void**>&w.c, w.state.c, AFTER, _pitch(w, net, w.job.ldc))
    then(w, _restore, 0)


cdef void _restore(Walk* w, Packed net) noexcept nogil:
    # Derivatives are of the h and c that the step made.
    cdef const Py_ssize_t* cuts = _cuts_after(w)
    cdef Py_ssize_t r
    for r in range(w.me.b0, w.b1 if cuts != NULL else w.me.b0):
        if cuts[r] == 0:
            continue
        _move(w.h, r, w.state.lost_h, cuts[r], w.job.ldh, w.of_state, net.itemsize)
        if net.info.has_cell_state:
            _move(w.c, r, w.state.lost_c, cuts[r], w.job.ldc, w.of_cell, net.itemsize)


cdef void _cut_backward(Walk* w, Packed net) noexcept nogil:
    # Nothing goes on to the step before. And the sums of dW_hh are to find zeros again.
    cdef Job* job = w.job
    cdef const Py_ssize_t* after = _cuts_after(w)
    cdef const Py_ssize_t* before = job.cuts + (w.t + w.direction) * job.B
    cdef Py_ssize_t r
    for r in range(w.me.b0, w.b1):
        if after != NULL and after[r]:
            _move(w.h, r, NULL, 0, job.ldh, w.of_state, net.itemsize)
        if before[r]:
            _move(job.carry, r, NULL, 0, job.ldc, w.of_cell, net.itemsize)
            if job.kept_h != NULL:
                _move(job.kept_h, r, NULL, 0, job.ldh, w.of_state, net.itemsize)
