from rnnfast.core.packed cimport Packed

# Inference within another runtime, whose threads may still spin: C-contiguous x (T, B, I), y (T, B, D*K)
# and states (L*D, B, K or H), of which h0 and c0 may be NULL.
cdef int infer_hosted(Packed net, Py_ssize_t T, Py_ssize_t B, char* x, char* h0, char* c0, char* y,
                      char* h_n, char* c_n) except -1
