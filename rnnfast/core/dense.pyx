# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
# cython: initializedcheck=False
"""Products, convolutions, lookups, normalisation: arrays in, arrays out.

The same functions as rnnfast.reference.dense, which is their specification. Threads own rows or
columns of what is written, so results do not depend on their number.
"""

import numpy as np

cimport cython
cimport numpy as cnp
from cython.parallel cimport parallel, prange
from libc.string cimport memcpy, memset

from rnnfast.core cimport kernels as k
from rnnfast.core.arrays cimport data_of, own_end, own_start, real_type, table_of, team_for
from rnnfast.core.gradient cimport Rows, SUMS_BYTES, sum_tiles, tiles_end, tiles_of
from rnnfast.core.job cimport thresholds
from rnnfast.core.kernels cimport (
    RNNFAST_BLOCK_ROWS, RNNFAST_MASK_GROUP, RNNFAST_VECTORS, Watch, at_once, interrupted,
    omp_get_thread_num, raise_pending, rnnfast_kernels, rnnfast_layer_norm, rnnfast_mask,
    rnnfast_mask_groups, rnnfast_matmul, rnnfast_outer, rnnfast_panels, rnnfast_run,
)

from rnnfast.core.optim import adam, nadam, rmsprop, sgd, sum_squares

cnp.import_array()


# ---- linear

cdef void _matmul_share(const rnnfast_kernels* kn, const rnnfast_matmul* m, Py_ssize_t rows,
                        Py_ssize_t panels, int* stop) noexcept nogil:
    cdef Py_ssize_t row = own_start(rows), last = own_end(rows), end
    cdef double work = <double>m.run_length * m.n_out
    cdef Watch w = k.enter(stop)
    while row < last:
        end = min(last, row + at_once(work))
        if interrupted(&w, work * (end - row)):
            break
        kn.matmul(m, row, end, 0, panels)
        row = end
    k.fp_leave(w.fp)


cdef int _matmul(const rnnfast_kernels* kn, char* a, char* weight, Py_ssize_t row,
                 Py_ssize_t column, char* bias, char* out, Py_ssize_t N, Py_ssize_t K,
                 Py_ssize_t M) except -1:
    # out (N, M) = a (N, K) W + bias with W[k][m] = weight[m * row + k * column].
    cdef rnnfast_matmul m
    cdef Py_ssize_t panels = rnnfast_panels(M, 1, kn.lanes), size = kn.itemsize
    cdef Py_ssize_t width = panels * RNNFAST_VECTORS * kn.lanes
    cdef int team = team_for(<double>N * K * M), stop = 0
    cdef char* packed = <char*>k.take(k.product(width * size, K + 1))
    memset(&m, 0, sizeof(m))
    m.a, m.lda, m.n_runs, m.run_length = a, K, 1, K
    m.weight, m.out, m.ldo, m.n_out = packed, out, M, M
    if bias != NULL:
        m.bias = packed + width * K * size
        memset(packed + width * K * size, 0, width * size)
        memcpy(packed + width * K * size, bias, M * size)
    with nogil:
        kn.pack(packed, weight, row, column, M, K, 0, K, 1, NULL, 0, panels)
    if team == 1:
        with nogil:
            _matmul_share(kn, &m, N, panels, &stop)
    else:
        with nogil, parallel(num_threads=team):
            _matmul_share(kn, &m, N, panels, &stop)
    k.give(packed)
    return raise_pending(stop)


cdef enum:
    AT_ONCE  # each tile's sums are added when they are formed, and no signal is seen
    FORM     # the sums of all tiles are kept: a signal may cut this short
    ADD      # these are added


cdef void _outer_share(const rnnfast_kernels* kn, const rnnfast_outer* whole, const Rows* rows,
                       char* sums, int act, int* stop) noexcept nogil:
    cdef rnnfast_outer o = whole[0]
    cdef Py_ssize_t tiles = tiles_of(kn, &o), q = own_start(tiles), last = own_end(tiles), end
    cdef Watch w = k.enter(stop)
    while q < last:
        end = tiles_end(kn, q, last)
        o.sums = sums + (omp_get_thread_num() * SUMS_BYTES if act == AT_ONCE else q * kn.tile_bytes)
        if act != ADD:
            sum_tiles(kn, &o, rows, q, end, &w if act == FORM else NULL)
        if act != FORM:
            kn.outer_add(&o, q, end)
        q = end
    k.fp_leave(w.fp)


