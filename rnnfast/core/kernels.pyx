# cython: language_level=3, binding=False
"""The compiled kernels of csrc: which instruction sets there are, threads, and shared memory."""

import os

from libc.stdlib cimport free
from libc.string cimport memset

cdef extern from "rnnfast.h" nogil:
    const rnnfast_cell rnnfast_cells[]
    int rnnfast_isa_count()
    const char* rnnfast_isa_name(int isa)
    int rnnfast_isa_usable(int isa)
    int rnnfast_isa_find(const char* name)
    const rnnfast_kernels* rnnfast_table(int isa, int itemsize)
    unsigned long long rnnfast_fp_enter()
    void rnnfast_fp_leave(unsigned long long state)

cdef extern from *:
    """
    #include <stdlib.h>
    #include <stdint.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    enum { HUGE_PAGE = 1 << 21 };

    static void *allocate(size_t size)
    {
        void *block = NULL;
        const int huge = size >= 2 * HUGE_PAGE;
        if (posix_memalign(&block, huge ? HUGE_PAGE : 64, size))
            return NULL;
    #if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (huge)
            madvise(block, size, MADV_HUGEPAGE);
    #endif
        return block;
    }

    #ifdef __SANITIZE_ADDRESS__
    enum { KEEPS = 0 }; /* a block used again would hide accesses past the end of a smaller array */
    #else
    enum { KEEPS = 1 };
    #endif

    #if defined(_OPENMP)
    #define HAS_OPENMP 1
    #else
    #define HAS_OPENMP 0
    #endif
    #if defined(__clang__)
    #define COMPILER "Clang " __clang_version__
    #elif defined(__GNUC__)
    #define COMPILER "GCC " __VERSION__
    #else
    #define COMPILER "unknown"
    #endif
    """
    void* allocate(size_t size) nogil
    const int KEEPS
    const int HAS_OPENMP
    const char* COMPILER


# ---- instruction sets

cdef int _isa
_selected = ""  # its name


def built():
    """Names of the instruction sets compiled in, slowest first."""
    return [rnnfast_isa_name(i).decode() for i in range(rnnfast_isa_count())]


def available():
    """Names of those that this processor runs, slowest first."""
    return [rnnfast_isa_name(i).decode() for i in range(rnnfast_isa_count())
            if rnnfast_isa_usable(i)]


def selected():
    """Name of the instruction set that packs made from now on will use."""
    return _selected


def select(name=None):
    """Use the instruction set `name` from now on.

    None: what the environment variable RNNFAST_ISA names, else the fastest that this processor runs.
    """
    global _isa, _selected
    cdef bytes text
    cdef int isa
    given = os.environ.get("RNNFAST_ISA") if name is None else name
    source = "RNNFAST_ISA: " if name is None else ""
    if given:
        text = str(given).encode()
        isa = rnnfast_isa_find(text)
        if isa < 0:
            raise ValueError(f"{source}instruction set {given!r} is unknown; "
                             f"built: {', '.join(built())}")
        if not rnnfast_isa_usable(isa):
            raise ValueError(f"{source}this processor lacks instruction set {given!r}; "
                             f"usable: {', '.join(available())}")
    else:
        isa = rnnfast_isa_find(NULL)
    _isa, _selected = isa, rnnfast_isa_name(isa).decode()


try:
    select()
except ValueError as error:
    raise RuntimeError(str(error)) from None

cdef const rnnfast_kernels* table(int isa, Py_ssize_t itemsize) noexcept nogil:
    return rnnfast_table(isa, <int>itemsize)

cdef const rnnfast_cell* cell(int index) noexcept nogil:
    return &rnnfast_cells[index]

def cells():
    """The engine's facts of each cell by its name: the fields of rnnfast_cell, which rnnfast.h has."""
    cdef const rnnfast_cell* row = rnnfast_cells
    facts = {}
    while row.name != NULL:
        facts[row.name.decode()] = row[0]
        row += 1
    return facts

cdef int current_isa() noexcept nogil:
    return _isa

cdef unsigned long long fp_enter() noexcept nogil:
    return rnnfast_fp_enter()

