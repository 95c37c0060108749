# cython: language_level=3, boundscheck=False, wraparound=False
"""The engine as a custom operator of ONNX Runtime: nodes of a session that call back.

ONNX Runtime loads this module as a library of operators (`register_custom_ops_library`) and finds
`RegisterCustomOps`. Its C interface is a table of functions that only grows, so a function's place
there is what identifies it: https://onnxruntime.ai/docs/api/c/struct_ort_api.html. No header of
ONNX Runtime is needed to build, and nothing of it to import.
"""

import sys
import threading
import traceback

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc, strtol
from libc.string cimport memcpy, memset

from rnnfast.core cimport kernels as k
from rnnfast.core.job cimport Host, PyThread_get_thread_ident
from rnnfast.core.packed cimport Packed
from rnnfast.core.recurrent cimport infer_into

cnp.import_array()

DOMAIN = "rnnfast"
OPERATORS = {np.dtype(np.float32): "Recurrent", np.dtype(np.float64): "RecurrentDouble"}

# What computes a node, by the number in its attribute "node": called with what ONNX's operator
# takes but P, and None for weights. Beside it: the `Packed` that are all a usual call needs, or None,
# and how many of ONNX Runtime's threads compute it, which other nodes keep spinning; 0: the engine's do.
nodes = {}
_failed = threading.local()


def failure():
    """Return, and forget, which node raised what in this thread; (0, None) if none."""
    error = getattr(_failed, "error", (0, None))
    _failed.error = (0, None)
    return error


# ---- the C interface ----------------------------------------------------------------------------


cdef enum:
    VERSION = 16  # of the interface: the first where nodes report errors, ONNX Runtime 1.16
    FLOAT = 1
    INT32 = 6
    DOUBLE = 11
    FAIL = 1
    MAX_AXES = 8

# the functions' places in the table
cdef enum:
    CREATE_STATUS = 0
    GET_ERROR_MESSAGE = 2
    CREATE_DOMAIN = 26
    ADD_TO_DOMAIN = 27
    ADD_DOMAIN = 28
    GET_DATA = 51
    COUNT_AXES = 61
    GET_AXES = 62
    GET_TYPE_AND_SHAPE = 65
    GET_INTEGER = 86
    COUNT_INPUTS = 88
    COUNT_OUTPUTS = 89
    GET_INPUT = 90
    GET_OUTPUT = 91
    RELEASE_STATUS = 93
    RELEASE_TYPE_AND_SHAPE = 99
    PARALLEL_FOR = 274  # from ONNX Runtime 1.17 on

# all but the last two return a status, which is NULL where nothing is wrong
ctypedef void* (*CreateStatus)(int, const char*) noexcept nogil
ctypedef const char* (*GetErrorMessage)(const void*) noexcept nogil
ctypedef void* (*CreateDomain)(const char*, void**) noexcept nogil
ctypedef void* (*AddToDomain)(void*, const void*) noexcept nogil
ctypedef void* (*AddDomain)(void*, void*) noexcept nogil
ctypedef void* (*GetData)(void*, void**) noexcept nogil
ctypedef void* (*Count)(const void*, size_t*) noexcept nogil
ctypedef void* (*GetAxes)(const void*, int64_t*, size_t) noexcept nogil
ctypedef void* (*GetTypeAndShape)(const void*, void**) noexcept nogil
ctypedef void* (*GetInteger)(const void*, const char*, int64_t*) noexcept nogil
ctypedef void* (*GetInput)(const void*, size_t, void**) noexcept nogil
ctypedef void* (*GetOutput)(void*, size_t, const int64_t*, size_t, void**) noexcept nogil
ctypedef void* (*ParallelFor)(const void*, void (*)(void*, size_t) noexcept nogil, size_t, size_t,
                              void*) noexcept nogil
ctypedef void (*Release)(void*) noexcept nogil

cdef struct Base:
    const void* (*table)(uint32_t) noexcept nogil
    const char* (*version)() noexcept nogil

cdef struct Operator:  # the layout of version 16
    uint32_t version
    void* create_without_status
    const char* (*name)(const Operator*) noexcept nogil
    const char* (*provider)(const Operator*) noexcept nogil
    int (*input_type)(const Operator*, size_t) noexcept nogil
    size_t (*inputs)(const Operator*) noexcept nogil
    int (*output_type)(const Operator*, size_t) noexcept nogil
    size_t (*outputs)(const Operator*) noexcept nogil
    void* compute_without_status
    void (*destroy)(void*) noexcept nogil
    int (*input_is_optional)(const Operator*, size_t) noexcept nogil
    int (*output_is_optional)(const Operator*, size_t) noexcept nogil
    int (*input_memory)(const Operator*, size_t) noexcept nogil
    int (*fewest_variadic_inputs)(const Operator*) noexcept nogil
    int (*variadic_inputs_alike)(const Operator*) noexcept nogil
    int (*fewest_variadic_outputs)(const Operator*) noexcept nogil
    int (*variadic_outputs_alike)(const Operator*) noexcept nogil
    void* (*create)(const Operator*, const void*, const void*, void**) noexcept nogil
    void* (*compute)(void*, void*) noexcept nogil