cdef int _outer(const rnnfast_kernels* kn, const rnnfast_outer* o, const Rows* rows, char* sums,
                int team, int act) except -1:
    cdef int stop = 0
    if team == 1:
        with nogil:
            _outer_share(kn, o, rows, sums, act, &stop)
    else:
        with nogil, parallel(num_threads=team):
            _outer_share(kn, o, rows, sums, act, &stop)
    return raise_pending(stop)


cdef int _column_sums(const rnnfast_kernels* kn, char* a, Py_ssize_t N, Py_ssize_t M, char* out,
                      char* sums, int team) except -1:
    # out (M,) += the sums of a's columns, a (N, M): the product with a column of ones.
    cdef rnnfast_outer o
    cdef Rows rows
    cdef float one = 1
    cdef double one64 = 1
    rows.T, rows.B, rows.active = 1, N, &N
    memset(&o, 0, sizeof(o))
    o.a, o.n_a = <char*>&one if kn.itemsize == 4 else <char*>&one64, 1
    o.g, o.ldg, o.n_runs, o.run_length, o.out = a, M, 1, M, out
    return _outer(kn, &o, &rows, sums, team, AT_ONCE)


def linear(x, weight, bias, y):
    """y (N, M) = x (N, K) weight^T + bias; weight (M, K), bias (M,) or None; y is written."""
    cdef int typenum = real_type(x, "x")
    cdef Py_ssize_t N = x.shape[0], K = x.shape[1], M = weight.shape[0]
    _matmul(table_of(typenum), data_of(x, typenum, N * K, "x"),
            data_of(weight, typenum, M * K, "weight"), K, 1, data_of(bias, typenum, M, "bias"),
            data_of(y, typenum, N * M, "y"), N, K, M)


def linear_backward(x, weight, dy, dx, dweight, dbias):
    """Gradients of `linear`: dx (N, K) written, dweight (M, K) and dbias (M,) added into.

    Each of the three may be None: not wanted.
    """
    cdef int typenum = real_type(x, "x")
    cdef const rnnfast_kernels* kn = table_of(typenum)
    cdef Py_ssize_t N = x.shape[0], K = x.shape[1], M = weight.shape[0]
    cdef double work = <double>N * K * M
    cdef int team = team_for(work)
    cdef bint keep = work > thresholds.kept_sums_work
    cdef rnnfast_outer o
    cdef Rows rows
    cdef char* sums
    cdef char* dy_data = data_of(dy, typenum, N * M, "dy")
    cdef char* dx_data = data_of(dx, typenum, N * K, "dx")
    cdef char* dbias_data = data_of(dbias, typenum, M, "dbias")
    rows.T, rows.B, rows.active = 1, N, &N
    memset(&o, 0, sizeof(o))
    o.a, o.lda, o.n_a = data_of(x, typenum, N * K, "x"), K, K
    o.g, o.ldg, o.n_runs, o.run_length = dy_data, M, 1, M
    o.out = data_of(dweight, typenum, M * K, "dweight")
    # All or nothing: where this takes so long that signals are checked, sums are added after the last.
    sums = <char*>k.take(max(team * SUMS_BYTES, tiles_of(kn, &o) * kn.tile_bytes if keep else 0))
    try:
        if dx_data != NULL:
            _matmul(kn, dy_data, data_of(weight, typenum, M * K, "weight"), 1, K, NULL, dx_data,
                    N, M, K)
        if o.out != NULL:
            if keep:
                _outer(kn, &o, &rows, sums, team, FORM)
            _outer(kn, &o, &rows, sums, team, ADD if keep else AT_ONCE)
        if dbias_data != NULL:
            _column_sums(kn, dy_data, N, M, dbias_data, sums, team)
    finally:
        k.give(sums)


