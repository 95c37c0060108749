/* What the time loops need to know about each cell: the rows of cells.h as data. */
#include "cells.h"
#include "rnnfast.h"

#define FACTS(cell, panel, norm, ...)                                                              \
    {.name = #cell, .panel_gates = panel, .has_norm = norm, __VA_ARGS__},
const rnnfast_cell rnnfast_cells[] = {RNNFAST_EACH_CELL(FACTS){.name = NULL}};
