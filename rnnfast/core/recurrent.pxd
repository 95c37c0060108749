from rnnfast.core.packed cimport Packed

# Inference of dense rows: x (T, B, I) and y (T, B, D*K), states (L*D, B, K or H) or NULL before.
cdef int infer_dense(Packed net, Py_ssize_t T, Py_ssize_t B, char* x, char* h0, char* c0, char* y,
                     char* h_n, char* c_n) except -1
