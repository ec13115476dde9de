"""The simple recurrent network: one product, one nonlinearity, no gate."""

from comporta.cells.cell import Cell

_NOTE = "No gate: gradients shrink or grow with every step, so clip them and keep sequences short."

RNN = Cell(
    "rnn",
    """
    h = tanh(W_h @ x + b_h + U_h @ h + c_h)
    """,
    source="Elman 1990, Finding structure in time",
    note=_NOTE,
)

RNN_RELU = Cell(
    "rnn-relu",
    """
    h = relu(W_h @ x + b_h + U_h @ h + c_h)
    """,
    source="Elman 1990; with ReLU: Le, Jaitly, Hinton 2015, arXiv:1504.00941",
    note=_NOTE,
)

CELLS = (RNN, RNN_RELU)
