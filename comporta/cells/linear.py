"""Recurrences that are linear in the state: gates of the input alone, no product in the loop."""

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
    keeps="-b_z",
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
    initial="b_f = 1",
    keeps="b_f -b_i",
)

TRNN = Cell(
    "trnn",
    """
    f = sigmoid(W_f @ x + b_f)
    h = f * h + (1 - f) * (W_z @ x + b_z)
    """,
    source="Balduzzi, Ghifary 2016, arXiv:1602.02218",
    note="Strongly typed: states are averages of inputs, and are never mixed with one another.",
    initial="b_f = 1",
    keeps="b_f",
)

TGRU = Cell(
    "tgru",
    """
    z = W_z @ x + b_z + p_z
    f = sigmoid(W_f @ x + b_f + p_f)
    o = tanh(W_o @ x + b_o + p_o)
    h = f * h + z * o
    p_z = V_z @ x
    p_f = V_f @ x
    p_o = V_o @ x
    """,
    source="Balduzzi, Ghifary 2016, arXiv:1602.02218",
    state="h p_z p_f p_o",
    output="h",
    note="Strongly typed: gates read the last input in place of the last state; p carries it on.",
    initial="b_f = 1",
    keeps="b_f",
)

TLSTM = Cell(
    "tlstm",
    """
    z = W_z @ x + b_z + p_z
    f = sigmoid(W_f @ x + b_f + p_f)
    o = tanh(W_o @ x + b_o + p_o)
    c = f * c + (1 - f) * z
    h = c * o
    p_z = V_z @ x
    p_f = V_f @ x
    p_o = V_o @ x
    """,
    source="Balduzzi, Ghifary 2016, arXiv:1602.02218",
    state="c p_z p_f p_o",
    output="h",
    note="Strongly typed: gates read the last input in place of the last state; p carries it on.",
    initial="b_f = 1",
    keeps="b_f",
)

SRU = Cell(
    "sru",
    """
    f = sigmoid(W_f @ x + b_f + v_f * c)
    r = sigmoid(W_r @ x + b_r + v_r * c)
    c = f * c + (1 - f) * (W_c @ x)
    h = r * c + (1 - r) * (W_h @ x)
    """,
    source="Lei et al. 2018, arXiv:1709.02755",
    state="c",
    output="h",
    note="Gates see the state unit by unit. The highway has a matrix, for inputs of any size.",
    initial="b_f = 1",
    keeps="b_f",
)

QRNN = Cell(
    "qrnn",
    """
    z = tanh(W_z @ x + b_z + p_z)
    f = sigmoid(W_f @ x + b_f + p_f)
    o = sigmoid(W_o @ x + b_o + p_o)
    c = f * c + (1 - f) * z
    h = o * c
    p_z = V_z @ x
    p_f = V_f @ x
    p_o = V_o @ x
    """,
    source="Bradbury et al. 2016, arXiv:1611.01576",
    state="c p_z p_f p_o",
    output="h",
    note="Quasi-recurrent: a convolution of width 2, then fo-pooling.",
    initial="b_f = 1",
    keeps="b_f",
)

GILR = Cell(
    "gilr",
    """
    g = sigmoid(W_g @ x + b_g)
    h = g * h + (1 - g) * tanh(W_h @ x + b_h)
    """,
    source="Martin, Cundy 2018, arXiv:1709.04057",
    note="Gated impulse linear recurrence, the layer that was first run by a parallel scan.",
    initial="b_g = 1",
    keeps="b_g",
)

HGRN = Cell(
    "hgrn",
    """
    f = l + (1 - l) * sigmoid(W_f @ x + b_f)
    g = sigmoid(W_g @ x + b_g)
    c = f * c + (1 - f) * (W_c @ x + b_c) * sigmoid(W_c @ x + b_c)
    h = g * c
    """,
    source="Qin et al. 2023, arXiv:2311.04823",
    state="c",
    output="h",
    note="Forget gates with a learned lower bound l, one a unit; real states.",
    keeps="b_f",
)

RG_LRU = Cell(
    "rg-lru",
    """
    r = sigmoid(W_r @ x + b_r)
    i = sigmoid(W_i @ x + b_i)
    a = exp(-8 * softplus(l) * r)
    h = a * h + sqrt(1 - a * a) * (i * (W_h @ x))
    """,
    source="De et al. 2024, arXiv:2402.19427",
    note="Real-gated linear recurrent unit of Griffin. The paper's input is of size H; here a "
    "matrix stands before it.",
    initial="l = -3",
)

LMU = Cell(
    "lmu",
    """
    u = W_u @ x + E_h @ h + E_m @ m
    m = A @ m + B @ u
    h = tanh(W_h @ x + b_h + U_h @ h + V_h @ m)
    """,
    source="Voelker, Kajic, Eliasmith 2019, Legendre memory units",
    state="h m",
    output="h",
    note="A linear memory m beside the state. The paper fixes A and B to Legendre polynomials and "
    "writes one number u; here both are learned, and u has a number for each unit.",
)

CELLS = (MINGRU, MINLSTM, TRNN, TGRU, TLSTM, SRU, QRNN, GILR, HGRN, RG_LRU, LMU)
