from rnnfast.core.job cimport Job
from rnnfast.core.packed cimport Packed

# What member `index` of a team of `count` threads does in a forward call.
cdef void forward_member(Job* job, Packed net, int index, int count) noexcept nogil
