"""Cells that follow a differential equation in small steps."""

from comporta.cells.cell import Cell

CORNN = Cell(
    "cornn",
    """
    v = v + 0.1 * (tanh(W @ x + b + U @ h + V @ v) - h - v)
    h = h + 0.1 * v
    """,
    source="Rusch, Mishra 2021, arXiv:2010.00951",
    state="h v",
    output="h",
    note="Coupled oscillators: h is the place, v the speed; steps of 0.1, stiffness and damping 1.",
)

UNICORNN = Cell(
    "unicornn",
    """
    v = v - 0.1 * sigmoid(a) * (tanh(W @ x + b + u * h) + h)
    h = h + 0.1 * sigmoid(a) * v
    """,
    source="Rusch, Mishra 2021, arXiv:2103.05487",
    state="h v",
    output="h",
    note="Undamped oscillators, each by itself, with a step of its own, sigmoid(a); stack layers.",
)

LEM = Cell(
    "lem",
    """
    q = sigmoid(W_q @ x + b_q + U_q @ y)
    p = sigmoid(W_p @ x + b_p + U_p @ y)
    z = (1 - q) * z + q * tanh(W_z @ x + b_z + U_z @ y)
    y = (1 - p) * y + p * tanh(W_y @ x + b_y + U_y @ z)
    """,
    source="Rusch et al. 2022, arXiv:2110.04744",
    state="y z",
    output="y",
    note="Long expressive memory: two states, each with learned steps of many time scales.",
)

CELLS = (CORNN, UNICORNN, LEM)