cdef struct Kernel:
    int64_t node
    int64_t dropped  # four bits for each of X, initial_h, initial_c, Y, Y_h, Y_c
    int dtype  # NumPy's number

cdef void** table = NULL
cdef bint has_parallel_for = False
cdef void* domain = NULL
cdef Operator single, double_


# ---- what the operators are: X, sequence_lens, initial_h, initial_c -> Y, Y_h, Y_c --------------
# Of ONNX's axes a tensor lacks those that "dropped" names, whose length is 1.

cdef const char* _name(const Operator* op) noexcept nogil:
    return "Recurrent" if op == &single else "RecurrentDouble"


cdef const char* _provider(const Operator* op) noexcept nogil:
    return NULL  # the CPU


cdef int _output_type(const Operator* op, size_t place) noexcept nogil:
    return FLOAT if op == &single else DOUBLE


cdef int _input_type(const Operator* op, size_t place) noexcept nogil:
    return INT32 if place == 1 else _output_type(op, place)


cdef size_t _inputs(const Operator* op) noexcept nogil:
    return 4


cdef size_t _outputs(const Operator* op) noexcept nogil:
    return 3


cdef int _input_is_optional(const Operator* op, size_t place) noexcept nogil:
    return place != 0


cdef int _output_is_optional(const Operator* op, size_t place) noexcept nogil:
    return 1


cdef int _zero(const Operator* op, size_t place) noexcept nogil:
    return 0


cdef int _one(const Operator* op) noexcept nogil:
    return 1


cdef void* _create(
    const Operator* op, const void* functions, const void* info, void** kernel
) noexcept nogil:
    cdef Kernel* made = <Kernel*>malloc(sizeof(Kernel))
    if made == NULL:
        return (<CreateStatus>table[CREATE_STATUS])(FAIL, "out of memory")
    kernel[0] = made
    made.dtype = cnp.NPY_FLOAT32 if op == &single else cnp.NPY_FLOAT64
    cdef void* status = (<GetInteger>table[GET_INTEGER])(info, "node", &made.node)
    if status == NULL:
        status = (<GetInteger>table[GET_INTEGER])(info, "dropped", &made.dropped)
    return status


cdef void _destroy(void* kernel) noexcept nogil:
    free(kernel)


# ---- a call -------------------------------------------------------------------------------------

cdef int _check(void* status) except -1:
    if status != NULL:
        message = (<GetErrorMessage>table[GET_ERROR_MESSAGE])(status)
        text = message.decode()
        (<Release>table[RELEASE_STATUS])(status)
        raise RuntimeError(text)
    return 0


cdef inline int _dropped(int64_t bits, int place) noexcept nogil:
    return bits >> 4 * place & 15


cdef Py_ssize_t _axes(void* value, int64_t* lengths, int dropped) except -1:
    # how many axes a tensor has, and their lengths, with those that it lacks
    cdef void* shape
    cdef size_t axes, whole, place
    _check((<GetTypeAndShape>table[GET_TYPE_AND_SHAPE])(value, &shape))
    try:
        _check((<Count>table[COUNT_AXES])(shape, &axes))
        whole = axes + (dropped & 1) + (dropped >> 1 & 1) + (dropped >> 2 & 1) + (dropped >> 3)
        if whole > MAX_AXES or dropped >> whole:
            raise ValueError(f"an input has {axes} axes")
        _check((<GetAxes>table[GET_AXES])(shape, lengths, axes))
    finally:
        (<Release>table[RELEASE_TYPE_AND_SHAPE])(shape)
    for place in range(whole if dropped else 0, 0, -1):
        if dropped >> (place - 1) & 1:
            lengths[place - 1] = 1
        else:
            axes -= 1
            lengths[place - 1] = lengths[axes]
    return whole


cdef object _array(void* value, int dtype, int dropped):
    # a tensor as it lies in ONNX Runtime's memory
    cdef void* data
    cdef int64_t lengths[MAX_AXES]
    cdef Py_ssize_t axes = _axes(value, lengths, dropped)
    _check((<GetData>table[GET_DATA])(value, &data))
    if data == NULL:  # which NumPy would take as an order to allocate
        return np.empty([lengths[i] for i in range(axes)], cnp.PyArray_DescrFromType(dtype))
    return cnp.PyArray_SimpleNewFromData(<int>axes, <cnp.npy_intp*>lengths, dtype, data)