# ---- convolution over time
# A row of x is one step of a sample, K numbers. A row of y is the sum over taps j of a row of x times
# W_j (K, M). With dilation 1 the taps lie side by side in x, as one window of taps * K numbers;
# otherwise there is a window for each tap. Nothing is copied in either case.

cdef struct Conv:
    Py_ssize_t B, T, K  # x (B, T, K)
    Py_ssize_t N, M  # y (B, N, M)
    Py_ssize_t taps, stride, dilation
    Py_ssize_t windows, width  # windows * width = taps * K
    Py_ssize_t together  # taps in one product: all of a window, or one run for each of a few windows


cdef Conv _conv(object x, object weight, object y, Py_ssize_t stride, Py_ssize_t dilation) except *:
    cdef Conv c
    c.B, c.T, c.K = x.shape
    c.N, c.M = y.shape[1:]
    c.taps, c.stride, c.dilation = weight.shape[2], stride, dilation
    if min(stride, dilation) < 1 or (c.N and (c.N - 1) * stride + (c.taps - 1) * dilation >= c.T):
        raise ValueError(f"{c.N} outputs of {c.taps} taps, stride {stride} and dilation {dilation} "
                         f"do not fit {c.T} steps")
    c.windows, c.width, c.together = c.taps, c.K, RNNFAST_VECTORS
    if dilation == 1:
        c.windows, c.width, c.together = 1, c.taps * c.K, c.taps
    return c


cdef void _conv_share(const rnnfast_kernels* kn, const Conv* c, const rnnfast_matmul* whole,
                      Py_ssize_t panels, int* stop) noexcept nogil:
    # Threads share the outputs.
    cdef Py_ssize_t row = own_start(c.B * c.N), last = own_end(c.B * c.N)
    cdef Py_ssize_t b, t, j, rows, size = kn.itemsize
    cdef double work = <double>c.taps * c.K * c.M
    cdef rnnfast_matmul m = whole[0]
    cdef Watch w = k.enter(stop)
    while row < last:
        b, t = row // c.N, row % c.N
        rows = min(min(c.N - t, last - row), at_once(work))
        if interrupted(&w, work * rows):
            break
        m.out, m.bias = <char*>whole.out + row * c.M * size, whole.bias
        j = 0
        while j < c.taps:
            m.a = <char*>whole.a + (b * c.T + t * c.stride + j * c.dilation) * c.K * size
            m.weight = <char*>whole.weight + j * c.K * panels * RNNFAST_VECTORS * kn.lanes * size
            m.accumulate = j > 0
            if j:
                m.bias = NULL
            m.n_runs = 1 if c.windows == 1 else min(c.together, c.taps - j)
            kn.matmul(&m, 0, rows, 0, panels)
            j += c.together
        row += rows
    k.fp_leave(w.fp)


def conv1d(x, weight, bias, Py_ssize_t stride, Py_ssize_t dilation, y):
    """y (B, N, M)[b, t] = bias + sum over taps j of x[b, t stride + j dilation] weight[:, :, j]^T.

    x (B, T, K); weight (M, K, taps); bias (M,) or None; y is written. The caller has padded x.
    """
    cdef int typenum = real_type(x, "x")
    cdef const rnnfast_kernels* kn = table_of(typenum)
    cdef Conv c = _conv(x, weight, y, stride, dilation)
    cdef Py_ssize_t panels = rnnfast_panels(c.M, 1, kn.lanes), size = kn.itemsize, j, at, n
    cdef Py_ssize_t width = panels * RNNFAST_VECTORS * kn.lanes
    cdef char* weight_data = data_of(weight, typenum, c.M * c.K * c.taps, "weight")
    cdef char* bias_data = data_of(bias, typenum, c.M, "bias")
    cdef int stop = 0
    cdef char* packed
    cdef rnnfast_matmul m
    memset(&m, 0, sizeof(m))
    m.a, m.lda = data_of(x, typenum, c.B * c.T * c.K, "x"), c.stride * c.K
    m.run_length, m.run_pitch = c.width, c.dilation * c.K
    m.out, m.ldo, m.n_out = data_of(y, typenum, c.B * c.N * c.M, "y"), c.M, c.M
    packed = <char*>k.take(k.product(width * size, c.taps * c.K + 1))
    m.weight = packed
    if bias_data != NULL:
        m.bias = packed + width * c.taps * c.K * size
        memset(packed + width * c.taps * c.K * size, 0, width * size)
        memcpy(packed + width * c.taps * c.K * size, bias_data, c.M * size)
    for j in range(c.taps):
        at = j % c.together  # its index in the product
        n = min(c.together, c.taps - (j - at))
        kn.pack(packed + (j - at) * c.K * width * size, weight_data + j * size, c.K * c.taps,
                c.taps, c.M, c.K, at * c.K, n * c.K, 1, NULL, 0, panels)
    with nogil, parallel(num_threads=team_for(<double>c.B * c.N * c.M * c.taps * c.K)):
        _conv_share(kn, &c, &m, panels, &stop)
    k.give(packed)
    raise_pending(stop)


