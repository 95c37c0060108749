# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Plans a call: rows longest first, one block of memory for all arrays, a share for each thread."""

cimport cython
cimport numpy as cnp
from libc.string cimport memmove, memset

from rnnfast.core import runtime
from rnnfast.core cimport kernels as k
from rnnfast.core.arrays cimport check_type, share_of
from rnnfast.core.barrier cimport barrier_gather
from rnnfast.core.kernels cimport RNNFAST_LINE, rnnfast_stride
from rnnfast.core.packed cimport GAMMA, VECTORS, WEIGHTS, Packed, bump, step_inputs

cnp.import_array()

# Measured with benchmarks/thresholds.py, except cached_weights and large_weights, half of a second-
# and of a third-level cache; far_weights, an eighth of the latter, which others use as well; and
# kept_sums_work, which bounds how long a call ignores signals.
thresholds.serial_work = 250_000
thresholds.shared_step_work = 28_000
thresholds.shared_rows = 16
thresholds.shared_weights = 1 << 20
thresholds.large_weights = runtime.caches.get("L3", 32 << 20) // 2
thresholds.far_weights = runtime.caches.get("L3", 32 << 20) // 8
thresholds.few_rows = 8
thresholds.product_rows = 2
thresholds.product_inputs = 32
thresholds.cached_weights = runtime.caches.get("L2", 2 << 20) // 2
thresholds.product_bytes = 1 << 19
thresholds.kept_sums_work = 1 << 32


def tune(**changes):
    """Change thresholds by name and return them all. For benchmarks/thresholds.py and tests."""
    global thresholds
    kept = thresholds
    if not changes.keys() <= kept.keys():
        raise TypeError(f"tune expected some of {list(kept)}, got {list(changes)}")
    thresholds = {**kept, **changes}
    return thresholds


def gather(cnp.ndarray team, int members, long patience):
    """As a member of a hosted call: return its number, or -1, and how many members there are. For tests.

    `team` is shared by the members: an array of one int32, 0.
    """
    cdef int* at = <int*>cnp.PyArray_DATA(team)
    cdef int count = 0, index
    with nogil:
        index = barrier_gather(at, members, patience, &count)
    return index, count


@cython.final
cdef class Tape:
    """What backward needs of a forward call. Opaque; serves one backward."""

    def __cinit__(self):
        memset(&self.job, 0, sizeof(Job))

    def __dealloc__(self):
        k.give(<char*>self.job.states)
        k.give(self.block)

    @property
    def nbytes(self):
        """Bytes of stored states, gates and inputs."""
        return k.size_of(self.block)


cdef Member member_of(Job* job, int index, int count) noexcept nogil:
    # Slices of the batch with about the same number of active steps. The state of the floating-point unit
    # is the engine's from here to fp_leave.
    cdef Member me
    cdef Py_ssize_t r, seen = 0
    me.index, me.count, me.watch = index, count, k.enter(&job.stop)
    me.watch.index = index if job.host.run == NULL else PyThread_get_thread_ident() != job.host.caller
    me.i, me.n = index if job.shared else 0, count if job.shared else 1
    me.o0, me.o1 = share_of(job.B, index, count), share_of(job.B, index + 1, count)
    if job.apart:
        me.o0, me.o1 = 0, job.B
    if job.sample != NULL and not job.shared:
        me.o0, me.o1 = job.B, job.B
        for r in range(job.B):
            if seen >= share_of(job.steps, index, count) and me.o0 == job.B:
                me.o0 = r
            if seen >= share_of(job.steps, index + 1, count) and index + 1 < count:
                me.o1 = r
                break
            seen += job.length[r]
    me.b0, me.b1 = 0 if job.shared else me.o0, job.B if job.shared else me.o1
    return me