cdef int _give(void* context, size_t place, object result, int dtype, int dropped) except -1:
    # copies an array to an output, where the node has it
    axes = tuple([axis for axis in range(4) if dropped >> axis & 1])
    cdef cnp.ndarray array = cnp.PyArray_GETCONTIGUOUS(np.squeeze(result, axes))
    cdef void* value = NULL
    cdef void* data = NULL
    if cnp.PyArray_TYPE(array) != dtype:
        raise TypeError(f"a node gave {array.dtype}")
    _check((<GetOutput>table[GET_OUTPUT])(
        context, place, <const int64_t*>cnp.PyArray_DIMS(array), cnp.PyArray_NDIM(array), &value
    ))
    if value != NULL and cnp.PyArray_SIZE(array):
        _check((<GetData>table[GET_DATA])(value, &data))
        memcpy(data, cnp.PyArray_DATA(array), cnp.PyArray_NBYTES(array))
    return 0


cdef int _read_state(void* value, int dropped, Packed net, Py_ssize_t B, Py_ssize_t columns,
                     void** data) except -1:
    # the data of a state (D, B, columns), NULL if it is not given; returns whether its shape is so
    cdef int64_t lengths[MAX_AXES]
    data[0] = NULL
    if value == NULL:
        return True
    if (_axes(value, lengths, dropped) != 3 or lengths[0] != net.directions or lengths[1] != B
            or lengths[2] != columns):
        return False
    return _check((<GetData>table[GET_DATA])(value, data)) == 0


cdef int _write(void* context, size_t place, size_t count, const int64_t* lengths, size_t axes,
                int dropped, void** data) except -1:
    # where an output goes; NULL if the node does not have it
    cdef void* value = NULL
    cdef int64_t[4] kept
    cdef size_t axis, n = 0
    data[0] = NULL
    for axis in range(axes):
        if not dropped >> axis & 1:
            kept[n] = lengths[axis]
            n += 1
        elif lengths[axis] != 1:
            raise ValueError(f"Squeeze expected axis {axis} of length 1, got {lengths[axis]}")
    if place < count:
        _check((<GetOutput>table[GET_OUTPUT])(context, place, kept, n, &value))
    return 0 if value == NULL else _check((<GetData>table[GET_DATA])(value, data))


cdef int _read_lengths(void* value, Py_ssize_t T, Py_ssize_t B, int64_t* lengths) except -1:
    # copies `sequence_lens` (B,); returns whether it is such, with numbers up to T
    cdef int64_t axes[MAX_AXES]
    cdef void* data
    cdef Py_ssize_t b
    if _axes(value, axes, 0) != 1 or axes[0] != B:
        return False
    _check((<GetData>table[GET_DATA])(value, &data))
    for b in range(B):
        lengths[b] = (<int*>data)[b]
        if not 0 <= lengths[b] <= T:
            return False
    return True


cdef void _on_host(void* context, void (*call)(void*, size_t) noexcept nogil, size_t n,
                   void* argument) noexcept nogil:
    # On the threads of the session; where ONNX Runtime refuses, one after the other.
    cdef void* status = (<ParallelFor>table[PARALLEL_FOR])(context, call, n, n, argument)
    cdef size_t i
    if status == NULL:
        return
    (<Release>table[RELEASE_STATUS])(status)
    for i in range(n):
        call(argument, i)


cdef bint _run_direct(Packed net, void* context, void** inputs, size_t outputs, int64_t dropped,
                      Host host) except -1:
    # From ONNX Runtime's memory into it, without an array between. Returns False for what is to go
    # through arrays: empty inputs, wrong shapes, and several samples in two directions, whose
    # outputs lie otherwise than the engine's.
    cdef int64_t x[MAX_AXES]
    cdef int64_t[4] y
    cdef int64_t[3] state
    cdef void* data[3]
    cdef void* results[3]
    cdef char* spare = NULL
    cdef int64_t* lengths = NULL
    cdef Py_ssize_t H = net.hidden, T, B, bytes
    cdef int64_t D = net.directions
    cdef int place
    if _axes(inputs[0], x, _dropped(dropped, 0)) != 3:
        return False
    T, B = x[0], x[1]
    if T == 0 or B == 0 or x[2] == 0 or x[2] != net.parts[0].input or (D > 1 and B > 1):
        return False
    if (not _read_state(inputs[2], _dropped(dropped, 1), net, B, H, &data[1])
            or not _read_state(inputs[3], _dropped(dropped, 2), net, B, H, &data[2])):
        return False
    _check((<GetData>table[GET_DATA])(inputs[0], &data[0]))
    bytes = k.product(D * B, H * net.itemsize)  # of a step, and of a state
    y[0], y[1], y[2], y[3] = T, D, B, H
    state[0], state[1], state[2] = D, B, H
    try:
        if inputs[1] != NULL:
            lengths = <int64_t*>k.take(B * sizeof(int64_t))
            if not _read_lengths(inputs[1], T, B, lengths):
                return False
        _write(context, 0, outputs, y, 4, _dropped(dropped, 3), &results[0])
        _write(context, 1, outputs, state, 3, _dropped(dropped, 4), &results[1])
        _write(context, 2, outputs, state, 3, _dropped(dropped, 5), &results[2])
        if results[0] == NULL or results[1] == NULL or results[2] == NULL:
            spare = <char*>k.take(k.product(T + 2, bytes))
            for place in range(3):  # y, then the states
                if results[place] == NULL:
                    results[place] = spare + (T + place - 1 if place else 0) * bytes
        infer_into(net, T, B, <char*>data[0], <char*>data[1], <char*>data[2],
                   <const cnp.int64_t*>lengths, <char*>results[0], <char*>results[1],
                   <char*>results[2], host)
    finally:
        k.give(spare)
        k.give(lengths)
    return True


