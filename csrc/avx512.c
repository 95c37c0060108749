#include "isa/avx512.h"
