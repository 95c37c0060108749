# Weight gradients: sums over all rows of a call, formed tile by tile. The functions are inline,
# because both the time loops and the dense layers use them.

from libc.string cimport memset

from rnnfast.core.kernels cimport (
    RNNFAST_BLOCK_ROWS, RNNFAST_VECTORS, Watch, interrupted, rnnfast_kernels, rnnfast_outer,
    rnnfast_panels, rnnfast_run,
)

cdef enum:
    SUMS_BYTES = 1 << 18  # for the sums of the tiles that grow together, in the second-level cache


cdef struct Rows:
    # The rows of a call: the first active[t] of B at step t of T.
    Py_ssize_t T, B
    const Py_ssize_t* active


cdef inline int next_block(const Rows* rows, Py_ssize_t* t, Py_ssize_t* r,
                           rnnfast_run* runs) noexcept nogil:
    # Writes the next RNNFAST_BLOCK_ROWS active rows as runs of the flattened (T, B). Returns how many
    # runs these are.
    cdef Py_ssize_t left = RNNFAST_BLOCK_ROWS, n
    cdef int count = 0
    while left and t[0] < rows.T:
        n = min(left, rows.active[t[0]] - r[0])
        if n > 0:
            if count and runs[count - 1].start + runs[count - 1].count == t[0] * rows.B + r[0]:
                runs[count - 1].count += n
            else:
                runs[count].start, runs[count].count = t[0] * rows.B + r[0], n
                count += 1
            left -= n
            r[0] += n
        if r[0] >= rows.active[t[0]]:
            t[0] += 1
            r[0] = 0
    return count


cdef inline Py_ssize_t tiles_of(const rnnfast_kernels* kn, const rnnfast_outer* o) noexcept nogil:
    return kn.tiles_per_panel(o.n_runs, o.run_length) * rnnfast_panels(o.n_a, 1, kn.lanes)


cdef inline Py_ssize_t tiles_end(const rnnfast_kernels* kn, Py_ssize_t q,
                                 Py_ssize_t last) noexcept nogil:
    # The end of the tiles from q on whose sums fit SUMS_BYTES.
    return min(last, q + SUMS_BYTES // kn.tile_bytes)


cdef inline void sum_tiles(const rnnfast_kernels* kn, const rnnfast_outer* o, const Rows* rows,
                           Py_ssize_t q0, Py_ssize_t q1, Watch* watch) noexcept nogil:
    # Sums over all rows for tiles [q0, q1); zeros where there are no rows. NULL as watch: where the sums
    # are added at once, which a signal must not cut short.
    cdef double work = <double>(q1 - q0) * kn.rows * kn.lanes * RNNFAST_VECTORS * RNNFAST_BLOCK_ROWS
    cdef rnnfast_run runs[RNNFAST_BLOCK_ROWS]
    cdef Py_ssize_t t = 0, r = 0
    cdef int count = next_block(rows, &t, &r, runs), fresh = 1
    memset(o.sums, 0, 0 if count else (q1 - q0) * kn.tile_bytes)
    while count and (watch == NULL or not interrupted(watch, work)):
        kn.outer(o, runs, count, fresh, q0, q1)
        fresh = 0
        count = next_block(rows, &t, &r, runs)


cdef inline void sum_narrow(const rnnfast_kernels* kn, const char* a, Py_ssize_t lda,
                            Py_ssize_t n_a, const char* g, Py_ssize_t ldg, const Rows* rows,
                            Py_ssize_t columns, char* sums, Py_ssize_t lds) noexcept nogil:
    # sums[k][c] += sum over all rows of a[row][k] g[row][c]. NULL stands for a column of ones.
    cdef rnnfast_run runs[RNNFAST_BLOCK_ROWS]
    cdef Py_ssize_t t = 0, r = 0
    cdef int count = next_block(rows, &t, &r, runs)
    while count:
        kn.narrow(a, lda, n_a, g, ldg, runs, count, columns, sums, lds)
        count = next_block(rows, &t, &r, runs)
