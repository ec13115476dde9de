"""Minimal gated cells: gates of the input alone, linear in the state."""

from comporta.cells.cell import Cell

MINGRU = Cell(
    "mingru",
    """
    z = sigmoid(W_z @ x + b_z)
    n = W_n @ x + b_n
    h = (1 - z) * h + z * n
    """,
    source="Feng et al. 2024, arXiv:2410.01201",
    note="z writes. Nothing in the time loop is a product, so steps cost next to nothing.",
)

MINLSTM = Cell(
    "minlstm",
    """
    f = sigmoid(W_f @ x + b_f)
    i = sigmoid(W_i @ x + b_i)
    n = W_n @ x + b_n
    h = f / (f + i) * h + i / (f + i) * n
    """,
    source="Feng et al. 2024, arXiv:2410.01201",
    note="The two gates are normalized to sum to one, so the state keeps its scale.",
)

CELLS = (MINGRU, MINLSTM)
