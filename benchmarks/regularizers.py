"""What regularizers cost: a training step of a layer with one, beside the same layer without.

python benchmarks/regularizers.py
"""

from __future__ import annotations

from typing import Any

import torch
from machine import write_page
from timing import geometric_mean, interleaved

from comporta.nn import Recurrent

SHAPES = [(32, 100, 64, 64), (32, 100, 256, 256), (8, 100, 128, 128), (64, 50, 512, 512)]
KINDS: dict[str, dict[str, Any]] = {
    "layer norm": {"layer_norm": True},
    "zoneout": {"zoneout": 0.1},
    "locked dropout of the state": {"state_dropout": 0.2},
    "locked dropout of the input": {"input_dropout": 0.2},
    "weight drop": {"weight_drop": 0.2},
    "beginnings": {},
}
SECONDS = 1.5


def main() -> None:
    """Measure and write the table."""
    lines = ["Milliseconds of a training step, medians of alternating calls.", ""]
    lines += ["| cell | B, T, D, H | with | ms | plain | ratio |", "|---|---|---|---|---|---|"]
    ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for cell in ("gru", "lstm"):
        for batch, time, depth, hidden in SHAPES:
            x = torch.randn(batch, time, depth)
            begins = torch.rand(batch, time) < 0.02
            gradient = torch.randn(batch, time, hidden)
            plain = Recurrent(cell, depth, hidden)

            def step(layer: Recurrent, **given: torch.Tensor) -> None:
                layer.zero_grad()
                layer(x, **given)[0].backward(gradient)  # noqa: B023

            for kind, options in KINDS.items():
                other = Recurrent(cell, depth, hidden, **options)
                given = {} if options else {"begins": begins}
                functions = [lambda: step(other, **given), lambda: step(plain)]  # noqa: B023
                one, base = interleaved(functions, SECONDS)
                ratios[kind].append(one / base)
                lines.append(
                    f"| {cell} | {batch}, {time}, {depth}, {hidden} | {kind} | {one:.2f} | "
                    f"{base:.2f} | {one / base:.2f} |"
                )
                print(lines[-1], flush=True)
    lines += ["", "| with | largest ratio | geometric mean |", "|---|---|---|"]
    lines += [f"| {k} | {max(v):.2f} | {geometric_mean(v):.2f} |" for k, v in ratios.items()]
    write_page("regularizers", "What regularizers cost", "python benchmarks/regularizers.py", lines)


if __name__ == "__main__":
    main()
