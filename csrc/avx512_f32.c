#include "isa/avx512.h"
#define REAL_BITS 32
#include "table.h"
