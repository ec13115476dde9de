"""Simple recurrent networks: one nonlinearity, no gate that reads the input."""

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

INDRNN = Cell(
    "indrnn",
    """
    h = relu(W_h @ x + b_h + u_h * h)
    """,
    source="Li et al. 2018, arXiv:1803.04831",
    note="A unit sees no other unit's state: u_h alone says how long it remembers. Stack layers.",
    initial="u_h = 1",
)

FASTRNN = Cell(
    "fastrnn",
    """
    n = tanh(W_n @ x + b_n + U_n @ h)
    h = sigmoid(a) * n + sigmoid(b) * h
    """,
    source="Kusupati et al. 2018, arXiv:1901.02358",
    note="A weighted residual connection. a and b are a number a unit; the paper has one for all.",
    initial="a = -3, b = 3",
)

FASTGRNN = Cell(
    "fastgrnn",
    """
    s = W @ x + U @ h
    z = sigmoid(s + b_z)
    n = tanh(s + b_n)
    h = (sigmoid(a) * (1 - z) + sigmoid(b)) * n + z * h
    """,
    source="Kusupati et al. 2018, arXiv:1901.02358",
    note="Gate and candidate share their matrices. a and b are a number a unit, not one for all.",
    initial="a = 1, b = -4",
)

ANTISYMMETRIC = Cell(
    "antisymmetric",
    """
    h = h + 0.01 * tanh(W_h @ x + b_h + U_h @ h - U_h.T @ h - 0.01 * h)
    """,
    source="Chang et al. 2019, arXiv:1902.09689",
    note="U - U.T has imaginary eigenvalues: states turn, and neither grow nor vanish. Steps of "
    "0.01, diffusion 0.01.",
)

ANTISYMMETRIC_GATED = Cell(
    "antisymmetric-gated",
    """
    s = U @ h - U.T @ h - 0.01 * h
    z = sigmoid(W_z @ x + b_z + s)
    h = h + 0.01 * z * tanh(W_h @ x + b_h + s)
    """,
    source="Chang et al. 2019, arXiv:1902.09689",
    note="A gate that shares the antisymmetric matrix says how far each unit moves.",
)

SCRN = Cell(
    "scrn",
    """
    c = 0.05 * (W_c @ x + b_c) + 0.95 * c
    s = sigmoid(W_s @ x + b_s + U_s @ h + P_s @ c)
    h = tanh(U_h @ s + b_h + P_h @ c)
    """,
    source="Mikolov et al. 2015, arXiv:1412.7753",
    state="h c",
    output="h",
    note="c is a slow context, an average of the inputs with the fixed rate 0.95.",
)

MULTIPLICATIVE_RNN = Cell(
    "multiplicative-rnn",
    """
    m = (W_m @ x) * (U_m @ h)
    h = tanh(W_h @ x + b_h + U_h @ m)
    """,
    source="Sutskever, Martens, Hinton 2011, Generating text with recurrent neural networks",
    note="The input chooses the matrix between states, in factors.",
)

LEAKY = Cell(
    "leaky",
    """
    h = (1 - sigmoid(a)) * h + sigmoid(a) * tanh(W_h @ x + b_h + U_h @ h)
    """,
    source="Jaeger et al. 2007, doi:10.1016/j.neunet.2007.04.016",
    note="Leaky integrators, as in echo state networks; here the rate of a unit is learned.",
)

CELLS = (
    RNN,
    RNN_RELU,
    INDRNN,
    FASTRNN,
    FASTGRNN,
    ANTISYMMETRIC,
    ANTISYMMETRIC_GATED,
    SCRN,
    MULTIPLICATIVE_RNN,
    LEAKY,
)
