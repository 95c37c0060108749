# One call as its team of threads sees it: sizes, arrays, and the share of each thread.

cimport cython
cimport numpy as cnp
from libc.string cimport memcpy, memset

from rnnfast.core.barrier cimport barrier, barrier_wait
from rnnfast.core.kernels cimport Watch, interrupted
from rnnfast.core.packed cimport VECTORS, Packed

cdef struct Thresholds:
    # Thresholds at which the engine switches strategy.
    Py_ssize_t serial_work  # multiply-adds: a smaller call runs on one thread
    Py_ssize_t shared_step_work  # multiply-adds: the units of a smaller step are not shared. What an
                                 #   input product takes that is formed first counts a quarter
    Py_ssize_t shared_weights  # bytes: in a larger layer
    Py_ssize_t shared_rows  #   threads with up to so many rows each share units instead; with any
    Py_ssize_t large_weights  # bytes: in a larger one yet, which each thread would read from memory
    Py_ssize_t far_weights  # bytes: prefetches of more weights are spread out, as from memory
    Py_ssize_t cached_weights  # bytes: more weights leave the cache. If those of the inputs do,
    Py_ssize_t few_rows  #   or gates are of x alone, so few rows share an input product of many steps;
    Py_ssize_t product_rows  # else with up to so many rows
    Py_ssize_t product_inputs  #   of at least so many inputs
    Py_ssize_t product_bytes  # bytes: the largest input product
    Py_ssize_t kept_sums_work  # multiply-adds, 0.1 s of one thread: the weight gradients of a
    # larger call are complete before any is added, so that a signal can stop it

cdef Thresholds thresholds


cdef inline int prefetch_from(Py_ssize_t weights, Py_ssize_t members) noexcept nogil:
    # What a step prefetches of so many bytes of weights, which members share: 0 nothing, 1 what the
    # third-level cache holds, 2 what comes from memory.
    if weights // members < thresholds.cached_weights:
        return 0
    return 2 if weights >= thresholds.far_weights else 1


cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() noexcept nogil

cdef struct Host:
    # Another runtime, whose threads hold the processors: `run` calls a function with 0, ..., n - 1 on them,
    # in any order and some after others. NULL: none.
    void (*run)(void* context, void (*call)(void*, size_t) noexcept nogil, size_t n,
                void* argument) noexcept nogil
    void* context
    int team  # how many threads it has for us
    unsigned long caller  # the thread that called from Python

cdef struct Zone:
    # Zoneout: the fraction of its old state that each unit keeps. Strides are in elements, and 0 along
    # axes that share their values.
    char* share  # NULL: no zoneout
    Py_ssize_t part, time, row


cdef struct State:
    # What one layer and direction keeps. Time-major, rows in the order of the batch.
    char* h      # (places, B, ldh)
    char* c      # (places or 1, B, ldc)
    # (T, B, ldg): activated gates, overwritten by their gradients. At inference NULL, or (1, B, ldg)
    # with the reset gate before the product
    char* gates
    char* m      # (T or 1, B, ldc): the output before the projection; NULL without one
    char* dh     # (T, B, ldh): gradient of the projected h; only in backward with a projection
    # (1 + narrow I + VECTORS, S, slot): sums of the gradients of the gates, of these times each input, and
    # of the vectors
    char* sums
    char* reset  # (T or 1, B, ldh): r h, with the reset gate before the product; else NULL
    # for recurrent dropout, zoneout and layer normalisation; NULL without them
    # (1 + cuts, ldh) and (1 + cuts, ldc): h and c where they were cut; NULL without cuts, and at inference
    char* lost_h
    char* lost_c
    char* dropped  # (places, B, ldh): h times the mask, the operand of W_hh
    char* fresh_h  # (T or 1, B, ldh): h and c before zoneout
    char* fresh_c  # (T or 1, B, ldc)
    char* normal   # (T or 1, B, ldg): normalised sums
    char* rstd     # (T or 1, B, S)
    char* dvectors[VECTORS]  # (B, ldg) each: sums over time; only in backward


cdef struct Job:
    Py_ssize_t T, B, steps  # steps: of all samples together
    Py_ssize_t ldh, ldc, ldg, slot  # slot: from one slot of a gate row to the next
    Py_ssize_t places
    int training, shared, gather_x, want_dx, want_grads, used
    Host host
    long patience  # nanoseconds that its members wait for each other before they share units
    int apart  # each of two members takes a direction
    Py_ssize_t chunk
    Py_ssize_t* sample  # (B,) the sample in each row; NULL: the row itself
    Py_ssize_t* length  # (B,) by row
    Py_ssize_t* active  # (T + 1,) rows still active at each step
    const char* resets  # (T, B) the caller's, by sample: whether it starts anew at a step; or NULL
    Py_ssize_t resets_time, resets_row
    Py_ssize_t* cuts  # (T + 1, B) by place and row: 0, or the number of the state lost there; or NULL
    Py_ssize_t n_cuts
    # the caller's arrays, with strides in elements that `row_at` applies
    int packed         # x and y are (rows, n): the active rows of step 0, of step 1, ...
    Py_ssize_t rows
    Py_ssize_t* start  # (T,) the first row of each step; 0 where x is (T, B, n)
    char* x
    Py_ssize_t x_time, x_row
    char* y
    Py_ssize_t y_time, y_row
    char* masks  # dropout between layers
    char* drops  # recurrent dropout: (L * D, B, K)
    Zone zone_h, zone_c
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
    char* product   # (chunk, B, ldp); one for each direction if members take them apart
    Py_ssize_t ldp
    char* outside   # (B, ldh) gradient of h at one step from outside the recurrence
    char* zeros     # (ldc,) read as rows of stride 0
    char* carry     # (B, ldc)
    char* between[2]  # (T, B, ldy) gradients between layers
    Py_ssize_t ldy
    char* kept_h    # (B, ldh) the fraction of a gradient that zoneout passes to the old state
    char* kept_c    # (B, ldc)
    char** grads    # (L * D, WEIGHTS) the caller's
    char* sums  # of weight gradients: all tiles with keep_sums, else member_sums a member
    Py_ssize_t sums_bytes, member_sums
    int keep_sums
    barrier meet
    int stop  # a signal handler raised: the team finishes without further work


