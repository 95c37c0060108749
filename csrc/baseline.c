#include "isa/baseline.h"
