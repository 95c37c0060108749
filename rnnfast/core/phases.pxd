# One member's walk through the steps of a layer and direction. It is planned once for all steps: a
# list of phases, and a list of the pointers that move with the time.

from rnnfast.core.arrays cimport share_of
from rnnfast.core.barrier cimport barrier_wait
from rnnfast.core.job cimport Job, Member, State, stopped
from rnnfast.core.kernels cimport (
    RNNFAST_VECTORS, at_once, rnnfast_backstep, rnnfast_masked, rnnfast_matmul, rnnfast_norm, rnnfast_panels,
    rnnfast_step,
)
from rnnfast.core.packed cimport Packed, Part

cdef enum:
    # What a moving pointer follows. BEFORE, AFTER and NEXT go by the order of the forward pass.
    STEP    # t
    BEFORE  # the place of the state before the step
    AFTER   # the place of the state after it
    NEXT    # the following step
    INPUT   # t, from the first step on whose inputs are at hand
    CHUNK   # t, from the first step of the chunk on
    CLOCKS  # how many there are

cdef enum:
    # More than all options at once need: 8 and 25.
    MAX_PHASES = 9
    MAX_MOVING = 32

cdef struct Walk  # see below

cdef struct Phase:
    # A part of a step. Members that share the units of a step meet after it if one of them reads what
    # another one wrote.
    void (*run)(Walk*, Packed) noexcept nogil
    int meets

cdef struct Moving:
    # A pointer that is base + clock * pitch at every step.
    void** pointer
    char* base
    Py_ssize_t pitch  # bytes
    const Py_ssize_t* clock  # one of the walk's

cdef struct Columns:
    # A member's panels [p0, p1) of a pack, and the columns [u0, u1) that they make.
    Py_ssize_t p0, p1, u0, u1

cdef struct Walk:
    Job* job
    Member* me
    Part* part
    State* state
    int layer, direction, index  # direction 1 walks from the last step to the first
    Phase phases[MAX_PHASES]
    Moving moving[MAX_MOVING]
    int n_phases, n_moving
    Columns of_cell, of_state, of_reset  # H, K, and r and z with the reset gate before the product
    double work  # multiply-adds of a row's step
    Py_ssize_t piece  # rows between two checks of signals
    # the step at hand
    Py_ssize_t t, b1  # rows [me.b0, b1) are active
    int stopped  # a signal handler raised: members only meet
    char* h  # after the step
    char* c
    Py_ssize_t clock[CLOCKS]
    rnnfast_norm norm
    # forward
    rnnfast_step step, reset
    rnnfast_matmul project
    rnnfast_masked zone_h, zone_c, drop
    Py_ssize_t r0, r1  # the rows that this member wrote, in the phase before,
    Columns wrote      # and their columns
    # backward
    rnnfast_backstep back, through, back_reset, initial  # `through`: dh, before a projection
    char* next     # dgates of the following step
    char* outside  # the gradient of h from outside the recurrence
    Py_ssize_t starting, ending  # rows [starting, b1) have their last step, [ending, b1) their first


cdef inline void then(Walk* w, void (*run)(Walk*, Packed) noexcept nogil, int meets) noexcept nogil:
    # The phase that comes next.
    w.phases[w.n_phases].run, w.phases[w.n_phases].meets = run, meets and w.job.shared
    w.n_phases += 1


cdef inline void meet(Walk* w) noexcept nogil:
    # Members meet after the phase entered last.
    w.phases[w.n_phases - 1].meets = w.job.shared


cdef inline void follow(Walk* w, void** pointer, const char* base, int follows,
                        Py_ssize_t pitch) noexcept nogil:
    cdef Moving* m = &w.moving[w.n_moving]
    pointer[0] = <char*>base
    if pitch:
        m.pointer, m.base, m.pitch, m.clock = pointer, <char*>base, pitch, &w.clock[follows]
        w.n_moving += 1


cdef inline void take_step(Walk* w, Packed net) noexcept nogil:
    cdef Moving* m = w.moving
    cdef Moving* end = m + w.n_moving
    cdef Phase* phase = w.phases
    cdef Phase* last = phase + w.n_phases
    while m < end:
        m.pointer[0] = m.base + m.clock[0] * m.pitch
        m += 1
    while phase < last:
        phase.run(w, net)
        if phase.meets:
            barrier_wait(&w.job.meet, w.me.count)
        phase += 1


cdef inline void set_work(Walk* w, double row) noexcept nogil:
    # The multiply-adds of a row's step in all members.
    w.work = row / w.me.n
    w.piece = at_once(w.work)


cdef inline void take_rows(Walk* w, Packed net, Py_ssize_t end, bint forward) noexcept nogil:
    # A step for rows [me.b0, end), which need nothing of each other: some at a time, so that signals are
    # checked between them. Members that share units meet even when stopped.
    cdef Member* me = w.me
    cdef Py_ssize_t b0 = me.b0, following
    while me.b0 < end:
        following = min(end, me.b0 + w.piece)
        w.stopped = stopped(me, w.work * (following - me.b0))
        if w.stopped and not w.job.shared:
            break
        w.b1 = me.b0 if w.stopped and forward else following
        take_step(w, net)
        me.b0 = following
    me.b0 = b0


cdef inline Columns columns_of(const Walk* w, Packed net, Py_ssize_t n, int gates) noexcept nogil:
    # A member's share of n units, `gates` of each in a panel.
    cdef Columns c
    cdef Py_ssize_t lanes = net.kernels.lanes, panels = rnnfast_panels(n, gates, <int>lanes)
    cdef Py_ssize_t units = lanes * (RNNFAST_VECTORS if gates == 1 else 1)
    c.p0, c.p1 = share_of(panels, w.me.i, w.me.n), share_of(panels, w.me.i + 1, w.me.n)
    c.u0, c.u1 = min(c.p0 * units, n), min(c.p1 * units, n)
    return c


cdef inline void begin(Walk* w, Job* job, Packed net, Member* me, int layer,
                       int direction) noexcept nogil:
    w.job, w.me, w.layer, w.direction = job, me, layer, direction
    w.index = layer * net.directions + direction
    w.part, w.state = net.parts + w.index, job.states + w.index
    w.n_phases = w.n_moving = w.stopped = 0


# In the order of their phases. Each plans what the network has of it.
cdef void plan_forward(Walk* w, Packed net) noexcept nogil
cdef void plan_backward(Walk* w, Packed net) noexcept nogil