cdef void place_lists(Job* job, Packed net, char** at) noexcept nogil:
    cdef Py_ssize_t parts = net.layers * net.directions
    job.states = <State*>bump(at, sizeof(State) * parts)
    job.inputs = <char**>bump(at, sizeof(char*) * net.layers)
    job.input_row = <Py_ssize_t*>bump(at, sizeof(Py_ssize_t) * net.layers)
    job.input_time = <Py_ssize_t*>bump(at, sizeof(Py_ssize_t) * net.layers)
    job.grads = <char**>bump(at, sizeof(char*) * parts * WEIGHTS)
    job.sample = <Py_ssize_t*>bump(at, sizeof(Py_ssize_t) * job.B)
    job.length = <Py_ssize_t*>bump(at, sizeof(Py_ssize_t) * job.B)
    job.active = <Py_ssize_t*>bump(at, sizeof(Py_ssize_t) * (job.T + 1))
    job.start = <Py_ssize_t*>bump(at, sizeof(Py_ssize_t) * job.T)
    job.cuts = NULL
    if job.resets != NULL:
        job.cuts = <Py_ssize_t*>bump(at, sizeof(Py_ssize_t) * (job.T + 1) * job.B)


cdef void place_forward(Job* job, Packed net, char** at) noexcept nogil:
    # All arrays that the forward pass writes.
    cdef Py_ssize_t size = net.itemsize, B = job.B, n, kept = job.T if job.training else 1
    cdef int index, layer
    cdef State* state
    for index in range(net.layers * net.directions):
        state = job.states + index
        memset(state, 0, sizeof(State))
        state.h = bump(at, job.places * B * job.ldh * size)
        if net.info.has_cell_state:
            state.c = bump(at, (job.places if job.training else 1) * B * job.ldc * size)
        if job.training or net.info.reset_before:
            state.gates = bump(at, kept * B * job.ldg * size)
        if net.info.reset_before:
            state.reset = bump(at, kept * B * job.ldh * size)
        if net.projection:
            state.m = bump(at, kept * B * job.ldc * size)
        if job.cuts != NULL and job.training:
            state.lost_h = bump(at, (1 + job.n_cuts) * job.ldh * size)
            if net.info.has_cell_state:
                state.lost_c = bump(at, (1 + job.n_cuts) * job.ldc * size)
        if job.drops != NULL:
            state.dropped = bump(at, job.places * B * job.ldh * size)
        if job.zone_h.share != NULL:
            state.fresh_h = bump(at, kept * B * job.ldh * size)
        if job.zone_c.share != NULL:
            state.fresh_c = bump(at, kept * B * job.ldc * size)
        if net.parts[index].vectors[GAMMA] != NULL:
            state.normal = bump(at, kept * B * job.ldg * size)
            state.rstd = bump(at, kept * B * net.info.slots * size)
    for layer in range(net.layers):
        n = net.parts[layer * net.directions].input
        n = n if n * size < RNNFAST_LINE else rnnfast_stride(n, size)
        job.input_row[layer], job.input_time[layer] = n, B * n
        if layer == 0 and not job.gather_x:
            job.inputs[0], job.input_row[0], job.input_time[0] = job.x, job.x_row, job.x_time
        elif layer == 0:
            job.inputs[0] = bump(at, (job.T if job.training else job.chunk) * B * n * size)
        elif in_place(job, net):
            job.inputs[layer] = job.states[layer - 1].h + B * job.ldh * size
            job.input_row[layer], job.input_time[layer] = job.ldh, B * job.ldh
        elif layer >= 3 and not job.training:
            job.inputs[layer] = job.inputs[layer - 2]  # two arrays take turns
        else:
            job.inputs[layer] = bump(at, job.T * B * n * size)
    n = 2 if job.apart else 1
    job.product = bump(at, n * job.chunk * B * job.ldp * size) if job.ldp else NULL


