#include "isa/baseline.h"
#define REAL_BITS 32
#include "table.h"
