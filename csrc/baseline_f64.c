#include "isa/baseline.h"
#define REAL_BITS 64
#include "table.h"
