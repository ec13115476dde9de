"""Layers on a GPU beside cuDNN, a loop in Python and JAX; other cells beside plain ones; scans.

    python benchmarks/gpu.py [plain] [cells] [scans] [first] [compiled]

Without a part's name all are measured. Outputs and gradients are compared before anything is timed.
Times are medians of alternating calls, each waited for. In float32 all products keep all digits,
ours and the rivals'. The page is written after every part.
"""

from __future__ import annotations

import argparse
import copy
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import write_page
from rivals import GATES, pair, training
from timing import interleaved
from torch import Tensor, nn

from comporta import kernels
from comporta.cells import get
from comporta.kernels.schedule import schedule
from comporta.nn import Recurrent

SHAPES = [
    (1, 1024, 256), (16, 512, 128), (32, 512, 256), (64, 512, 512), (64, 256, 1024),
    (128, 128, 2048),
]  # fmt: skip
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("gru-reset-before", {}), ("gru", {"zoneout": 0.1}), ("mgu", {}),
    ("lstm-peephole", {}), ("lstm-layer-norm", {}), ("lstm", {"zoneout": 0.1}),
]  # fmt: skip
PLAIN = {"gru": "gru", "lstm": "lstm", "mgu": "gru"}
SCANS = ["mingru", "qrnn"]
LONG = (16, 16_384, 256)
FIRST = [
    ("gru", (16, 8, 128)), ("lstm", (16, 8, 512)), ("lstm-layer-norm", (16, 8, 256)),
    ("nas", (16, 8, 128)),
]  # fmt: skip
LONGEST_COMPILATION = 120
"""Seconds."""
PIECES = 16
"""Into so many a sequence is cut where the backward pass computes it again."""
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
DEVICE = "cuda"
TOLERANCE = {"float32": 2e-3, "bfloat16": 6e-2}
"""Largest difference from what float32 gives, relative to the largest value."""
SECONDS = 0.3
# Torch refuses to say what cuDNN does where its kinds of products differ.
PRODUCTS = (torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn)
PARTS = ["plain", "cells", "scans", "first", "compiled"]

Shape = tuple[int, int, int]
Function = Callable[[], object]


def milliseconds(functions: dict[str, Function], seconds: float = SECONDS) -> dict[str, float]:
    """Medians of functions called in turn; each is waited for."""

    def waited(function: Function) -> Function:
        def run() -> None:
            function()
            torch.cuda.synchronize()

        return run

    found = interleaved([waited(function) for function in functions.values()], seconds)
    return dict(zip(functions, found, strict=True))


def once(function: Function) -> float:
    """Milliseconds of one call, of what takes long enough and was called before."""
    torch.cuda.synchronize()
    before = time.perf_counter()
    function()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - before)


def inference(layer: nn.Module, x: Tensor) -> Function:
    """A forward pass without gradients."""

    def run() -> object:
        with torch.no_grad():
            return layer(x)[0]

    return run


def loop(function: Function) -> Function:
    """The same step by step in Python."""

    def run() -> object:
        with kernels.use("reference"):
            return function()

    return run


