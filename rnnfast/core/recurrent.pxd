cimport numpy as cnp

from rnnfast.core.job cimport Host
from rnnfast.core.packed cimport Packed

# Inference of C-contiguous arrays: x (T, B, I), the states h0 and c0 (L*D, B, K or H) and lengths (B,) or
# NULL; y (T, B, D*K), h_n and c_n are written. Members of a team run on the threads of `host`, if it has any.
cdef int infer_into(Packed net, Py_ssize_t T, Py_ssize_t B, char* x, char* h0, char* c0,
                    const cnp.int64_t* lengths, char* y, char* h_n, char* c_n,
                    Host host) except -1