cdef void place_backward(Job* job, Packed net, char** at) noexcept nogil:
    cdef Py_ssize_t size = net.itemsize, rows
    cdef int index, v
    job.outside = bump(at, job.B * job.ldh * size)
    job.zeros = bump(at, job.ldc * size)
    job.carry = bump(at, job.B * job.ldc * size)
    job.between[0] = job.between[1] = NULL
    if net.layers > 1:
        job.between[0] = bump(at, job.T * job.B * job.ldy * size)
        job.between[1] = bump(at, job.T * job.B * job.ldy * size)
    if net.projection:
        for index in range(net.layers * net.directions):
            job.states[index].dh = bump(at, job.T * job.B * job.ldh * size)
    job.kept_h = bump(at, job.B * job.ldh * size) if job.zone_h.share != NULL else NULL
    job.kept_c = bump(at, job.B * job.ldc * size) if job.zone_c.share != NULL else NULL
    for index in range(net.layers * net.directions if job.want_grads else 0):
        rows = 1 + narrow(net, index) + VECTORS
        job.states[index].sums = bump(at, rows * net.info.slots * job.slot * size)
        for v in range(VECTORS):
            if net.parts[index].vectors[v] != NULL:
                job.states[index].dvectors[v] = bump(at, job.B * job.ldg * size)
    job.sums = bump(at, job.sums_bytes)


cdef char* strided(object array, Packed net, const Job* job, Py_ssize_t n, str name,
                   Py_ssize_t* time, Py_ssize_t* row) except? NULL:
    # The data of a (T, B, n) array, or (rows, n) if it is packed, with adjacent elements on the last
    # axis. The strides that it writes are in elements.
    if array is None:
        return NULL
    check_type(array, net.typenum, name)
    cdef cnp.npy_intp* shape = cnp.PyArray_DIMS(array)
    cdef cnp.npy_intp* strides = cnp.PyArray_STRIDES(array)
    cdef int last = 1 if job.packed else 2
    if cnp.PyArray_NDIM(array) != last + 1 or shape[last] != n or (
            shape[0] != job.rows if job.packed else shape[0] != job.T or shape[1] != job.B):
        wanted = f"({job.rows}, {n})" if job.packed else f"({job.T}, {job.B}, {n})"
        raise ValueError(f"{name} must have shape {wanted}, got {(<object>array).shape}")
    if cnp.PyArray_SIZE(array) and (
            (n > 1 and strides[last] != net.itemsize) or strides[0] % net.itemsize
            or strides[last - 1] % net.itemsize or not cnp.PyArray_ISALIGNED(array)):
        raise ValueError(f"{name} must be aligned with adjacent elements on its last axis")
    time[0] = 0 if job.packed else strides[0] // net.itemsize
    row[0] = strides[last - 1] // net.itemsize
    return <char*>cnp.PyArray_DATA(array)


cdef int order_rows(Job* job, const cnp.int64_t* lengths) except -1:
    # Orders rows longest first, counts those active at each step, and finds where packed steps start.
    cdef Py_ssize_t b, t, longer = 0, n, T = job.T, B = job.B
    cdef Py_ssize_t* active = job.active
    if lengths == NULL:
        job.sample = NULL
        for b in range(B):
            job.length[b] = T
        for t in range(T):
            active[t] = B
    else:  # a counting sort: active[t] counts samples of length t, then longer ones
        memset(job.active, 0, (job.T + 1) * sizeof(Py_ssize_t))
        for b in range(job.B):
            if not 0 <= lengths[b] <= job.T:
                raise ValueError(f"lengths must be from 0 to {job.T}, got {lengths[b]}")
            if job.packed and b and lengths[b] > lengths[b - 1]:
                raise ValueError("lengths of packed rows must not grow")
            job.active[lengths[b]] += 1
        for t in range(job.T, -1, -1):
            n = job.active[t]
            job.active[t] = longer
            longer += n
        for b in range(job.B):  # active[t] now grows to the number of samples longer than t - 1
            job.sample[job.active[lengths[b]]] = b
            job.length[job.active[lengths[b]]] = lengths[b]
            job.active[lengths[b]] += 1
        memmove(job.active, job.active + 1, job.T * sizeof(Py_ssize_t))
    active[T] = 0
    job.steps = 0
    for t in range(T):
        job.start[t] = job.steps if job.packed else 0
        job.steps += active[t]
    if job.packed and job.steps != job.rows:
        raise ValueError(f"x must have {job.steps} rows, the sum of lengths, got {job.rows}")
    if job.cuts != NULL:
        _find_cuts(job)
    return 0


