#include "isa/avx2.h"