cdef void fp_leave(unsigned long long state) noexcept nogil:
    rnnfast_fp_leave(state)


# ---- signals

cdef extern from "Python.h":
    int PyErr_CheckSignals() noexcept


cdef void run_signal_handlers(Watch* w) noexcept nogil:
    # Handlers run in the caller's floating-point state. An exception stays pending in this thread until
    # the call returns.
    rnnfast_fp_leave(w.fp)
    with gil:
        if PyErr_CheckSignals():
            raise_flag(w.stop)
    rnnfast_fp_enter()


# ---- threads

cdef int _limit = 0
cdef int _cap = 1 << 20


def openmp():
    """Whether the engine was built with OpenMP."""
    return bool(HAS_OPENMP)


def compiler():
    """Compiler that built the kernels."""
    return COMPILER.decode()


def omp_max_threads():
    """Threads the OpenMP runtime would use: OMP_NUM_THREADS, affinity, threadpoolctl."""
    return omp_get_max_threads()


def set_thread_limit(int n):
    """Use exactly `n` threads; 0: as many as the OpenMP runtime offers, up to the cap."""
    global _limit
    _limit = n


def thread_limit():
    """Number given to set_thread_limit."""
    return _limit


def set_thread_cap(int n):
    """At most `n` threads where no limit is set (processors that this process may use)."""
    global _cap
    _cap = n


cdef int processors() noexcept nogil:
    return _cap


cdef int team_size() noexcept nogil:
    cdef int n
    if _limit > 0:
        return _limit if HAS_OPENMP else 1
    n = omp_get_max_threads()
    return n if n < _cap else _cap


cdef extern from *:
    """
    #if defined(_OPENMP) && !defined(_WIN32)
    #include <pthread.h>

    /* OpenMP ends the process where the system starts no more threads. So before a team grows, as
       many threads as it lacks are started, together, and ended. */
    static void *pass(void *gate)
    {
        pthread_mutex_lock((pthread_mutex_t *)gate);
        pthread_mutex_unlock((pthread_mutex_t *)gate);
        return NULL;
    }

    static int startable(int n)
    {
        pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
        pthread_t threads[1024];
        int i, started = 0;
        pthread_mutex_lock(&gate);
        while (started < n && started < 1024
               && !pthread_create(&threads[started], NULL, pass, &gate))
            started++;
        pthread_mutex_unlock(&gate);
        for (i = 0; i < started; i++)
            pthread_join(threads[i], NULL);
        return started;
    }
    #else
    static int startable(int n) { return n; }
    #endif

    /* OpenMP keeps the threads of the last team that the calling thread had. */
    static __thread int last_team = 1;

    static int can_have(int n)
    {
        if (n > last_team)
            n = last_team + startable(n - last_team);
        if (n > 1)
            last_team = n;
        return n;
    }
    """
    int can_have(int n) nogil


cdef int granted(int n) noexcept nogil:
    # The team for a call that asks for n threads: fewer where the system starts no more.
    return can_have(n)


cdef extern from *:
    """
    #include <stdio.h>
    #include <time.h>

    /* Whether other programs want the processors that the calling thread runs on: Linux counts how long
       a thread runs and how long it waits for a processor. Looks are rare, because one takes as long as
       a small call. One that finds waiting says little: a thread of our own may have been put on the same
       processor for a moment. */
    typedef struct { long long next, ran, waited; int taken, calm, alone, silent; } look;
    enum { TAKEN = 2, CALM = 4 }; /* so many looks in a row change the number of threads */
    enum { STALE = 20 }; /* after so many that say nothing, what was seen is old */
    static __thread look last_look;

    static int judge(look *l, long long ran, long long waited)
    {
        const long long runs = ran - l->ran, waits = waited - l->waited;
        l->ran = ran, l->waited = waited;
        if (runs + waits < 10000000) { /* 10 ms: the thread has slept, and this says nothing */
            if (++l->silent >= STALE)
                l->alone = l->taken = l->calm = l->silent = 0;
            return l->alone;
        }
        l->silent = 0;
        if (4 * waits > runs + waits)
            l->taken++, l->calm = 0;
        else
            l->calm++, l->taken = 0;
        l->alone = l->alone ? l->calm < CALM : l->taken >= TAKEN;
        return l->alone;
    }

    static int looks_crowded(void)
    {
        look *l = &last_look;
        struct timespec now;
        long long moment, ran, waited;
        FILE *file;
        clock_gettime(CLOCK_MONOTONIC, &now);
        moment = now.tv_sec * 1000000000LL + now.tv_nsec;
        if (moment >= l->next) {
            l->next = moment + 50000000;
            file = fopen("/proc/thread-self/schedstat", "re");
            if (file) {
                if (fscanf(file, "%lld %lld", &ran, &waited) == 2)
                    judge(l, ran, waited);
                fclose(file);
            }
        }
        return l->alone;
    }
    """
    ctypedef struct look:
        pass
    int judge(look* l, long long ran, long long waited) nogil
    int looks_crowded() nogil


