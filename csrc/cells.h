/* THE table of cells. A row has the name of the cell, PANEL gates side by side in a panel of its
 * weights (the patterns of gate_sums), whether it is made with layer normalisation (1 or 0), and
 * its facts as rnnfast_cell has them. From a row come the cell's entry in rnnfast_cells and its
 * kernels in every table: NAME_forward and NAME_backward of a cell_*.h, inside a step. */
#pragma once

#define RNNFAST_EACH_CELL(CELL)                                                                    \
    CELL(rnn_tanh, 1, 1, .gates = 1, .slots = 1)                                                   \
    CELL(rnn_relu, 1, 1, .gates = 1, .slots = 1)                                                   \
    CELL(lstm, 4, 1, .gates = 4, .slots = 4, .order = {0, 1, 2, 3}, .has_cell_state = 1)           \
    CELL(gru, 3, 1, .gates = 3, .slots = 4, .order = {2, 0, 1, 2}, .h_slot = 1, .carries_dh = 1)   \
    CELL(gru_reset_before, 1, 0, .gates = 3, .slots = 3, .order = {2, 0, 1}, .carries_dh = 1,      \
         .reset_before = 1)
