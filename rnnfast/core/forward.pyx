# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""The forward pass of one thread: its rows through all layers, directions and steps."""

from libc.string cimport memset

from rnnfast.core cimport kernels as k
from rnnfast.core.job cimport (
    Job, Member, copy_row, entry_of, member_of, place_of, product_of, row_at, stopped, wait,
)
from rnnfast.core.kernels cimport rnnfast_step
from rnnfast.core.packed cimport Packed
from rnnfast.core.phases cimport (
    AFTER, BEFORE, CHUNK, INPUT, STEP, Columns, Walk, begin, plan_forward, set_work, take_rows,
)


cdef void _start_state(Walk* w, Packed net) noexcept nogil:
    # Copies the initial state to the place before the first step of each row.
    cdef Job* job = w.job
    cdef Py_ssize_t r, place, K = net.recurrent, H = net.hidden, size = net.itemsize
    cdef int anew
    for r in range(w.me.o0, w.me.o1):
        place = place_of(job, job.length[r]) if w.direction else 0
        anew = job.cuts != NULL and not w.direction and job.cuts[r] != 0
        copy_row(w.state.h + (place * job.B + r) * job.ldh * size,
                 NULL if anew else entry_of(job, net, job.h0, w.index, r, K), K * size)
        if job.drops != NULL:
            w.drop.to = w.state.dropped + place * job.B * job.ldh * size
            w.drop.fresh = w.state.h + place * job.B * job.ldh * size
            net.kernels.mask_rows(&w.drop, r, r + 1, 0, K)
        if w.state.c != NULL:
            place = place if job.training else 0
            copy_row(w.state.c + (place * job.B + r) * job.ldc * size,
                     NULL if anew else entry_of(job, net, job.c0, w.index, r, H), H * size)


cdef void _final_state(Walk* w, Packed net) noexcept nogil:
    cdef Job* job = w.job
    cdef Py_ssize_t r, place, K = net.recurrent, H = net.hidden, size = net.itemsize
    for r in range(w.me.o0, w.me.o1):
        place = 0 if w.direction else place_of(job, job.length[r])
        copy_row(entry_of(job, net, job.hn, w.index, r, K),
                 w.state.h + (place * job.B + r) * job.ldh * size, K * size)
        if w.state.c != NULL:
            place = place if job.training else 0
            copy_row(entry_of(job, net, job.cn, w.index, r, H),
                     w.state.c + (place * job.B + r) * job.ldc * size, H * size)


cdef void _gather_x(Job* job, Packed net, Member* me, Py_ssize_t t0, Py_ssize_t t1,
                    Py_ssize_t origin) noexcept nogil:
    # Copies rows of x to the array of the first layer, whose steps count from `origin`.
    cdef Py_ssize_t t, r, I = net.parts[0].input, size = net.itemsize
    for t in range(t0, t1):
        for r in range(me.o0, min(me.o1, job.active[t])):
            copy_row(job.inputs[0] + ((t - origin) * job.B + r) * job.input_row[0] * size,
                      job.x + row_at(job, t, r, job.x_time, job.x_row) * size, I * size)


cdef void _input_product(const Walk* w, Packed net, rnnfast_step* step, int gates, char* to,
                         Py_ssize_t ta, Py_ssize_t tb, Py_ssize_t origin,
                         Columns columns) noexcept nogil:
    # x W_x + b of steps [ta, tb), whose inputs count from `origin`, to rows ldp apart.
    cdef const Job* job = w.job
    cdef const Member* me = w.me
    cdef Py_ssize_t size = net.itemsize, time = job.input_time[w.layer], t, p
    cdef char* x = job.inputs[w.layer] - origin * time * size
    step.product = NULL
    if (job.sample == NULL and me.b0 == 0 and me.b1 == job.B
            and time == job.B * job.input_row[w.layer]):
        step.x, step.product_out = x + ta * time * size, to
        net.kernels.input_product(step, gates, 0, (tb - ta) * job.B, columns.p0, columns.p1)
        return
    for p in range(columns.p0, columns.p1):
        for t in range(ta, tb):
            step.x = x + t * time * size
            step.product_out = to + (t - ta) * job.B * job.ldp * size
            net.kernels.input_product(step, gates, me.b0, min(me.b1, job.active[t]), p, p + 1)


cdef void _forward_layer(Job* job, Packed net, Member* me, int layer, int direction) noexcept nogil:
    cdef Walk w
    cdef int gather = layer == 0 and job.gather_x and not (job.training and direction)
    cdef Py_ssize_t T = job.T, done = 0, n, ta, tb, t, i, origin = 0
    cdef double work = <double>net.info.gates * net.hidden  # of a row
    cdef char* product = product_of(job, net, direction)
    begin(&w, job, net, me, layer, direction)
    work *= w.part.input + net.recurrent
    plan_forward(&w, net)
    set_work(&w, work)
    _start_state(&w, net)
    wait(job, me)
    while done < T:
        # A chunk of steps: first gathers its inputs and, if that pays, forms their product.
        n = min(job.chunk, T - done)
        ta = T - done - n if direction else done
        tb = ta + n
        done += n
        if layer == 0 and job.gather_x and not job.training:
            origin = ta
        if gather:
            _gather_x(job, net, me, ta, tb, origin)
            wait(job, me)
        if job.product != NULL and not stopped(me, n * work * (me.b1 - me.b0)):
            _input_product(&w, net, &w.step, net.info.panel_gates, product, ta, tb, origin, w.of_cell)
            if net.info.reset_before:
                _input_product(&w, net, &w.reset, 1, product + job.slot * net.itemsize, ta, tb,
                               origin, w.of_reset)
        for i in range(n):
            t = tb - 1 - i if direction else ta + i
            if job.active[t] <= me.b0:
                continue
            w.t = w.clock[STEP] = t
            w.clock[BEFORE] = place_of(job, t + direction)
            w.clock[AFTER] = place_of(job, t + 1 - direction)
            w.clock[INPUT], w.clock[CHUNK] = t - origin, t - ta
            take_rows(&w, net, min(me.b1, job.active[t]), True)
    _final_state(&w, net)


cdef void forward_member(Job* job, Packed net, int index, int count) noexcept nogil:
    cdef Member me = member_of(job, index, count)
    cdef Py_ssize_t r, t, width = net.directions * net.recurrent * net.itemsize
    cdef int layer, direction
    for layer in range(net.layers):
        for direction in range(net.directions):
            if not job.apart or count == 1 or direction == index:
                _forward_layer(job, net, &me, layer, direction)
        wait(job, &me)
    if job.sample != NULL and not job.packed:
        for r in range(me.o0, me.o1):
            for t in range(job.length[r], job.T):
                memset(job.y + row_at(job, t, r, job.y_time, job.y_row) * net.itemsize, 0, width)
    k.fp_leave(me.watch.fp)
