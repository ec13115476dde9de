"""Compile kernels for a Hopper GPU, which takes no GPU: python -m compile_for_gpu gru lstm ...

Prints what each takes of a multiprocessor.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from comporta.cells import get
from comporta.kernels import compile_cell
from comporta.kernels.gpu import engine
from comporta.kernels.gpu.directions import backward_source, forward_source
from comporta.kernels.gpu.loop import Source
from comporta.kernels.gpu.scan import backward_scan, forward_scan
from comporta.kernels.recurrence import is_linear

HOPPER = GPUTarget("cuda", 90, 32)
KINDS = {"first": "i32", "rows": "i32", "steps": "i32", "starts": "*i64", "stops": "*i64",
         "meetings": "*i32", "flags": "*i32", "partials": "*fp32", "totals": "*fp32",
         "carries": "*fp32"}  # fmt: skip


def kind(argument: str, number: str) -> str:
    """The type of an argument of a kernel, as Triton writes it."""
    if argument in KINDS:
        return KINDS[argument]
    return "i64" if argument.endswith(("_row", "_time", "_step")) else f"*{number}"


def compiled(source: Source, division: engine.Tiles, hidden: int, number: str) -> Any:
    """A kernel for a GPU, from float32 ("fp32") or bfloat16 ("bf16")."""
    function = engine._load(source.text)
    constants = engine.constants(
        division, hidden, {"fp32": tl.float32, "bf16": tl.bfloat16}[number], is_exact=True
    )
    kinds = {argument: kind(argument, number) for argument in source.arguments}
    kinds |= dict.fromkeys(constants, "constexpr")
    names = function.arg_names
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(names)
        if kinds[name][0] == "*" or name.endswith(("_row", "_time"))
    }
    source_tree = ASTSource(
        fn=function, signature={name: kinds[name] for name in names}, attrs=aligned,
        constexprs={(names.index(name),): value for name, value in constants.items()},
    )  # fmt: skip
    options = {"num_warps": division.warps, "launch_cooperative_grid": division.way != "whole",
               "enable_fp_fusion": True}  # fmt: skip
    return triton.compile(source_tree, target=HOPPER, options=options)


def main(cells: list[str], sizes: list[int]) -> None:
    """Compile both directions of some cells."""
    for cell in cells:
        program = compile_cell(get(cell))
        for hidden in sizes:
            for number in ("fp32", "bf16"):
                dtype = torch.float32 if number == "fp32" else torch.bfloat16
                division = engine.tiles(program, 64, hidden, dtype, 132)
                sources = (forward_source(program, training=True, way=division.way),
                           backward_source(program, way=division.way))  # fmt: skip
                report(cell, number, sources, division, hidden)
                if is_linear(program):
                    scans = forward_scan(program, training=True), backward_scan(program)
                    report(f"{cell} scan", number, scans, engine.scan_tiles(hidden), hidden)


def report(
    name: str, number: str, sources: tuple[Source, Source], division: engine.Tiles, hidden: int
) -> None:
    """Compile both directions, and say what each takes."""
    for direction, source in zip(("forward", "backward"), sources, strict=True):
        before = time.perf_counter()
        kernel = compiled(source, division, hidden, number)
        took = time.perf_counter() - before
        registers, spilled = taken(kernel.asm["cubin"])
        print(f"{name} {hidden} {number} {direction}: {division.way}, "
              f"{division.rows} x {division.units}, {division.warps} warps, "
              f"{kernel.metadata.shared} bytes shared, {registers} registers, "
              f"{spilled} bytes spilled, {took:.1f} s", flush=True)  # fmt: skip


def taken(code: bytes) -> tuple[int, int]:
    """The registers of a thread, and what did not fit into them."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        command = [tool, "-res-usage", file.name]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", told)
    assert found, told
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    main([word for word in sys.argv[1:] if not word.isdecimal()],
         [int(word) for word in sys.argv[1:] if word.isdecimal()] or [64, 256])  # fmt: skip
