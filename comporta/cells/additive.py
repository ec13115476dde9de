"""Gates between an input and a state that is never squashed, or only at the end."""

from comporta.cells.cell import Cell

ATR = Cell(
    "atr",
    """
    p = W @ x + b
    q = U @ h
    h = sigmoid(p + q) * p + sigmoid(p - q) * h
    """,
    source="Zhang et al. 2018, arXiv:1810.12546",
    note="Addition-subtraction twin gates: two gates from one pair of matrices.",
)

CFN = Cell(
    "cfn",
    """
    t = sigmoid(W_t @ x + b_t + U_t @ h)
    i = sigmoid(W_i @ x + b_i + U_i @ h)
    h = t * tanh(h) + i * tanh(W_h @ x + b_h)
    """,
    source="Laurent, von Brecht 2016, arXiv:1612.06212",
    note="Chaos-free: without input every state dies away.",
    initial="b_t = 1, b_i = -1",
)

RAN = Cell(
    "ran",
    """
    i = sigmoid(W_i @ x + b_i + U_i @ h)
    f = sigmoid(W_f @ x + b_f + U_f @ h)
    c = i * (W_c @ x) + f * c
    h = tanh(c)
    """,
    source="Lee, Levy, Zettlemoyer 2017, arXiv:1705.07393",
    state="h c",
    note="Recurrent additive: c is a weighted sum of the inputs, nothing else.",
    initial="b_f = 1",
    keeps="b_f -b_i",
)

UGRNN = Cell(
    "ugrnn",
    """
    g = sigmoid(W_g @ x + b_g + U_g @ h)
    n = tanh(W_n @ x + b_n + U_n @ h)
    h = g * h + (1 - g) * n
    """,
    source="Collins, Sohl-Dickstein, Sussillo 2017, arXiv:1611.09913",
    note="Update gate alone, easy to train when shallow. g keeps the old state.",
    initial="b_g = 1",
    keeps="b_g",
)

INTERSECTION = Cell(
    "intersection",
    """
    n = tanh(W_n @ x + b_n + U_n @ h)
    d = relu(W_d @ x + b_d + U_d @ h)
    p = sigmoid(W_p @ x + b_p + U_p @ h)
    q = sigmoid(W_q @ x + b_q + U_q @ h)
    h = p * h + (1 - p) * n
    y = q * (W_y @ x) + (1 - q) * d
    """,
    source="Collins, Sohl-Dickstein, Sussillo 2017, arXiv:1611.09913",
    output="y",
    note="+RNN: one gate in time, one in depth. The paper passes x on as it is, of size H; here a "
    "matrix stands before it.",
    initial="b_p = 1",
    keeps="b_p",
)

MINIMALRNN = Cell(
    "minimalrnn",
    """
    z = tanh(W_z @ x + b_z)
    u = sigmoid(U_u @ h + V_u @ z + b_u)
    h = u * h + (1 - u) * z
    """,
    source="Chen 2017, arXiv:1711.06788",
    note="The input is encoded before it meets the state; the state stays among such encodings.",
    initial="b_u = 1",
    keeps="b_u",
)

CELLS = (ATR, CFN, RAN, UGRNN, INTERSECTION, MINIMALRNN)
