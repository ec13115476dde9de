"""Long short-term memory, plain and with peepholes."""

from comporta.cells.cell import Cell

LSTM = Cell(
    "lstm",
    """
    i = sigmoid(W_i @ x + b_i + U_i @ h + c_i)
    f = sigmoid(W_f @ x + b_f + U_f @ h + c_f)
    g = tanh(W_g @ x + b_g + U_g @ h + c_g)
    o = sigmoid(W_o @ x + b_o + U_o @ h + c_o)
    c = i * g + f * c
    h = o * tanh(c)
    """,
    source="Hochreiter, Schmidhuber 1997; forget gate: Gers, Schmidhuber, Cummins 2000",
    state="h c",
    note="Equal to torch.nn.LSTM; g is the candidate.",
)

LSTM_PEEPHOLE = Cell(
    "lstm-peephole",
    """
    i = sigmoid(W_i @ x + b_i + U_i @ h + p_i * c)
    f = sigmoid(W_f @ x + b_f + U_f @ h + p_f * c)
    g = tanh(W_g @ x + b_g + U_g @ h)
    o = sigmoid(W_o @ x + b_o + U_o @ h + p_o * c)
    c = i * g + f * c
    h = o * tanh(c)
    """,
    source="Gers, Schmidhuber 2000, Recurrent nets that time and count",
    state="h c",
    note="All three gates see the cell state of the last step, because o stands before c.",
)

LSTM_PEEPHOLE_OUTPUT = Cell(
    "lstm-peephole-output",
    """
    i = sigmoid(W_i @ x + b_i + U_i @ h + p_i * c)
    f = sigmoid(W_f @ x + b_f + U_f @ h + p_f * c)
    g = tanh(W_g @ x + b_g + U_g @ h)
    c = i * g + f * c
    o = sigmoid(W_o @ x + b_o + U_o @ h + p_o * c)
    h = o * tanh(c)
    """,
    source="Gers, Schmidhuber 2000, Recurrent nets that time and count",
    state="h c",
    note="As the paper has it, the output gate sees the new cell state: o stands after c.",
)

CELLS = (LSTM, LSTM_PEEPHOLE, LSTM_PEEPHOLE_OUTPUT)
