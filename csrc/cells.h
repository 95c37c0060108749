/* The table of cells. A row gives the name of a cell, its panel_gates, its has_norm (1 or 0), and
 * the other facts of rnnfast_cell. The row makes the entry in rnnfast_cells and the kernels in
 * every table, from NAME_forward and NAME_backward of a cell_*.h. */
#pragma once

#define RNNFAST_EACH_CELL(CELL)                                                                    \
    CELL(rnn_tanh, 1, 1, .gates = 1, .slots = 1)                                                   \
    CELL(rnn_relu, 1, 1, .gates = 1, .slots = 1)                                                   \
    CELL(lstm, 4, 1, .gates = 4, .slots = 4, .order = {0, 1, 2, 3}, .has_cell_state = 1)           \
    CELL(lstm_peephole, 4, 1, .gates = 4, .slots = 4, .order = {0, 1, 2, 3}, .has_cell_state = 1,  \
         .own = {1, 2, 0, 3})                                                                      \
    CELL(gru, 3, 1, .gates = 3, .slots = 4, .order = {2, 0, 1, 2}, .h_slot = 1, .carries_dh = 1)   \
    CELL(gru_reset_before, 1, 0, .gates = 3, .slots = 3, .order = {2, 0, 1}, .carries_dh = 1,      \
         .reset_before = 1)                                                                        \
    CELL(min_gru, 2, 0, .gates = 2, .slots = 2, .order = {0, 1}, .carries_dh = 1, .input_only = 1) \
    CELL(min_lstm, 3, 0, .gates = 3, .slots = 3, .order = {0, 1, 2}, .carries_dh = 1,              \
         .input_only = 1)

#ifdef ISA /* kernels, which need the equations too */
#include "cell_gru.h"
#include "cell_lstm.h"
#include "cell_min.h"
#include "cell_rnn.h"
#endif
