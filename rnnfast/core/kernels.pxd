# csrc/rnnfast.h for Cython, and what kernels.pyx shares with the other modules. The header explains
# the fields.

cdef extern from "rnnfast.h" nogil:
    enum:
        RNNFAST_LINE
        RNNFAST_VECTORS
        RNNFAST_BLOCK_ROWS
        RNNFAST_MASK_GROUP

    ctypedef struct rnnfast_cell:
        const char* name
        int gates, slots, x_slot, h_slot, has_cell_state, carries_dh, reset_before, input_only
        int order[4]
        int own[4]
        int panel_gates, has_norm

    ctypedef struct rnnfast_step:
        Py_ssize_t input, recurrent, hidden
        int fetch
        const void* x
        Py_ssize_t ldx
        const void* h
        const void* h_prev
        Py_ssize_t ldh
        const void* weight_x
        const void* weight_h
        const void* bias
        const void* product
        Py_ssize_t ldp
        const void* c
        void* c_out
        Py_ssize_t ldc
        const void* own
        void* h_out
        Py_ssize_t ldh_out
        void* y
        Py_ssize_t ldy
        void* gates
        void* sums
        Py_ssize_t ldg
        void* product_out

    ctypedef struct rnnfast_masked:
        Py_ssize_t columns
        void* to
        const void* fresh
        const void* old
        Py_ssize_t ld
        const void* mask
        Py_ssize_t ldm
        const Py_ssize_t* mask_row

    ctypedef struct rnnfast_backstep:
        Py_ssize_t hidden
        int fetch, carries_dh
        const void* dh_in
        Py_ssize_t ldd
        const void* next
        Py_ssize_t ldn, n_runs, run_length, run_pitch
        const Py_ssize_t* cut
        const void* weight_h
        const void* h_prev
        const void* h
        Py_ssize_t ldh
        const void* c_prev
        const void* c
        Py_ssize_t ldc
        const void* own
        void* d_own
        void* gates
        Py_ssize_t ldg
        void* carry
        Py_ssize_t ldk
        const void* drop
        const void* zone_h
        const void* zone_c
        Py_ssize_t ld_drop, ld_zone_h, ld_zone_c
        const Py_ssize_t* mask_row
        void* kept_h
        void* kept_c
        void* dh

    ctypedef struct rnnfast_norm:
        Py_ssize_t hidden
        void* normal
        void* rstd
        const void* gamma
        const void* beta
        Py_ssize_t ld
        void* gates
        void* dgamma
        void* dbeta

    ctypedef struct rnnfast_layer_norm:
        Py_ssize_t columns
        const void* x
        const void* gamma
        const void* beta
        double eps
        void* y
        void* mean
        void* rstd
        const void* dy
        void* dx
        void* dgamma
        void* dbeta

    ctypedef struct rnnfast_matmul:
        const void* a
        Py_ssize_t lda, n_runs, run_length, run_pitch
        const void* weight
        const void* bias
        void* out
        Py_ssize_t ldo, n_out
        const Py_ssize_t* out_row
        int accumulate, fetch

    ctypedef struct rnnfast_mask:
        unsigned key[4]
        unsigned call, index
        Py_ssize_t first, rows, size
        int kept
        double value
        void* out

    ctypedef struct rnnfast_run:
        Py_ssize_t start, count

    ctypedef struct rnnfast_outer:
        const void* a
        Py_ssize_t lda, n_a
        const void* g
        Py_ssize_t ldg, n_runs, run_length, run_pitch
        const int* order
        void* out
        void* sums

    ctypedef struct cell_kernels "rnnfast_cell_kernels":
        void (*forward)(const rnnfast_step*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*backward)(const rnnfast_backstep*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*norm_forward)(const rnnfast_step*, const rnnfast_norm*, Py_ssize_t, Py_ssize_t) noexcept nogil

    ctypedef struct rnnfast_optimiser:
        const char* name
        void (*update)(void*, const void*, void**, const double*, Py_ssize_t, Py_ssize_t) noexcept nogil

    ctypedef struct rnnfast_kernels:
        int itemsize, lanes, rows
        Py_ssize_t tile_bytes
        const cell_kernels* cell
        void (*reset_forward)(const rnnfast_step*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*reset_backward)(const rnnfast_backstep*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*input_product)(const rnnfast_step*, int, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                              Py_ssize_t) noexcept nogil
        void (*slot_sums)(const rnnfast_step*, int, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                          Py_ssize_t) noexcept nogil
        void (*recurrent_gradient)(const rnnfast_backstep*, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                                   Py_ssize_t) noexcept nogil
        void (*norm_backward)(const rnnfast_norm*, int, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*layer_norm)(const rnnfast_layer_norm*, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*layer_norm_backward)(const rnnfast_layer_norm*, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*layer_norm_columns)(const rnnfast_layer_norm*, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*matmul)(const rnnfast_matmul*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*outer)(const rnnfast_outer*, const rnnfast_run*, int, int, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*outer_add)(const rnnfast_outer*, Py_ssize_t, Py_ssize_t) noexcept nogil
        Py_ssize_t (*tiles_per_panel)(Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*narrow)(const void*, Py_ssize_t, Py_ssize_t, const void*, Py_ssize_t,
                       const rnnfast_run*, int, Py_ssize_t, void*, Py_ssize_t) noexcept nogil
        void (*pack)(void*, const void*, Py_ssize_t, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                     Py_ssize_t, Py_ssize_t, int, const int*, Py_ssize_t, Py_ssize_t) noexcept nogil
        void (*add)(void*, Py_ssize_t, const void*, Py_ssize_t) noexcept nogil
        void (*multiply)(void*, const void*, Py_ssize_t) noexcept nogil
        void (*mask_rows)(const rnnfast_masked*, Py_ssize_t, Py_ssize_t, Py_ssize_t,
                          Py_ssize_t) noexcept nogil
        double (*sum_squares)(const void*, Py_ssize_t) noexcept nogil
        void (*activate)(int, const void*, void*, Py_ssize_t) noexcept nogil
        void (*fill_mask)(const rnnfast_mask*, Py_ssize_t, Py_ssize_t) noexcept nogil
        const rnnfast_optimiser* optimisers
        double (*fma_loop)(Py_ssize_t) noexcept nogil
        double (*read_loop)(const void*, Py_ssize_t, Py_ssize_t) noexcept nogil

    Py_ssize_t rnnfast_padded(Py_ssize_t n, Py_ssize_t itemsize)
    Py_ssize_t rnnfast_stride(Py_ssize_t n, Py_ssize_t itemsize)
    Py_ssize_t rnnfast_mask_groups(Py_ssize_t size)
    Py_ssize_t rnnfast_panels(Py_ssize_t hidden, int gates, int lanes)


