/* The cells. */
#include "rnnfast.h"

const rnnfast_cell rnnfast_cells[RNNFAST_CELLS] = {
    [RNNFAST_RNN_TANH] = {.name = "rnn_tanh", .gates = 1, .slots = 1},
    [RNNFAST_RNN_RELU] = {.name = "rnn_relu", .gates = 1, .slots = 1},
    [RNNFAST_LSTM] =
        {.name = "lstm", .gates = 4, .slots = 4, .has_cell_state = 1, .order = {0, 1, 2, 3}},
    [RNNFAST_GRU] = {.name = "gru",
                     .gates = 3,
                     .slots = 4,
                     .h_slot = 1,
                     .carries_dh = 1,
                     .order = {2, 0, 1, 2}},
    [RNNFAST_GRU_RESET_BEFORE] = {.name = "gru_reset_before",
                                  .gates = 3,
                                  .slots = 3,
                                  .carries_dh = 1,
                                  .reset_before = 1,
                                  .order = {2, 0, 1}},
};
