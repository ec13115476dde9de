"""Long short-term memory and its variants: a state h that is read, a state c that is kept."""

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
    initial="b_f = 1",
    keeps="b_f -b_i",
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
    initial="b_f = 1",
    keeps="b_f -b_i",
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
    initial="b_f = 1",
    keeps="b_f -b_i",
)

LSTM_ORIGINAL = Cell(
    "lstm-original",
    """
    i = sigmoid(W_i @ x + b_i + U_i @ h)
    g = tanh(W_g @ x + b_g + U_g @ h)
    o = sigmoid(W_o @ x + b_o + U_o @ h)
    c = c + i * g
    h = o * tanh(c)
    """,
    source="Hochreiter, Schmidhuber 1997, Long short-term memory",
    state="h c",
    note="No forget gate: what c has once taken in stays.",
)

LSTM_COUPLED = Cell(
    "lstm-coupled",
    """
    f = sigmoid(W_f @ x + b_f + U_f @ h)
    g = tanh(W_g @ x + b_g + U_g @ h)
    o = sigmoid(W_o @ x + b_o + U_o @ h)
    c = f * c + (1 - f) * g
    h = o * tanh(c)
    """,
    source="Greff et al. 2017, arXiv:1503.04069 (there CIFG)",
    state="h c",
    note="What is forgotten makes room for what is written: a quarter fewer weights.",
    initial="b_f = 1",
    keeps="b_f",
)

LSTM_RESIDUAL = Cell(
    "lstm-residual",
    """
    i = sigmoid(W_i @ x + b_i + U_i @ h + p_i * c)
    f = sigmoid(W_f @ x + b_f + U_f @ h + p_f * c)
    g = tanh(W_g @ x + b_g + U_g @ h)
    c = f * c + i * g
    o = sigmoid(W_o @ x + b_o + U_o @ h + p_o * c)
    h = o * (P @ tanh(c) + W_h @ x)
    """,
    source="Kim, El-Khamy, Lee 2017, arXiv:1701.03360",
    state="h c",
    note="A short cut from the input to the output, for deep stacks; o gates both.",
    initial="b_f = 1",
    keeps="b_f -b_i",
)

LSTM_MULTIPLICATIVE = Cell(
    "lstm-multiplicative",
    """
    m = (W_m @ x + b_m) * (U_m @ h + c_m)
    i = sigmoid(W_i @ x + b_i + U_i @ m)
    f = sigmoid(W_f @ x + b_f + U_f @ m)
    g = tanh(W_g @ x + b_g + U_g @ m)
    o = sigmoid(W_o @ x + b_o + U_o @ m)
    c = f * c + i * g
    h = o * tanh(c)
    """,
    source="Krause et al. 2016, arXiv:1609.07959",
    state="h c",
    note="Each input has a transition of its own, in factors. In the paper g is not squashed.",
    initial="b_f = 1",
    keeps="b_f -b_i",
)

LSTM_MOGRIFIER = Cell(
    "lstm-mogrifier",
    """
    e_1 = 2 * sigmoid(Q_1 @ h) * (W_e @ x)
    h_2 = 2 * sigmoid(R_2 @ e_1) * h
    e_3 = 2 * sigmoid(Q_3 @ h_2) * e_1
    h_4 = 2 * sigmoid(R_4 @ e_3) * h_2
    e_5 = 2 * sigmoid(Q_5 @ h_4) * e_3
    i = sigmoid(V_i @ e_5 + b_i + U_i @ h_4)
    f = sigmoid(V_f @ e_5 + b_f + U_f @ h_4)
    g = tanh(V_g @ e_5 + b_g + U_g @ h_4)
    o = sigmoid(V_o @ e_5 + b_o + U_o @ h_4)
    c = f * c + i * g
    h = o * tanh(c)
    """,
    source="Melis, Kocisky, Blunsom 2020, arXiv:1909.01792",
    state="h c",
    note="Input and state gate each other in five rounds before they meet. The paper gates x as it "
    "is; here a matrix brings it to the size of the state first.",
    initial="b_f = 1",
    keeps="b_f -b_i",
)