# Inline C, so that every module that opens a parallel region calls the OpenMP runtime itself.
cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    #else
    static int omp_get_max_threads(void) { return 1; }
    static int omp_get_thread_num(void) { return 0; }
    static int omp_get_num_threads(void) { return 1; }
    #endif
    """
    int omp_get_max_threads() noexcept nogil
    int omp_get_thread_num() noexcept nogil
    int omp_get_num_threads() noexcept nogil


cdef extern from *:
    """
    static inline void raise_flag(int *flag) { __atomic_store_n(flag, 1, __ATOMIC_RELAXED); }
    static inline int flag_raised(const int *flag) { return __atomic_load_n(flag, __ATOMIC_RELAXED); }
    """
    void raise_flag(int* flag) noexcept nogil
    int flag_raised(const int* flag) noexcept nogil


# ---- signals: every loop that may take long asks `interrupted` ahead of each piece of its work

cdef enum:
    CHECKED_WORK = 1_000_000_000  # multiply-adds, some 10 ms of one thread: no piece takes longer

cdef struct Watch:
    # What a thread of a call's team knows. Thread 0 is the one that called from Python. Only on the threads
    # of a host may it be missing, having come too late: then signals wait until the call has ended.
    int* stop  # the team's: a signal handler raised
    int index
    double unchecked  # multiply-adds since signals were last checked
    unsigned long long fp  # the floating-point state that the thread had before the call

cdef void run_signal_handlers(Watch* w) noexcept nogil


cdef inline Watch enter(int* stop) noexcept nogil:
    cdef Watch w
    w.stop, w.index, w.unchecked, w.fp = stop, omp_get_thread_num(), 0, fp_enter()
    return w


cdef inline int interrupted(Watch* w, double work) noexcept nogil:
    # Called ahead of `work` multiply-adds. Thread 0 runs Python's signal handlers now and then.
    if w.index == 0:
        w.unchecked += work
        if w.unchecked > CHECKED_WORK:
            w.unchecked = 0
            run_signal_handlers(w)
    return flag_raised(w.stop)


cdef inline Py_ssize_t at_once(double work) noexcept nogil:
    # How many rows of `work` multiply-adds each are one piece.
    return max(1, <Py_ssize_t>(CHECKED_WORK / max(1.0, work)))


cdef inline int raise_pending(int stop) except -1:
    return -1 if stop else 0  # the exception is set: run_signal_handlers


cdef const rnnfast_kernels* table(int isa, Py_ssize_t itemsize) noexcept nogil
cdef const rnnfast_cell* cell(int index) noexcept nogil
cdef int current_isa() noexcept nogil
cdef int processors() noexcept nogil
cdef int team_size() noexcept nogil
cdef bint had_better_be_alone(double work) noexcept nogil
cdef int granted(int n) noexcept nogil
cdef unsigned long long fp_enter() noexcept nogil
cdef void fp_leave(unsigned long long state) noexcept nogil

# Memory for packed weights, tapes and workspaces: aligned, and on huge pages where the system has
# them. `give` keeps the last few blocks for the next `take`. Both need the GIL.
cdef void* take(size_t size) except NULL
cdef void give(void* block) noexcept
cdef size_t size_of(void* block) noexcept
cdef size_t product(size_t a, size_t b) except? 0
