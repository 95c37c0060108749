from rnnfast.core.job cimport Job
from rnnfast.core.kernels cimport rnnfast_outer
from rnnfast.core.packed cimport Packed

# What member `index` of a team of `count` threads does in a backward call.
cdef void backward_member(Job* job, Packed net, int index, int count) noexcept nogil
# The gradient of W_ih, dgates^T x (side 0), or of W_hh, dgates^T h (1). Side 2 is W_hr, dh^T m, or,
# with the reset gate before the product, the n of W_hh.
cdef rnnfast_outer weight_gradient(const Job* job, Packed net, int index, int side) noexcept nogil