cdef struct Member:
    # The share of one thread: rows [b0, b1) and part i of n of the panels. Work that concerns one row
    # alone, such as copies, is done for rows [o0, o1).
    Py_ssize_t b0, b1, o0, o1
    int i, n, index, count
    Watch watch


cdef inline void wait(Job* job, Member* me) noexcept nogil:
    if job.shared:
        barrier_wait(&job.meet, me.count)


cdef inline int stopped(Member* me, double work) noexcept nogil:
    # Called ahead of `work` multiply-adds. Members meet at every barrier even when stopped.
    return interrupted(&me.watch, work)


cdef inline Py_ssize_t sample_of(const Job* job, Py_ssize_t row) noexcept nogil:
    return row if job.sample == NULL else job.sample[row]


cdef inline Py_ssize_t place_of(const Job* job, Py_ssize_t t) noexcept nogil:
    # Of the state before step t; at inference two places take turns.
    return t if job.training else t & 1


cdef inline Py_ssize_t row_at(const Job* job, Py_ssize_t t, Py_ssize_t row, Py_ssize_t time,
                              Py_ssize_t stride) noexcept nogil:
    # The offset, in a caller's array, of step t of a row.
    return t * time + (job.start[t] + sample_of(job, row)) * stride


cdef inline char* entry_of(const Job* job, Packed net, char* states, int index, Py_ssize_t row,
                           Py_ssize_t n) noexcept nogil:
    # A row's entry in the caller's states (L * D, B, n) of a layer and direction. NULL gives NULL.
    if states == NULL:
        return NULL
    return states + (index * job.B + sample_of(job, row)) * n * net.itemsize


cdef inline void copy_row(char* to, const char* source, Py_ssize_t bytes) noexcept nogil:
    # NULL stands for zeros. Rows of one element, from univariate series, are not worth a call.
    if source == NULL:
        memset(to, 0, bytes)
    elif bytes == 4:
        (<int*>to)[0] = (<int*>source)[0]
    else:
        memcpy(to, source, bytes)


cdef inline Py_ssize_t narrow(Packed net, int index) noexcept nogil:
    # The number of inputs of a layer and direction if they are so few that the transposed kernel is
    # faster, else 0.
    cdef Py_ssize_t I = net.parts[index].input
    return I if I <= net.kernels.rows else 0


cdef inline int products(Packed net) noexcept nogil:
    # The number of weight gradients of a layer: of x; unless the gates are of x alone, of h; with a
    # projection, of what it projects, or, with the reset gate before the product, of r h.
    if net.info.input_only:
        return 1
    return 3 if net.projection or net.info.reset_before else 2


cdef inline int in_place(const Job* job, Packed net) noexcept nogil:
    # Whether a layer above another one reads the history of the one below where it is.
    return job.training and net.directions == 1 and job.masks == NULL and job.cuts == NULL


cdef inline char* product_of(const Job* job, Packed net, int direction) noexcept nogil:
    return job.product + (job.chunk * job.B * job.ldp * net.itemsize * direction if job.apart else 0)


cdef inline const char* mask_of(const Job* job, Packed net, int layer, Py_ssize_t t,
                              Py_ssize_t row, int direction) noexcept nogil:
    # The dropout mask for a row of the output of `layer`, in (L - 1, T, B, D K).
    return job.masks + ((((layer * job.T + t) * job.B + sample_of(job, row)) * net.directions
                         + direction) * net.recurrent) * net.itemsize


cdef inline const char* drops_of(const Job* job, Packed net, int index) noexcept nogil:
    # The masks of recurrent dropout of a layer and direction. Their rows are samples.
    return job.drops + index * job.B * net.recurrent * net.itemsize


@cython.final
cdef class Tape:
    cdef Job job
    cdef char* block
    cdef object masks  # the caller's, kept because backward reads them again


cdef Member member_of(Job* job, int index, int count) noexcept nogil
cdef void place_lists(Job* job, Packed net, char** at) noexcept nogil
cdef void place_forward(Job* job, Packed net, char** at) noexcept nogil
cdef void place_backward(Job* job, Packed net, char** at) noexcept nogil
cdef char* strided(object array, Packed net, const Job* job, Py_ssize_t n, str name,
                   Py_ssize_t* time, Py_ssize_t* row) except? NULL
cdef int order_rows(Job* job, const cnp.int64_t* lengths) except -1
cdef bint forms_product(const Job* job, Packed net, Py_ssize_t rows) noexcept nogil
cdef int team_for(Job* job, Packed net) noexcept nogil
