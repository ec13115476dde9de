"""The gated recurrent unit, one name for each place of the reset gate."""

from comporta.cells.cell import Cell

GRU = Cell(
    "gru",
    """
    z = sigmoid(W_z @ x + b_z + U_z @ h + c_z)
    r = sigmoid(W_r @ x + b_r + U_r @ h + c_r)
    n = tanh(W_n @ x + b_n + r * (U_n @ h + c_n))
    h = z * h + (1 - z) * n
    """,
    source="Cho et al. 2014, arXiv:1406.1078",
    note="Reset after the product, as in torch.nn.GRU and cuDNN: z keeps the old state.",
)

GRU_RESET_BEFORE = Cell(
    "gru-reset-before",
    """
    u = sigmoid(W_u @ x + b_u + U_u @ c)
    r = sigmoid(W_r @ x + b_r + U_r @ c)
    n = tanh(W_n @ x + b_n + U_n @ (r * c))
    c = u * n + (1 - u) * c
    """,
    source="Chung et al. 2014, arXiv:1412.3555, in the form lectures teach",
    state="c",
    note="Reset before the product, and u writes: two products follow one another in a step.",
)

GRU_ONE_GATE = Cell(
    "gru-one-gate",
    """
    n = tanh(W_n @ x + b_n + U_n @ c)
    u = sigmoid(W_u @ x + b_u + U_u @ c)
    c = u * n + (1 - u) * c
    """,
    source="Chung et al. 2014, arXiv:1412.3555, simplified as lectures teach it",
    state="c",
    note="No reset gate: u alone decides how much of the candidate n is written.",
)

CELLS = (GRU, GRU_RESET_BEFORE, GRU_ONE_GATE)