cdef _forget_arrays(error, outer):
    # Those in the frames of its traceback lie in memory that ONNX Runtime is about to free. `outer` is
    # what the caller was handling when it called: not ours.
    while error is not None and error is not outer:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


cdef void* _compute(void* kernel, void* context) noexcept with gil:
    cdef Kernel* own = <Kernel*>kernel
    cdef size_t place, inputs, outputs
    cdef void* values[4]
    cdef list arrays
    cdef Host host
    outer = sys.exc_info()[1]
    try:
        memset(values, 0, sizeof(values))
        _check((<Count>table[COUNT_INPUTS])(context, &inputs))
        for place in range(inputs):
            _check((<GetInput>table[GET_INPUT])(context, place, &values[place]))
        _check((<Count>table[COUNT_OUTPUTS])(context, &outputs))
        node, packed, threads = nodes[own.node]
        host.run, host.context = NULL, context
        host.caller = PyThread_get_thread_ident()
        host.team = threads if has_parallel_for else 1
        if threads:
            host.run = _on_host
        if isinstance(packed, Packed) and _run_direct(packed, context, values, outputs, own.dropped,
                                                      host):
            return NULL
        bits = [_dropped(own.dropped, 0), 0, _dropped(own.dropped, 1), _dropped(own.dropped, 2)]
        arrays = [None if values[place] == NULL
                  else _array(values[place], cnp.NPY_INT32 if place == 1 else own.dtype, bits[place])
                  for place in range(4)]
        results = node(arrays[0], None, None, None, arrays[1], arrays[2], arrays[3])
        for place in range(outputs):
            _give(context, place, results[place], own.dtype, _dropped(own.dropped, 3 + place))
        return NULL
    except BaseException as error:  # it passes through C++: `failure` tells it whole
        _forget_arrays(error, outer)
        _failed.error = (own.node, error)
        return (<CreateStatus>table[CREATE_STATUS])(FAIL, "raised in Python")


# ---- the library's entry ------------------------------------------------------------------------

cdef extern from *:
    """
    #pragma GCC visibility push(default)
    void *RegisterCustomOps(void *options, const void *base);
    #pragma GCC visibility pop
    """


cdef void _describe(Operator* op) noexcept nogil:
    op.version = VERSION
    op.name, op.provider = _name, _provider
    op.inputs, op.input_type, op.input_is_optional = _inputs, _input_type, _input_is_optional
    op.outputs, op.output_type, op.output_is_optional = _outputs, _output_type, _output_is_optional
    op.input_memory = _zero
    op.fewest_variadic_inputs = op.variadic_inputs_alike = _one
    op.fewest_variadic_outputs = op.variadic_outputs_alike = _one
    op.create, op.compute, op.destroy = _create, _compute, _destroy


cdef long _minor(const char* version) noexcept nogil:
    # of "1.17.0"
    cdef char* rest
    cdef long major = strtol(version, &rest, 10)
    return strtol(rest + 1, NULL, 10) if major == 1 else 1000


cdef public void* RegisterCustomOps(void* options, const void* base) noexcept nogil:
    global table, domain, has_parallel_for
    cdef void* status
    cdef void** functions = <void**>(<const Base*>base).table(VERSION)
    if functions == NULL:  # older than 1.16; the session then does not know the domain
        return NULL
    table = functions
    has_parallel_for = _minor((<const Base*>base).version()) >= 17
    if domain == NULL:
        _describe(&single)
        _describe(&double_)
        status = (<CreateDomain>table[CREATE_DOMAIN])("rnnfast", &domain)
        if status == NULL:
            status = (<AddToDomain>table[ADD_TO_DOMAIN])(domain, &single)
        if status == NULL:
            status = (<AddToDomain>table[ADD_TO_DOMAIN])(domain, &double_)
        if status != NULL:
            return status
    return (<AddDomain>table[ADD_DOMAIN])(options, domain)
