#include "isa/avx2.h"
#define REAL_BITS 64
#include "table.h"