def recomputed(function: Function, steps: int) -> Function:
    """The same with less memory."""

    def run() -> object:
        with kernels.recompute(every=-(-steps // PIECES)):
            return function()

    return run


def peak(function: Function) -> float:
    """MiB that a call takes beyond what was there."""
    function()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def values(layer: nn.Module, x: Tensor, gradient: Tensor, *, looped: bool = False) -> list[Tensor]:
    """The output and the gradients of a layer."""
    step, forward = training(layer, x, gradient), inference(layer, x)
    if looped:
        step, forward = loop(step), loop(forward)
    torch.manual_seed(0)
    step()
    found = [p.grad.double() for p in layer.parameters() if p.grad is not None]
    torch.manual_seed(0)
    return [forward().double(), *found]


def check(
    what: str, dtype: str, ours: list[Tensor], rivals: list[Tensor], exact: list[Tensor]
) -> None:
    """End the run if ours are further from what float32 gives than rounding and the rival are."""

    def error(found: list[Tensor]) -> float:
        pairs = zip(found, exact, strict=True)
        return max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)

    mine, theirs = error(ours), error(rivals)
    if not mine <= max(TOLERANCE[dtype], 2 * theirs):
        sys.exit(f"{what} is off by {mine:.1e}, the rival by {theirs:.1e}")


def plain(rate: dict[str, float]) -> list[str]:
    """gru and lstm beside cuDNN, the loop in Python and JAX."""
    lines = [
        "Milliseconds of ours, and beside them how many times as long others take; the share of "
        "the rate of torch's product of matrices that a training step reaches; memory of a "
        f"training step beside cuDNN's, as it is and with `recompute` of {PIECES} pieces.",
        "",
        "| cell | B, T, H | dtype | products | train | share | cuDNN | loop | JAX | forward | "
        "cuDNN | memory | recomputed |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in ("gru", "lstm"):
        for shape in SHAPES:
            for dtype in DTYPES:
                lines.append(plain_row(name, shape, dtype, rate[dtype]))
                print(lines[-1], flush=True)
    return lines


def plain_row(name: str, shape: Shape, dtype: str, rate: float) -> str:
    """One row of the table."""
    # Not at the top: it imports Triton, and who has none is told so by `main`.
    from comporta.kernels.gpu.engine import way

    batch, steps, hidden = shape
    theirs, mine, x, gradient = pair(name, (batch, steps, hidden, hidden))
    cpu = copy.deepcopy(theirs), x, gradient
    theirs, x, gradient = theirs.to(DEVICE), x.to(DEVICE), gradient.to(DEVICE)
    exact = values(theirs, x, gradient)
    theirs, mine = (layer.to(DEVICE, DTYPES[dtype]) for layer in (theirs, mine))
    x, gradient = x.to(DTYPES[dtype]), gradient.to(DTYPES[dtype])
    check(f"{name} {shape} {dtype}", dtype, values(mine, x, gradient),
          values(theirs, x, gradient), exact)  # fmt: skip
    layers = {"cuDNN": theirs, "ours": mine}
    trains = {who: training(layer, x, gradient) for who, layer in layers.items()}
    forwards = {who: inference(layer, x) for who, layer in layers.items()}
    found, forward = milliseconds(trains), milliseconds(forwards)
    loop(trains["ours"])()
    found["loop"] = once(loop(trains["ours"]))
    if dtype == "float32" and (jax := jax_steps(*cpu)):
        found |= milliseconds({"JAX": jax})
    program = kernels.compile_cell(get(name))
    base = peak(trains["cuDNN"])
    memory, less = (
        peak(step) / base for step in (trains["ours"], recomputed(trains["ours"], steps))
    )
    work = 2 * batch * steps * GATES[name] * hidden * hidden * 5
    share = work / (1e-3 * found["ours"]) / rate
    ratios = [f"{found[who] / found['ours']:.2f}" if who in found else ""
              for who in ("cuDNN", "loop", "JAX")]  # fmt: skip
    return (
        f"| {name} | {', '.join(map(str, shape))} | {dtype} | {way(program, x, hidden)} | "
        f"{found['ours']:.2f} | {share:.0%} | {' | '.join(ratios)} | {forward['ours']:.2f} | "
        f"{forward['cuDNN'] / forward['ours']:.2f} | {memory:.2f} | {less:.2f} |"
    )


def jax_steps(layer: nn.RNNBase, x: Tensor, gradient: Tensor) -> Function | None:
    """A training step of a lax.scan, where JAX has a GPU."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("JAX_DEFAULT_MATMUL_PRECISION", "float32")
    import jax_layers

    found = jax_layers.steps(layer, x, gradient)
    if found is None or sys.modules["jax"].default_backend() != "gpu":
        return None
    return found[1]


def beside_a_loop(name: str, shape: Shape, dtype: str, **options: Any) -> dict[str, float]:
    """Milliseconds of a training step of a cell, and of the loop in Python."""
    batch, steps, hidden = shape
    layer = Recurrent(name, hidden, hidden, **options).to(DEVICE)
    x = torch.randn(batch, steps, hidden, device=DEVICE)
    gradient = torch.randn_like(x)
    exact = values(layer, x, gradient, looped=True)
    layer = layer.to(DTYPES[dtype])
    x, gradient = x.to(DTYPES[dtype]), gradient.to(DTYPES[dtype])
    rivals = exact if dtype == "float32" else values(layer, x, gradient, looped=True)
    check(f"{name} {shape} {dtype}", dtype, values(layer, x, gradient), rivals, exact)
    step = training(layer, x, gradient)
    return {
        **milliseconds({"ours": step}),
        **milliseconds({"forward": inference(layer, x)}),
        "loop": once(loop(step)),
    }


def cells() -> list[str]:
    """Other cells beside our own plain one and beside the loop."""
    lines = [
        "Milliseconds of a training step, beside those of our own gru or lstm, and how many times "
        "as long the loop in Python takes; milliseconds of a forward pass.",
        "",
        "| cell | B, T, H | dtype | train | beside plain | loop | forward |",
        "|---|---|---|---|---|---|---|",
    ]
    for shape in SHAPES[1:3]:
        for dtype in DTYPES:
            base = {name: beside_a_loop(name, shape, dtype)["ours"] for name in ("gru", "lstm")}
            for name, options in OTHERS:
                found = beside_a_loop(name, shape, dtype, **options)
                ours, beside = found["ours"], base[PLAIN[name.partition("-")[0]]]
                what = ", ".join([name, *options]), ", ".join(map(str, shape)), dtype
                lines.append(
                    f"| {' | '.join(what)} | {ours:.2f} | {ours / beside:.2f} | "
                    f"{found['loop'] / ours:.1f} | {found['forward']:.2f} |"
                )
                print(lines[-1], flush=True)
    return lines


def scans(bandwidth: float) -> list[str]:
    """Linear recurrences over a long sequence."""
    lines = [
        f"Linear recurrences at B, T, H = {', '.join(map(str, LONG))}: milliseconds, how many "
        "times as long the loop in Python takes, and the share of the bandwidth that a forward "
        "pass reaches, counting x, the products of x, twice, and the output.",
        "",
        "| cell | dtype | train | loop | forward | share |",
        "|---|---|---|---|---|---|",
    ]
    batch, steps, hidden = LONG
    for name in SCANS:
        for dtype in DTYPES:
            found = beside_a_loop(name, LONG, dtype)
            matrices = schedule(kernels.compile_cell(get(name))).hoisted.matrices
            moved = batch * steps * hidden * (2 + 2 * len(matrices)) * DTYPES[dtype].itemsize
            share = moved / (1e-3 * found["forward"]) / bandwidth
            lines.append(
                f"| {name} | {dtype} | {found['ours']:.2f} | "
                f"{found['loop'] / found['ours']:.0f} | {found['forward']:.2f} | {share:.0%} |"
            )
            print(lines[-1], flush=True)
    return lines


def first() -> list[str]:
    """What the first training step of a process takes, with an empty cache and with a full one."""
    lines = [
        "Seconds of the first training step of a process: nothing compiled yet, and again.",
        "",
        "| cell | B, T, H | cold | warm |",
        "|---|---|---|---|",
    ]
    for cell, shape in FIRST:
        with tempfile.TemporaryDirectory() as folder:
            caches = {"COMPORTA_CACHE": folder, "TRITON_CACHE_DIR": folder}
            cold, warm = (alone("first", cell, shape, **caches)[0] for _ in range(2))
        lines.append(f"| {cell} | {', '.join(map(str, shape))} | {cold:.1f} | {warm:.2f} |")
        print(lines[-1], flush=True)
    return lines


def compiled() -> list[str]:
    """A loop over torch.nn's cell under torch.compile, which unrolls it."""
    lines = [
        "A loop over torch.nn's cell under torch.compile: how long it takes to compile, and how "
        "many times as long as ours a training step then takes. From the shortest sequence up to "
        f"the first that takes more than {LONGEST_COMPILATION} s.",
        "",
        "| cell | B, T, H | compiles in | train |",
        "|---|---|---|---|",
    ]
    for shape in sorted(SHAPES, key=lambda shape: shape[1]):
        row = f"| gru | {', '.join(map(str, shape))} |"
        try:
            took, ratio = alone("compiled", "gru", shape, limit=LONGEST_COMPILATION)
        except subprocess.TimeoutExpired:
            lines.append(f"{row} more than {LONGEST_COMPILATION} s | |")
            break
        lines.append(f"{row} {took:.0f} s | {ratio:.2f} |")
        print(lines[-1], flush=True)
    return lines


def alone(
    what: str, cell: str, shape: Shape, *, limit: int | None = None, **environment: str
) -> list[float]:
    """What `gpu_alone.py` prints, in a process of its own."""
    script = str(Path(__file__).with_name("gpu_alone.py"))
    done = subprocess.run(
        [sys.executable, script, what, cell, *map(str, shape), "--device", DEVICE],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=limit,
        check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{what} of {cell} at {shape} failed:\n{done.stderr}")
    return list(map(float, done.stdout.split()))


def limits() -> tuple[dict[str, float], float]:
    """Operations a second of torch's product of matrices, and bytes a second of a copy."""
    rate = {}
    for name, dtype in DTYPES.items():
        a, b = (torch.randn(8192, 8192, device=DEVICE, dtype=dtype) for _ in range(2))
        took = milliseconds({"product": lambda a=a, b=b: a @ b})["product"]
        rate[name] = 2 * 8192**3 / (1e-3 * took)
    source = torch.randn(2**30, device=DEVICE)
    target = torch.empty_like(source)
    took = milliseconds({"copy": lambda: target.copy_(source)})["copy"]
    return rate, 2 * 4 * 2**30 / (1e-3 * took)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []])
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("there is no GPU here; see `make test-gpu-interpret` for what runs without one")
    for products in PRODUCTS:
        products.fp32_precision = "ieee"
    began = time.perf_counter()
    rate, bandwidth = limits()
    rates = ", ".join(f"{value / 1e12:.0f} TFLOP/s in {name}" for name, value in rate.items())
    lines = [
        f"{torch.cuda.get_device_name()}. Torch's product of matrices: {rates}; "
        f"a copy: {bandwidth / 1e12:.2f} TB/s.",
    ]
    parts = {"plain": lambda: plain(rate), "cells": cells, "scans": lambda: scans(bandwidth),
             "first": first, "compiled": compiled}  # fmt: skip
    command = " ".join(["python benchmarks/gpu.py", *options.parts])
    for name in options.parts or PARTS:
        lines += ["", *parts[name]()]
        write_page("gpu", "Layers on a GPU", command, lines)
    print(f"{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