cdef enum:
    LONG_WORK = 100_000_000  # multiply-adds, some milliseconds of one thread


cdef bint had_better_be_alone(double work) noexcept nogil:
    # Beside other programs, threads that meet every few milliseconds or less wait for each other most of
    # the time. `work`: multiply-adds between two meetings. A number of threads that was set is kept.
    return _limit == 0 and work < LONG_WORK and looks_crowded()


def crowded():
    """Whether the calling thread finds its processors taken by others, so that short calls stay on it."""
    return bool(looks_crowded())


def judged(looks):
    """What `crowded` answers after each pair of times that a thread had run and waited, in seconds."""
    cdef look l
    memset(&l, 0, sizeof(l))
    return [bool(judge(&l, <long long>(1e9 * ran), <long long>(1e9 * waited))) for ran, waited in looks]


# ---- memory

cdef enum:
    FREE_LIST = 16
    HEADER = 64
    LARGE = 1 << 16  # bytes; small blocks do not take the places of large ones

cdef struct Kept:
    void* blocks[FREE_LIST]
    size_t sizes[FREE_LIST]
    int oldest

cdef Kept _kept[2]  # small and large blocks


cdef size_t product(size_t a, size_t b) except? 0:
    if b and a > (<size_t>1 << 62) // b:
        raise MemoryError(f"an array of {a} x {b} elements does not fit into memory")
    return a * b


cdef void* take(size_t size) except NULL:
    # The smallest kept block that is large enough and at most twice as large as needed.
    cdef Kept* kept = &_kept[size >= LARGE]
    cdef int i, best = -1
    cdef void* block
    for i in range(FREE_LIST):
        if kept.blocks[i] != NULL and size <= kept.sizes[i] <= 2 * size:
            if best < 0 or kept.sizes[i] < kept.sizes[best]:
                best = i
    if best >= 0:
        block = kept.blocks[best]
        kept.blocks[best] = NULL
    else:
        block = allocate(size + HEADER) if size <= <size_t>1 << 62 else NULL
        if block == NULL:
            raise MemoryError(f"{size} bytes could not be allocated")
        (<size_t*>block)[0] = size
    return <char*>block + HEADER


cdef size_t size_of(void* block) noexcept:
    return 0 if block == NULL else (<size_t*>(<char*>block - HEADER))[0]


cdef void give(void* block) noexcept:
    # Fills an empty place, or else replaces blocks in turn.
    cdef Kept* kept
    cdef int place
    if block == NULL:
        return
    kept = &_kept[size_of(block) >= LARGE]
    block = <char*>block - HEADER
    if not KEEPS:
        free(block)
        return
    for place in range(FREE_LIST):
        if kept.blocks[place] == NULL:
            break
    else:
        place = kept.oldest
        kept.oldest = (place + 1) % FREE_LIST
        free(kept.blocks[place])
    kept.blocks[place] = block
    kept.sizes[place] = (<size_t*>block)[0]


def release():
    """Return the blocks that are kept to the C library. For tests."""
    cdef int large, i
    for large in range(2):
        for i in range(FREE_LIST):
            free(_kept[large].blocks[i])
            _kept[large].blocks[i] = NULL
