from rnnfast.core.job cimport Job
from rnnfast.core.packed cimport Packed

# The share of member `index` of a team of `count` in a forward call.
cdef void forward_member(Job* job, Packed net, int index, int count) noexcept nogil