LSTM_WORKING_MEMORY = Cell(
    "lstm-working-memory",
    """
    i = sigmoid(W_i @ x + b_i + U_i @ h + tanh(P_i @ c + q_i))
    f = sigmoid(W_f @ x + b_f + U_f @ h + tanh(P_f @ c + q_f))
    g = tanh(W_g @ x + b_g + U_g @ h)
    c = f * c + i * g
    o = sigmoid(W_o @ x + b_o + U_o @ h + tanh(P_o @ c + q_o))
    h = o * tanh(c)
    """,
    source="Landi et al. 2021, arXiv:2109.00020",
    state="h c",
    note="Peepholes with whole matrices, squashed so that a large c does not shut the gates.",
    initial="b_f = 1",
    keeps="b_f -b_i",
)

LSTM_CONTROLLER = Cell(
    "lstm-controller",
    """
    f = sigmoid(W_f @ x + b_f + U_f @ v)
    i = sigmoid(W_i @ x + b_i + U_i @ v)
    o = sigmoid(W_o @ x + b_o + U_o @ v)
    k = sigmoid(W_k @ x + b_k + U_k @ v)
    g = tanh(W_g @ x + b_g + U_g @ v)
    c = f * c + i * g
    v = k * tanh(c)
    h = o * tanh(c)
    """,
    source="Memory-controller LSTM, NIPS 2017 workshop on time series",
    state="v c",
    output="h",
    note="What the gates see next, v, and what leaves the cell, h, have a gate each.",
    initial="b_f = 1",
    keeps="b_f -b_i",
)

JANET = Cell(
    "janet",
    """
    s = W_f @ x + b_f + U_f @ c
    g = tanh(W_g @ x + b_g + U_g @ c)
    c = sigmoid(s) * c + (1 - sigmoid(s - 1)) * g
    """,
    source="van der Westhuizen, Lasenby 2018, arXiv:1804.04849",
    state="c",
    note="A forget gate alone. It begins with long memories (chrono); writing lags by 1.",
    initial="b_f = 1",
    keeps="b_f",
)

NAS = Cell(
    "nas",
    """
    a = tanh(sigmoid(W_1 @ x + b_1 + U_1 @ h) * relu(W_2 @ x + b_2 + U_2 @ h))
    e = tanh(sigmoid(W_3 @ x + b_3 + U_3 @ h) + relu(W_4 @ x + b_4 + U_4 @ h))
    p = tanh(tanh(W_5 @ x + b_5 + U_5 @ h) * sigmoid(W_6 @ x + b_6 + U_6 @ h))
    q = sigmoid(tanh(W_7 @ x + b_7 + U_7 @ h) + sigmoid(W_8 @ x + b_8 + U_8 @ h))
    c = tanh(a + c) * e
    h = tanh(c * tanh(p + q))
    """,
    source="Zoph, Le 2017, arXiv:1611.01578",
    state="h c",
    note="Found by a search over trees of eight products.",
)

SLSTM = Cell(
    "slstm",
    """
    s = W_f @ x + b_f + U_f @ h + m
    k = W_i @ x + b_i + U_i @ h
    m = max(s, k)
    f = exp(s - m)
    i = exp(k - m)
    g = tanh(W_g @ x + b_g + U_g @ h)
    o = sigmoid(W_o @ x + b_o + U_o @ h)
    c = f * c + i * g
    n = f * n + i
    h = o * c / max(n, 1)
    """,
    source="Beck et al. 2024, arXiv:2405.04517",
    state="h c n m",
    output="h",
    note="Exponential gates: a later input can overwrite all before it. n counts what was "
    "written, m keeps the exponents small.",
    initial="b_f = 1",
)

CELLS = (
    LSTM,
    LSTM_PEEPHOLE,
    LSTM_PEEPHOLE_OUTPUT,
    LSTM_ORIGINAL,
    LSTM_COUPLED,
    LSTM_RESIDUAL,
    LSTM_MULTIPLICATIVE,
    LSTM_MOGRIFIER,
    LSTM_WORKING_MEMORY,
    LSTM_CONTROLLER,
    JANET,
    NAS,
    SLSTM,
)
