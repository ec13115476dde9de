"""Which cell of torchrecurrent is which of ours, and which of its weights stand where.

torchrecurrent (Martinuzzi 2025, arXiv:2510.21252) implements cells a second time, as a time loop in
Python; it stacks its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torchrecurrent
from torch import Tensor, nn

from comporta import cells


class Theirs:
    """One of their cells.

    Args:
        name: of the class, without "Cell".
        ih: our matrices of the input, in the order in which theirs are stacked.
        hh: our matrices of the state.
        b: our biases, as they stand in `bias_ih`.
        c: our biases as they stand in `bias_hh`; 0 without.
        others: their other parameters, each with ours.
        states: our states in the order of theirs; "x" for the last input, which they carry on.
        identity: a matrix of ours where they have the input itself, which is then of size H.
        alike: vectors of ours where they have a single number.
        exactly: numbers of theirs that they round to float32.
        options: of their constructor.
    """

    def __init__(
        self,
        name: str,
        ih: str,
        hh: str = "",
        b: str = "",
        c: str = "",
        *,
        others: dict[str, str] | None = None,
        states: str = "h",
        identity: str = "",
        alike: str = "",
        exactly: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        self.name, self.states, self.options = name, states.split(), options
        self.identity, self.alike, self.exactly = identity, alike.split(), exactly or {}
        self.stacked = {"weight_ih": ih, "weight_hh": hh, "bias_ih": b, "bias_hh": c}
        self.stacked |= others or {}

    def draw(self, ours: str, depth: int, hidden: int, dtype: torch.dtype) -> dict[str, Tensor]:
        """Weights for our cell of that name that they can have, too."""
        sizes = {"D": hidden if self.identity else depth, "H": hidden}
        weights = {
            name: torch.randn([sizes[letter] for letter in shape], dtype=dtype)
            / (2 * sizes[shape[-1]]) ** 0.5
            for name, shape in cells.get(ours).parameters.items()
        }
        for name in self.alike:
            weights[name].fill_(float(weights[name][0]))
        if self.identity:
            weights[self.identity] = torch.eye(hidden, dtype=dtype)
        return weights

    def build(self, weights: Mapping[str, Tensor], depth: int, hidden: int) -> nn.Module:
        """Their cell with these weights of ours."""
        dtype = next(iter(weights.values())).dtype
        make = getattr(torchrecurrent, f"{self.name}Cell")
        cell: nn.Module = make(hidden if self.identity else depth, hidden, **self.options).to(dtype)
        zeros = torch.zeros(hidden, dtype=dtype)
        with torch.no_grad():
            for name, parameter in cell.named_parameters():
                ours = self.stacked.get(name, "").split()
                if ours:
                    found = torch.cat([weights.get(each, zeros) for each in ours])
                    parameter.copy_(found.flatten()[:1] if parameter.numel() == 1 else found)
                elif name in self.exactly:
                    parameter.fill_(self.exactly[name])
                elif name.startswith("bias"):
                    parameter.zero_()
        return cell

    def run(self, cell: nn.Module, x: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        """Their outputs (B, T, H), step by step, from these states of ours."""
        last = torch.zeros_like(x[:, 0])
        given = [last if name == "x" else state[name] for name in self.states]
        outputs = []
        for t in range(x.shape[1]):
            result = cell(x[:, t], given[0] if len(given) == 1 else tuple(given))
            if isinstance(result, Tensor):
                result = (result, result)
            output, after = result[0], result[1]
            outputs.append(output)
            if isinstance(after, tuple):
                given = list(after)
            else:
                given = [after] if len(given) == 1 else list(result)
        return torch.stack(outputs, 1)


TABLE = {
    "atr": Theirs("ATR", "W", "U", "b"),
    "antisymmetric": Theirs("AntisymmetricRNN", "W_h", "U_h", "b_h", epsilon=0.01, gamma=0.01),
    "antisymmetric-gated": Theirs(
        "GatedAntisymmetricRNN", "W_z W_h", "U", "b_z b_h", epsilon=0.01, gamma=0.01
    ),
    "brc": Theirs("BR", "W_a W_c W_h", "u_a u_c", "b_a b_c b_h"),
    "nbrc": Theirs("NBR", "W_a W_c W_h", "U_a U_c", "b_a b_c b_h"),
    "cfn": Theirs("CFN", "W_t W_i W_h", "U_t U_i", "b_t b_i b_h"),
    "fastrnn": Theirs(
        "FastRNN", "W_n", "U_n", "b_n", others={"alpha": "a", "beta": "b"}, alike="a b"
    ),
    "fastgrnn": Theirs(
        "FastGRNN",
        "W",
        "U",
        "b_z b_n",
        others={"zeta": "a", "nu": "b"},
        alike="a b",
        nonlinearity="sigmoid",
    ),
    "indrnn": Theirs("IndRNN", "W_h", b="b_h", others={"vector_u": "u_h"}, nonlinearity="relu"),
    "janet": Theirs("JANET", "W_f W_g", "U_f U_g", "b_f b_g", states="c c", beta=1.0),
    "ligru": Theirs("LiGRU", "W_z W_n", "U_z U_n", "b_z b_n"),
    "lightru": Theirs("LightRU", "W_n W_f", "U_f", "b_n b_f"),
    "mgu": Theirs("MGU", "W_f W_n", "U_f U_n", "b_f b_n"),
    "minimalrnn": Theirs("MinimalRNN", "W_z", "U_u", "b_z", "b_u", others={"weight_mm": "V_u"}),
    "miru1": Theirs("MiRU1", "W_r W_n", "U_r U_n", "b_r b_n"),
    "miru2": Theirs("MiRU2", "W_n", "U_n", "b_n"),
    "mut2": Theirs("MUT2", "W_z W_r W_n", "U_z U_r U_n", "b_z b_r b_n"),
    "mut3": Theirs("MUT3", "W_z W_r W_n", "U_z U_r U_n", "b_z b_r b_n"),
    "mut1": Theirs("MUT1", "W_z W_r W_n", "U_r U_n", "b_z b_r 0", "0 b_n"),
    "lstm-multiplicative": Theirs(
        "MultiplicativeLSTM",
        "W_m W_i W_f W_g W_o",
        "U_m",
        "b_m b_i b_f b_g b_o",
        "c_m",
        others={"weight_mh": "U_i U_f U_g U_o"},
        states="h c",
    ),
    "nas": Theirs(
        "NAS",
        *(" ".join(f"{m}_{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8)) for m in "WUb"),
        states="h c",
    ),
    "lstm-original": Theirs(
        "OriginalLSTM", "W_i W_g W_o", "U_i U_g U_o", "b_i b_g b_o", states="h c"
    ),
    "lstm-peephole-output": Theirs(
        "PeepholeLSTM",
        "W_i W_f W_g W_o",
        "U_i U_f U_g U_o",
        "b_i b_f b_g b_o",
        others={"weight_ph": "p_i p_f p_o"},
        states="h c",
    ),
    "ran": Theirs("RAN", "W_c W_i W_f", "U_i U_f", "b_i b_f", states="h c"),
    "lstm-residual": Theirs(
        "ResLSTM",
        "W_i W_f W_g W_o",
        "U_i U_f U_g U_o",
        "b_i b_f b_g b_o",
        others={"weight_ph": "p_i p_f p_o", "weight_proj": "P", "weight_res": "W_h"},
        states="h c",
    ),
    "scrn": Theirs(
        "SCRN",
        "W_c W_s",
        "U_s U_h",
        "b_c b_s",
        "0 b_h",
        states="h c",
        others={"weight_ch": "P_s P_h"},
        exactly={"alpha": 0.95},
        alpha=0.95,
    ),
    "sgrn": Theirs("SGRN", "W", "U", "b"),
    "sgu": Theirs("SGU", "W_g W_z", "U_g U_z", "b_g b_z", "c_g 0", gate_nonlinearity="sigmoid"),
    "dsgu": Theirs(
        "DSGU",
        "W_g W_z",
        "U_g U_z",
        "b_g b_z",
        "c_g 0",
        others={"weight_ho": "U_o"},
        gate_nonlinearity="sigmoid",
    ),
    "star": Theirs("STAR", "W_n W_k", "U_k", "b_n b_k"),
    "ugrnn": Theirs("UGRNN", "W_n W_g", "U_n U_g", "b_n b_g"),
    "trnn": Theirs("TRNN", "W_z W_f", b="b_z b_f"),
    "unicornn": Theirs(
        "UnICORNN",
        "W",
        b="b",
        others={"weight_hh": "u", "weight_ch": "a"},
        states="h v",
        dt=0.1,
        alpha=1.0,
    ),
    "lstm-working-memory": Theirs(
        "WMCLSTM",
        "W_i W_f W_g W_o",
        "U_i U_f U_g U_o",
        "b_i b_f b_g b_o",
        others={"weight_mh": "P_i P_f P_o", "bias_mh": "q_i q_f q_o"},
        states="h c",
    ),
    "cornn": Theirs(
        "coRNN",
        "W",
        "U",
        "b",
        others={"weight_ch": "V"},
        states="h v",
        dt=0.1,
        gamma=1.0,
        epsilon=1.0,
    ),
    "lstm-controller": Theirs(
        "MCLSTM", "W_f W_i W_o W_k W_g", "U_f U_i U_o U_k U_g", "b_f b_i b_o b_k b_g", states="v c"
    ),
    "intersection": Theirs(
        "IntersectionRNN",
        "W_d W_n W_q W_p",
        "U_d U_n U_q U_p",
        "b_d b_n b_q b_p",
        identity="W_y",
    ),
    "tgru": Theirs("TGRU", "W_z W_f W_o", "V_z V_f V_o", "b_z b_f b_o", states="h x"),
    "tlstm": Theirs("TLSTM", "W_z W_f W_o", "V_z V_f V_o", "b_z b_f b_o", states="c x"),
}

DIFFERENT = {
    "LEM": "the paper's y reads the new z (its equation 3); theirs reads the old one",
    "tauGRU": "reads the state of several steps ago, which a step cannot",
}
"""Why the others of theirs are not in the table."""
