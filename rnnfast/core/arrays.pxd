# What functions of whole arrays share: checked pointers, kernels, the team and its shares. They are
# inline, as those of gradient.pxd.

cimport numpy as cnp

from rnnfast.core cimport kernels as k
from rnnfast.core.kernels cimport omp_get_num_threads, omp_get_thread_num, rnnfast_kernels

cdef enum:
    SERIAL_WORK = 1_000_000  # operations below which one thread does it all


cdef inline int check_type(object array, int typenum, str name) except -1:
    if not isinstance(array, cnp.ndarray) or cnp.PyArray_TYPE(array) != typenum:
        raise TypeError(f"{name} must have dtype {cnp.PyArray_DescrFromType(typenum)}, "
                        f"got {getattr(array, 'dtype', type(array).__name__)}")
    return 0


cdef inline char* data_of(object array, int typenum, Py_ssize_t size, str name) except? NULL:
    # The data of a C-contiguous array of `size` elements; None gives NULL.
    if array is None:
        return NULL
    check_type(array, typenum, name)
    if cnp.PyArray_SIZE(array) != size or not cnp.PyArray_IS_C_CONTIGUOUS(array):
        raise ValueError(f"{name} must be C-contiguous with {size} elements, "
                         f"got shape {(<object>array).shape}")
    return <char*>cnp.PyArray_DATA(array)


cdef inline int real_type(object array, str name) except -1:
    if not isinstance(array, cnp.ndarray):
        raise TypeError(f"{name} must be an array, got {type(array).__name__}")
    cdef int typenum = cnp.PyArray_TYPE(array)
    if typenum != cnp.NPY_FLOAT32 and typenum != cnp.NPY_FLOAT64:
        raise TypeError(f"{name} must be float32 or float64, got {array.dtype}")
    return typenum


cdef inline int team_for(double work) noexcept nogil:
    if work < SERIAL_WORK or k.had_better_be_alone(work):
        return 1
    return k.granted(k.team_size())


cdef inline Py_ssize_t share_of(Py_ssize_t n, int i, int parts) noexcept nogil:
    return n * i // parts


cdef inline Py_ssize_t own_start(Py_ssize_t n) noexcept nogil:
    # Where the share of n things of the calling member of a team starts, and where it ends.
    return share_of(n, omp_get_thread_num(), omp_get_num_threads())


cdef inline Py_ssize_t own_end(Py_ssize_t n) noexcept nogil:
    return share_of(n, omp_get_thread_num() + 1, omp_get_num_threads())


cdef inline const rnnfast_kernels* table_of(int typenum) noexcept nogil:
    return k.table(k.current_isa(), 4 if typenum == cnp.NPY_FLOAT32 else 8)
