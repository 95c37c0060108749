# Where the members of a team meet within a call.

cdef extern from *:
    """
    #include <time.h>
    #if defined(__linux__)
    #include <linux/futex.h>
    #include <sched.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    #endif

    /* Members spin first, because a step takes microseconds and waking a thread takes tens. They sleep
       after `patience` nanoseconds: whoever is waited for may need this very processor, and a thread
       that has slept gets one back at once, while one that spins or yields has used up its share.
       Nobody spins where two members were seen on one processor. */
    typedef struct {
        int arrived, round, asleep, meeting, crowded;
        unsigned long long processors; /* bits of those that members of this round arrived on */
        long patience;
    } barrier;

    enum { SPINS = 4096 }; /* some microseconds, between looks at the clock */

    static long long barrier_clock(void)
    {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec * 1000000000LL + now.tv_nsec;
    }

    static void barrier_sit(barrier *b)
    {
    #if defined(__linux__)
        const int cpu = sched_getcpu();
        const unsigned long long bit = cpu >= 0 && cpu < 64 ? 1ULL << cpu : 0;
        if (__atomic_fetch_or(&b->processors, bit, __ATOMIC_RELAXED) & bit)
            __atomic_store_n(&b->meeting, 1, __ATOMIC_RELAXED);
    #else
        (void)b;
    #endif
    }

    static void barrier_sleep(barrier *b, int round)
    {
    #if defined(__linux__)
        __atomic_add_fetch(&b->asleep, 1, __ATOMIC_SEQ_CST);
        syscall(SYS_futex, &b->round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
        __atomic_sub_fetch(&b->asleep, 1, __ATOMIC_SEQ_CST);
    #else
        const struct timespec moment = {0, 50000};
        (void)b, (void)round;
        nanosleep(&moment, NULL);
    #endif
    }

    static void barrier_wait(barrier *b, int members)
    {
        const int round = __atomic_load_n(&b->round, __ATOMIC_RELAXED);
        const int spins = __atomic_load_n(&b->crowded, __ATOMIC_RELAXED) ? 1 : SPINS;
        long long end = 0;
        barrier_sit(b);
        if (__atomic_add_fetch(&b->arrived, 1, __ATOMIC_ACQ_REL) == members) {
            __atomic_store_n(&b->arrived, 0, __ATOMIC_RELAXED);
            __atomic_store_n(&b->crowded, b->meeting, __ATOMIC_RELAXED);
            b->meeting = 0, b->processors = 0;
            __atomic_store_n(&b->round, round + 1, __ATOMIC_SEQ_CST);
    #if defined(__linux__)
            if (__atomic_load_n(&b->asleep, __ATOMIC_SEQ_CST))
                syscall(SYS_futex, &b->round, FUTEX_WAKE_PRIVATE, members, NULL, NULL, 0);
    #endif
            return;
        }
        for (int i = 1; __atomic_load_n(&b->round, __ATOMIC_ACQUIRE) == round; i++) {
            if (i % spins)
                continue;
            if (spins == 1 || (end && barrier_clock() >= end))
                barrier_sleep(b, round);
            else if (end == 0)
                end = barrier_clock() + b->patience;
        }
    }

    /* Where another runtime runs members, perhaps one after the other, only those that are there at
       the same time may meet: the team are those that come before the first has waited for `patience`
       nanoseconds. Returns the member's number, -1 if it came too late. *team starts at 0; *count is
       written unless it came too late. */
    enum { CLOSED = 1 << 30 };

    static inline int barrier_gather(int *team, int members, long patience, int *count)
    {
        int came = __atomic_load_n(team, __ATOMIC_ACQUIRE), index;
        long long end;
        do {
            if (came & CLOSED)
                return -1;
            index = came;
        } while (!__atomic_compare_exchange_n(
            team, &came, index + 1 == members ? members | CLOSED : index + 1, 0,
            __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
        end = barrier_clock() + patience;
        while (!((came = __atomic_load_n(team, __ATOMIC_ACQUIRE)) & CLOSED))
            if (barrier_clock() >= end)
                __atomic_fetch_or(team, CLOSED, __ATOMIC_ACQ_REL);
        *count = came & ~CLOSED;
        return index;
    }
    """
    ctypedef struct barrier:
        long patience
    void barrier_wait(barrier* b, int members) noexcept nogil
    int barrier_gather(int* team, int members, long patience, int* count) noexcept nogil
