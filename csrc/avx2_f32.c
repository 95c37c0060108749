#include "isa/avx2.h"
#define REAL_BITS 32
#include "table.h"
