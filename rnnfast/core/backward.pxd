from rnnfast.core.job cimport Job
from rnnfast.core.kernels cimport rnnfast_outer
from rnnfast.core.packed cimport Packed

# The share of member `index` of a team of `count` in a backward call.
cdef void backward_member(Job* job, Packed net, int index, int count) noexcept nogil
# dW = dgates^T x (side 0), dgates^T h (1), or of the projection dh^T m (2).
cdef rnnfast_outer weight_gradient(const Job* job, Packed net, int index, int side) noexcept nogil