cdef inline Py_ssize_t _outputs_before(const Conv* c, Py_ssize_t step,
                                       Py_ssize_t tap) noexcept nogil:
    # How many outputs have this tap before a step of x.
    return min(c.N, (max(step - tap * c.dilation, 0) + c.stride - 1) // c.stride)


cdef void _conv_dx_share(const rnnfast_kernels* kn, const Conv* c, const rnnfast_matmul* whole,
                         Py_ssize_t panels, int* stop) noexcept nogil:
    # Threads share the steps of x. Each tap adds the rows of dy that reach these steps, times W_j.
    cdef Py_ssize_t row = own_start(c.B * c.T), last = own_end(c.B * c.T)
    cdef Py_ssize_t b, t, j, rows, size = kn.itemsize
    cdef double work = <double>c.taps * c.K * c.M
    cdef rnnfast_matmul m = whole[0]
    cdef Watch w = k.enter(stop)
    memset(<char*>whole.out + row * c.K * size, 0, (last - row) * c.K * size)
    while row < last:
        b, t = row // c.T, row % c.T
        rows = min(min(c.T - t, last - row), at_once(work))
        if interrupted(&w, work * rows):
            break
        m.a = <char*>whole.a + b * c.N * c.M * size
        for j in range(c.taps):
            m.out = <char*>whole.out + (b * c.T + j * c.dilation) * c.K * size
            m.weight = <char*>whole.weight + j * c.M * panels * RNNFAST_VECTORS * kn.lanes * size
            kn.matmul(&m, _outputs_before(c, t, j), _outputs_before(c, t + rows, j), 0, panels)
        row += rows
    k.fp_leave(w.fp)


cdef int _conv_dx(const rnnfast_kernels* kn, const Conv* c, char* weight, char* dy, char* dx,
                  int team) except -1:
    cdef Py_ssize_t panels = rnnfast_panels(c.K, 1, kn.lanes), size = kn.itemsize, j
    cdef Py_ssize_t width = panels * RNNFAST_VECTORS * kn.lanes
    cdef char* packed = <char*>k.take(k.product(width * size, c.taps * c.M + 1))
    cdef int stop = 0
    cdef rnnfast_matmul m
    memset(&m, 0, sizeof(m))
    m.a, m.lda, m.n_runs, m.run_length = dy, c.M, 1, c.M
    m.weight, m.out, m.ldo, m.n_out, m.accumulate = packed, dx, c.stride * c.K, c.K, 1
    for j in range(c.taps):
        kn.pack(packed + j * c.M * width * size, weight + j * size, c.taps, c.K * c.taps, c.K, c.M,
                0, c.M, 1, NULL, 0, panels)
    with nogil, parallel(num_threads=team):
        _conv_dx_share(kn, c, &m, panels, &stop)
    k.give(packed)
    return raise_pending(stop)


cdef void _conv_dweight_share(const rnnfast_kernels* kn, const Conv* c, const rnnfast_outer* whole,
                              char* sums, int* stop) noexcept nogil:
    # Threads share the tiles. Sums grow sample by sample, in blocks of rows as in `sum_tiles`.
    cdef int fresh
    cdef Py_ssize_t tiles = tiles_of(kn, whole), last = own_end(tiles)
    cdef Py_ssize_t window, q, end, b, size = kn.itemsize
    cdef rnnfast_outer o = whole[0]
    cdef rnnfast_run run
    cdef Watch w = k.enter(stop)
    cdef double work = <double>kn.rows * kn.lanes * RNNFAST_VECTORS  # of a tile and row
    o.sums = sums + omp_get_thread_num() * SUMS_BYTES
    for window in range(c.windows):
        o.out = <char*>whole.out + window * c.M * c.width * size
        q = own_start(tiles)
        while q < last:
            end = tiles_end(kn, q, last)
            fresh = 1
            for b in range(c.B):
                o.a = <char*>whole.a + (b * c.T + window * c.dilation) * c.K * size
                o.g = <char*>whole.g + b * c.N * c.M * size
                run.start = 0
                while run.start < c.N:
                    run.count = min(RNNFAST_BLOCK_ROWS, c.N - run.start)
                    if interrupted(&w, work * (end - q) * run.count):
                        break
                    kn.outer(&o, &run, 1, fresh, q, end)
                    fresh = 0
                    run.start += run.count
            if not fresh:
                kn.outer_add(&o, q, end)
            q = end
    k.fp_leave(w.fp)


cdef int _conv_dweight(const rnnfast_kernels* kn, const Conv* c, char* x, char* dy, char* dweight,
                       char* formed, char* sums, int team) except -1:
    # Formed window by window as (windows, M, width), then added to dweight (M, K, taps).
    cdef Py_ssize_t size = kn.itemsize, o, j
    cdef int stop = 0
    cdef rnnfast_outer outer
    memset(formed, 0, c.M * c.taps * c.K * size)
    memset(&outer, 0, sizeof(outer))
    outer.a, outer.lda, outer.n_a = x, c.stride * c.K, c.width
    outer.g, outer.ldg, outer.n_runs, outer.run_length, outer.out = dy, c.M, 1, c.M, formed
    with nogil, parallel(num_threads=team):
        _conv_dweight_share(kn, c, &outer, sums, &stop)
    raise_pending(stop)
    for o in range(c.M):
        for j in range(c.taps):
            kn.add(dweight + (o * c.K * c.taps + j) * size, c.taps,
                   formed + (o * c.taps + j if c.windows == 1 else j * c.M + o) * c.K * size, c.K)
    return 0


def conv1d_backward(x, weight, dy, Py_ssize_t stride, Py_ssize_t dilation, dx, dweight, dbias):
    """Gradients of `conv1d`: dx (B, T, K) written, dweight (M, K, taps), dbias (M,) added into.

    Each of the three may be None: not wanted.
    """
    cdef int typenum = real_type(x, "x")
    cdef const rnnfast_kernels* kn = table_of(typenum)
    cdef Conv c = _conv(x, weight, dy, stride, dilation)
    cdef char* x_data = data_of(x, typenum, c.B * c.T * c.K, "x")
    cdef char* weight_data = data_of(weight, typenum, c.M * c.K * c.taps, "weight")
    cdef char* dy_data = data_of(dy, typenum, c.B * c.N * c.M, "dy")
    cdef char* dx_data = data_of(dx, typenum, c.B * c.T * c.K, "dx")
    cdef char* dweight_data = data_of(dweight, typenum, c.M * c.K * c.taps, "dweight")
    cdef char* dbias_data = data_of(dbias, typenum, c.M, "dbias")
    cdef int team = team_for(<double>c.B * c.N * c.M * c.taps * c.K)
    cdef char* sums = <char*>k.take(<size_t>team * SUMS_BYTES + c.M * c.taps * c.K * kn.itemsize)
    try:
        if dx_data != NULL:
            _conv_dx(kn, &c, weight_data, dy_data, dx_data, team)
        if dweight_data != NULL:
            _conv_dweight(kn, &c, x_data, dy_data, dweight_data, sums + team * SUMS_BYTES, sums,
                          team)
        if dbias_data != NULL:
            _column_sums(kn, dy_data, c.B * c.N, c.M, dbias_data, sums, team)
    finally:
        k.give(sums)


# ---- activations

def activate(str name, x, y):
    """y (n,) = the sigmoid or tanh of x (n,); y is written."""
    cdef int typenum = real_type(x, "x"), f = {"sigmoid": 0, "tanh": 1}[name]
    cdef const rnnfast_kernels* kn = table_of(typenum)
    cdef Py_ssize_t n = x.size, at
    cdef char* xd = data_of(x, typenum, n, "x")
    cdef char* yd = data_of(y, typenum, n, "y")
    with nogil, parallel(num_threads=team_for(8.0 * n)):
        at = own_start(n)
        kn.activate(f, xd + at * kn.itemsize, yd + at * kn.itemsize, own_end(n) - at)


# ---- large arrays

@cython.final
cdef class _Block:
    # Gives the memory of an array back when the array dies.
    cdef void* data

    def __dealloc__(self):
        k.give(self.data)


def empty(tuple shape, dtype):
    """As np.empty, in a kept block, which later calls get once nobody sees the array any more."""
    cdef _Block block = _Block.__new__(_Block)
    cdef cnp.npy_intp[cnp.NPY_MAXDIMS] dims
    cdef size_t size = dtype.itemsize
    cdef int axis
    for axis, n in enumerate(shape):
        dims[axis] = n
        size = k.product(size, n)
    block.data = k.take(size)
    array = cnp.PyArray_SimpleNewFromData(len(shape), dims, dtype.num, block.data)
    cnp.set_array_base(array, block)
    return array


# ---- random masks

def fill_mask(key, call, index, first, Py_ssize_t kept, double value, out):
    """Write random masks to `out` (entries, rows, size): `value` or 0, `kept` of 2**24 not 0.

    The numbers depend on `key`, a tuple of four 32-bit words, on `call`, index + entry, first + row,
    each modulo 2**32, and on the place in the row: Threefry-4x32, 13 rounds, Salmon et al. (2011).
    """
    cdef int typenum = real_type(out, "out"), i
    cdef const rnnfast_kernels* kn = table_of(typenum)
    cdef rnnfast_mask m
    cdef Py_ssize_t entries = out.shape[0], groups
    m.rows, m.size = out.shape[1], out.shape[2]
    for i in range(4):
        m.key[i] = key[i]
    m.call, m.index, m.first = call % 2**32, index, first
    m.kept, m.value = kept, value
    m.out = data_of(out, typenum, entries * m.rows * m.size, "out")
    groups = entries * m.rows * rnnfast_mask_groups(m.size)
    if groups:
        with nogil, parallel(num_threads=team_for(4.0 * groups * RNNFAST_MASK_GROUP)):
            kn.fill_mask(&m, own_start(groups), own_end(groups))


# ---- embedding

def embedding(ids, weight, y):
    """y (N, E) = the rows `ids` (N,) int64 of weight (V, E); y is written."""
    np.take(weight, ids, axis=0, out=y, mode="clip")


def embedding_backward(ids, dy, dweight):
    """Add each row of dy (N, E) into row ids[n] of dweight (V, E)."""
    cdef int typenum = real_type(dy, "dy")
    cdef Py_ssize_t N = dy.shape[0], E = dy.shape[1]
    cdef const cnp.int64_t* index = <const cnp.int64_t*>data_of(ids, cnp.NPY_INT64, N, "ids")
    cdef char* dy_data = data_of(dy, typenum, N * E, "dy")
    cdef char* out = data_of(dweight, typenum, dweight.shape[0] * E, "dweight")
    cdef int team = team_for(<double>N * E)
    if typenum == cnp.NPY_FLOAT32:
        with nogil, parallel(num_threads=team):
            _scatter(index, <float*>dy_data, <float*>out, N, E)
    else:
        with nogil, parallel(num_threads=team):
            _scatter(index, <double*>dy_data, <double*>out, N, E)


cdef void _scatter(const cnp.int64_t* index, const cython.floating* dy, cython.floating* out,
                   Py_ssize_t N, Py_ssize_t E) noexcept nogil:
    # Threads own columns.
    cdef Py_ssize_t n, e, e0 = own_start(E), e1 = own_end(E)
    cdef unsigned long long fp = k.fp_enter()
    for n in range(N):
        for e in range(e0, e1):
            out[index[n] * E + e] += dy[n * E + e]
    k.fp_leave(fp)


# ---- layer normalisation

def layer_norm(x, gamma, beta, double eps, y, mean, rstd):
    """y = (x - mean) rstd gamma + beta over the last axis of x (N, K).

    y (N, K), mean (N,) and rstd (N,) = 1 / sqrt(variance + eps) are written. Ba et al. (2016).
    """
    cdef int typenum = real_type(x, "x")
    cdef Py_ssize_t N = x.shape[0], K = x.shape[1]
    cdef unsigned long long fp
    cdef rnnfast_layer_norm m
    m.columns, m.eps = K, eps
    m.x = data_of(x, typenum, N * K, "x")
    m.gamma = data_of(gamma, typenum, K, "gamma")
    m.beta = data_of(beta, typenum, K, "beta")
    m.y = data_of(y, typenum, N * K, "y")
    m.mean = data_of(mean, typenum, N, "mean")
    m.rstd = data_of(rstd, typenum, N, "rstd")
    with nogil, parallel(num_threads=team_for(8.0 * N * K)):
        fp = k.fp_enter()
        table_of(typenum).layer_norm(&m, own_start(N), own_end(N))
        k.fp_leave(fp)


cdef void _layer_norm_backward_share(const rnnfast_kernels* kn, const rnnfast_layer_norm* m,
                                     Py_ssize_t N) noexcept nogil:
    # Rows of dx, then vectors of columns of dgamma and dbeta.
    cdef Py_ssize_t vectors = (m.columns + kn.lanes - 1) // kn.lanes
    cdef unsigned long long fp = k.fp_enter()
    if m.dx != NULL:
        kn.layer_norm_backward(m, own_start(N), own_end(N))
    kn.layer_norm_columns(m, N, own_start(vectors) * kn.lanes,
                          min(m.columns, own_end(vectors) * kn.lanes))
    k.fp_leave(fp)


def layer_norm_backward(x, gamma, mean, rstd, dy, dx, dgamma, dbeta):
    """Gradients of `layer_norm`: dx (N, K) written unless None, dgamma, dbeta (K,) added into."""
    cdef int typenum = real_type(x, "x")
    cdef Py_ssize_t N = x.shape[0], K = x.shape[1]
    cdef rnnfast_layer_norm m
    m.columns = K
    m.x = data_of(x, typenum, N * K, "x")
    m.gamma = data_of(gamma, typenum, K, "gamma")
    m.mean = data_of(mean, typenum, N, "mean")
    m.rstd = data_of(rstd, typenum, N, "rstd")
    m.dy = data_of(dy, typenum, N * K, "dy")
    m.dx = data_of(dx, typenum, N * K, "dx")
    m.dgamma = data_of(dgamma, typenum, K, "dgamma")
    m.dbeta = data_of(dbeta, typenum, K, "dbeta")
    with nogil, parallel(num_threads=team_for(12.0 * N * K)):
        _layer_norm_backward_share(table_of(typenum), &m, N)


# ---- for tests and benchmarks

def fma_loop(dtype, Py_ssize_t loops):
    """Run `loops` rounds of the tile's multiply-adds on registers in every thread.

    Returns the floating-point operations done: over the seconds it took, the processor's peak.
    """
    cdef const rnnfast_kernels* kn = k.table(k.current_isa(), np.dtype(dtype).itemsize)
    cdef double total = 0
    cdef int i, team = k.granted(k.team_size())
    for i in prange(team, num_threads=team, schedule="static", nogil=True):
        total += kn.fma_loop(loops)
    return total


def read_loop(x, Py_ssize_t loops):
    """Read the rows of x (threads, n) `loops` times, each in a thread of its own.

    Returns the bytes read: over the seconds it took, the bandwidth of what holds x.
    """
    cdef int typenum = real_type(x, "x"), i, team = x.shape[0]
    cdef Py_ssize_t n = x.shape[1]
    cdef const rnnfast_kernels* kn = table_of(typenum)
    cdef char* data = data_of(x, typenum, team * n, "x")
    cdef double total = 0
    for i in prange(team, num_threads=k.granted(team), schedule="static", nogil=True):
        total += kn.read_loop(data + i * n * kn.itemsize, n, loops)
    return total
