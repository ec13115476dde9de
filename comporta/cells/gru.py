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
    keeps="b_z",
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
    keeps="-b_u",
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
    keeps="-b_u",
)

MGU = Cell(
    "mgu",
    """
    f = sigmoid(W_f @ x + b_f + U_f @ h)
    n = tanh(W_n @ x + b_n + U_n @ (f * h))
    h = (1 - f) * h + f * n
    """,
    source="Zhou et al. 2016, arXiv:1603.09420",
    note="Minimal gated unit: one gate resets the state before the product, and writes.",
    keeps="-b_f",
)

LIGRU = Cell(
    "ligru",
    """
    z = sigmoid(W_z @ x + b_z + U_z @ h)
    n = relu(W_n @ x + b_n + U_n @ h)
    h = z * h + (1 - z) * n
    """,
    source="Ravanelli et al. 2018, arXiv:1803.10225",
    note="Light GRU, for speech: no reset gate, ReLU. The paper also normalizes W @ x by batch.",
    keeps="b_z",
)

LIGHTRU = Cell(
    "lightru",
    """
    n = tanh(W_n @ x + b_n)
    f = sigmoid(W_f @ x + b_f + U_f @ h)
    h = (1 - f) * h + f * n
    """,
    source="Ye et al. 2024, doi:10.3390/electronics13163204",
    note="Light recurrent unit: the candidate does not see the state, the gate does.",
    keeps="-b_f",
)

MIRU1 = Cell(
    "miru1",
    """
    r = sigmoid(W_r @ x + b_r + U_r @ h)
    n = tanh(W_n @ x + b_n + U_n @ (r * h))
    h = 0.5 * h + 0.5 * n
    """,
    source="Minion gated units, doi:10.1016/j.neucom.2026.132847",
    note="The update gate is a constant.",
)

MIRU2 = Cell(
    "miru2",
    """
    n = tanh(W_n @ x + b_n + U_n @ (0.5 * h))
    h = 0.5 * h + 0.5 * n
    """,
    source="Minion gated units, doi:10.1016/j.neucom.2026.132847",
    note="Both gates are constants.",
)

MUT1 = Cell(
    "mut1",
    """
    z = sigmoid(W_z @ x + b_z)
    r = sigmoid(W_r @ x + b_r + U_r @ h)
    n = tanh(U_n @ (r * h) + tanh(W_n @ x) + b_n)
    h = z * n + (1 - z) * h
    """,
    source="Jozefowicz, Zaremba, Sutskever 2015, An empirical exploration of recurrent networks",
    note="Found by evolution; z does not see the state. In the paper x is of size H.",
    keeps="-b_z",
)

MUT2 = Cell(
    "mut2",
    """
    z = sigmoid(W_z @ x + b_z + U_z @ h)
    r = sigmoid(W_r @ x + b_r + U_r @ h)
    n = tanh(U_n @ (r * h) + W_n @ x + b_n)
    h = z * n + (1 - z) * h
    """,
    source="Jozefowicz, Zaremba, Sutskever 2015, An empirical exploration of recurrent networks",
    note="Found by evolution. In the paper r sees x itself, of size H.",
    keeps="-b_z",
)

MUT3 = Cell(
    "mut3",
    """
    z = sigmoid(W_z @ x + b_z + U_z @ tanh(h))
    r = sigmoid(W_r @ x + b_r + U_r @ h)
    n = tanh(U_n @ (r * h) + W_n @ x + b_n)
    h = z * n + (1 - z) * h
    """,
    source="Jozefowicz, Zaremba, Sutskever 2015, An empirical exploration of recurrent networks",
    note="Found by evolution: the state is squashed before it opens z.",
    keeps="-b_z",
)

BRC = Cell(
    "brc",
    """
    a = 1 + tanh(W_a @ x + b_a + u_a * h)
    c = sigmoid(W_c @ x + b_c + u_c * h)
    h = c * h + (1 - c) * tanh(W_h @ x + b_h + a * h)
    """,
    source="Vecoven, Ernst, Drion 2021, arXiv:2006.05252",
    note="Bistable: where a is above 1 a unit keeps its sign for ever. No unit sees another one.",
    keeps="b_c",
)

NBRC = Cell(
    "nbrc",
    """
    a = 1 + tanh(W_a @ x + b_a + U_a @ h)
    c = sigmoid(W_c @ x + b_c + U_c @ h)
    h = c * h + (1 - c) * tanh(W_h @ x + b_h + a * h)
    """,
    source="Vecoven, Ernst, Drion 2021, arXiv:2006.05252",
    note="Bistable, with neuromodulation: the other units open the gates.",
    keeps="b_c",
)

SGU = Cell(
    "sgu",
    """
    g = tanh(U_g @ ((W_g @ x + b_g) * h) + c_g)
    z = sigmoid(W_z @ x + b_z + U_z @ h)
    h = (1 - z) * h + z * softplus(g * h)
    """,
    source="Gao, Glowacka 2016, arXiv:1604.02910",
    note="Simple gated unit: input and state are multiplied, so that a state of 0 stays 0.",
    keeps="-b_z",
)

DSGU = Cell(
    "dsgu",
    """
    g = tanh(U_g @ ((W_g @ x + b_g) * h) + c_g)
    z = sigmoid(W_z @ x + b_z + U_z @ h)
    h = (1 - z) * h + z * sigmoid(U_o @ (g * h))
    """,
    source="Gao, Glowacka 2016, arXiv:1604.02910",
    note="Deep simple gated unit: one more matrix before the output.",
    keeps="-b_z",
)

SGRN = Cell(
    "sgrn",
    """
    s = W @ x + b
    f = sigmoid(s + U @ h)
    h = tanh((1 - f) * s + f * h)
    """,
    source="Simple gated recurrent network, doi:10.1049/gtd2.12056",
    note="One matrix of each kind: the gate and the candidate share W @ x.",
)

STAR = Cell(
    "star",
    """
    n = tanh(W_n @ x + b_n)
    k = sigmoid(W_k @ x + b_k + U_k @ h)
    h = tanh((1 - k) * h + k * n)
    """,
    source="Turkoglu et al. 2019, arXiv:1911.11033",
    note="Stackable: gradients keep their size through many layers. The outer tanh forgets slowly.",
    keeps="-b_k",
)

CELLS = (
    GRU,
    GRU_RESET_BEFORE,
    GRU_ONE_GATE,
    MGU,
    LIGRU,
    LIGHTRU,
    MIRU1,
    MIRU2,
    MUT1,
    MUT2,
    MUT3,
    BRC,
    NBRC,
    SGU,
    DSGU,
    SGRN,
    STAR,
)
