#include "isa/avx512.h"
#define REAL_BITS 64
#include "table.h"