cdef void _find_cuts(Job* job) noexcept nogil:
    cdef Py_ssize_t t, r, n = 0, row = job.resets_row
    cdef Py_ssize_t* cuts = job.cuts
    cdef const char* resets
    memset(cuts, 0, (job.T + 1) * job.B * sizeof(Py_ssize_t))
    for t in range(job.T):
        resets = job.resets + t * job.resets_time
        for r in range(job.active[t]):
            if resets[sample_of(job, r) * row]:
                n += 1
                cuts[r] = n
        cuts += job.B
    job.n_cuts = n


cdef bint forms_product(const Job* job, Packed net, Py_ssize_t rows) noexcept nogil:
    # Whether members of so many rows form the products of x and W_x for many steps at once.
    cdef Py_ssize_t I = net.parts[0].input
    cdef Py_ssize_t widest = max(I, net.directions * net.recurrent) if net.layers > 1 else I
    cdef Py_ssize_t weights = net.info.gates * net.hidden * widest * net.itemsize
    return job.T > 1 and (
        rows <= thresholds.few_rows
        and (net.info.input_only or weights >= thresholds.cached_weights)
        or rows <= thresholds.product_rows and I >= thresholds.product_inputs)


cdef enum:
    PATIENCE = 200_000  # nanoseconds
    HOST_PATIENCE = 50_000  # several times as long as a spinning thread takes to come
    HOST_WORK = 200  # multiply-adds: a call waits a nanosecond for so many, at most a quarter of its time


cdef int team_for(Job* job, Packed net) noexcept nogil:
    # The number of threads, and how long they spin: not at all where there are more of them than
    # processors. Sets job.shared where they share the units of each step, not the batch, and
    # job.apart where each takes a direction, which never meet; and job.patience.
    cdef int n = k.team_size(), index
    cdef double step = 0  # multiply-adds of a sample's step in all layers
    cdef double between = 0  # of these, those between two meetings
    cdef double inputs, weights  # of a layer and direction; bytes
    cdef bint few, product = forms_product(job, net, job.B)
    if job.host.run != NULL:
        n = min(n, job.host.team)
    for index in range(net.layers * net.directions):
        step += net.info.gates * net.hidden * <double>step_inputs(net, index)
        inputs = net.parts[index].input
        between += net.info.gates * net.hidden * (
            step_inputs(net, index) - (0.75 * inputs if product else 0))
    job.meet.patience = PATIENCE if n <= k.processors() else 0
    job.patience = <long>min(HOST_PATIENCE, step * job.steps / HOST_WORK)
    job.shared = job.apart = 0
    if (n < 2 or step * job.steps < thresholds.serial_work
            or k.had_better_be_alone(step * job.steps)):
        return 1
    if job.B >= n:
        weights = step * net.itemsize / (net.layers * net.directions)
        few = job.B <= n * thresholds.shared_rows
        job.shared = weights >= (thresholds.shared_weights if few else thresholds.large_weights)
    else:
        few = between * job.B / (net.layers * net.directions) < thresholds.shared_step_work
        if (job.B == 1 and net.directions == 2 and net.layers == 1 and not job.training
                and job.sample == NULL):
            # of large weights each reads half, if they share units, for which they meet
            job.apart = few or (n == 2 and step * net.itemsize / 2 < thresholds.shared_weights)
        if job.apart:
            return 2
        if few:
            return <int>max(1, job.B)
        job.shared = 1
    if job.shared and k.had_better_be_alone(0):  # they would meet in every step
        job.shared = 0
        return n if job.B >= n else 1
    return n
