"""The GPU backend beyond what the tests of all backends ask: programs that share hidden units."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import problems
import pytest
import torch
from comparator import assert_close
from problems import Problem
from torch import Tensor

from comporta import cells, kernels
from comporta.cells import Cell
from comporta.errors import BackendError
from comporta.kernels import compile_cell, gpu
from comporta.kernels.recurrence import is_linear
from comporta.nn import Recurrent

engine = pytest.importorskip("comporta.kernels.gpu.engine")
IS_REAL = torch.cuda.is_available()
if not IS_REAL:
    from interleaved import interleaved

# Shared memory that one program may have.
BYTES_OF_HOPPER = 227 << 10
# The compiler takes seconds for each.
COMPILED = problems.CELLS[:-1] if problems.ALL_ON_GPU else ("gru-reset-before", "mingru")
LENGTHS = torch.tensor([5, 0, 2])


def share(
    monkeypatch: pytest.MonkeyPatch, way: str = "held", *, units: int = 16, rows: int = 16
) -> None:
    """Divide the hidden units among several programs whatever their number."""
    plain = engine.tiles

    def tiles(program: Any, batch: int, hidden: int, *others: Any) -> Any:
        division = plain(program, batch, hidden, *others)
        slices = -(-hidden // units)
        depth = 16 if way == "streamed" else -(-hidden // 16) * 16
        return replace(
            division, rows=rows, units=units, depth=depth, way=way, slices=slices, at_once=1
        )

    monkeypatch.setattr(engine, "tiles", tiles)


def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """New memory holds NaN, as it may anywhere."""
    plain = Tensor.new_empty

    def poisoned(self: Tensor, *size: Any, **options: Any) -> Tensor:
        found = plain(self, *size, **options)
        return found.fill_(torch.nan) if found.is_floating_point() else found

    monkeypatch.setattr(Tensor, "new_empty", poisoned)


def hold(problem: Problem, seed: int = 0) -> None:
    """Hold the kernels against the reference; the interpreter runs all programs at once."""
    if IS_REAL:
        problems.compare(problem, "gpu")
        return
    with interleaved(seed):
        problems.compare(problem, "gpu")


@pytest.mark.parametrize("cell", problems.cells_of("gpu"))
@pytest.mark.parametrize("way", ["held", "streamed"])
def test_programs_that_share_hidden_units(
    way: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden, sizes = (40, {}) if IS_REAL else (19, {"units": 8, "rows": 2})
    share(monkeypatch, way, **sizes)
    problem = problems.make(cell, hidden=hidden, dtype=torch.float32)
    hold(problem)
    hold(replace(problem, lengths=LENGTHS, reverse=True), seed=1)


DELAYS = Cell("delays", "q = p\np = h\nh = tanh(W @ x + U @ h + v * q)", state="q p h")


@pytest.mark.parametrize("way", ["whole", "held"])
def test_states_that_hand_on_to_each_other(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "held":
        share(monkeypatch)
    problem = problems.make(DELAYS, dtype=torch.float32)
    hold(replace(problem, lengths=LENGTHS))


@pytest.mark.skipif(IS_REAL, reason="a GPU draws no order")
@pytest.mark.parametrize("cell", ["gru", "gru-reset-before", "lstm-layer-norm"])
def test_programs_that_do_not_wait_are_rejected(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The drawn order of programs shows a barrier that is missing."""
    share(monkeypatch, units=4, rows=4)
    poison(monkeypatch)
    load = engine._load
    # The atomic operation stays, so that another program may go on there.
    hasty = "tl.atomic_add(meeting, 1)"
    monkeypatch.setattr(
        engine, "_load", lambda text: load(text.replace("meet(meeting, everybody)", hasty))
    )
    problem = problems.make(cell, hidden=11, dtype=torch.float32)
    with pytest.raises(AssertionError, match=r"is off by|has NaN in other places"):
        hold(problem)


@pytest.mark.parametrize("cell", problems.cells_of("gpu"))
@pytest.mark.parametrize("is_shared", [False, True])
def test_all_that_is_returned_was_written(
    cell: str, is_shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_shared:
        share(monkeypatch)
    poison(monkeypatch)
    hold(replace(problems.make(cell, dtype=torch.float32, hidden=10), lengths=LENGTHS))


@pytest.mark.parametrize("change", [dict, lambda: {"reverse": True}])
def test_the_same_bits_again(change: Callable[[], dict[str, Any]]) -> None:
    problem = replace(problems.make("lstm", batch=5, dtype=torch.float32), **change())
    found = problems.solve(problem, "gpu")
    problems.assert_same_bits(problems.solve(problem, "gpu"), found)


def test_rows_do_not_depend_on_their_company() -> None:
    problem = problems.make("gru", batch=37, dtype=torch.float32)
    output, _ = problems.forward(problem, "gpu")
    for row in (0, 17, 36):
        alone = replace(
            problem, x=problem.x[row : row + 1], state=(problem.state[0][row : row + 1],)
        )
        assert torch.equal(problems.forward(alone, "gpu")[0][0], output[row])


def test_a_batch_of_several_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    share(monkeypatch)
    launched = []
    load = engine._load

    class Watched:
        def __init__(self, kernel: Any) -> None:
            self.kernel = kernel

        def __getitem__(self, grid: tuple[int, int]) -> Any:
            launched.append(grid)
            return self.kernel[grid]

    monkeypatch.setattr(engine, "_load", lambda text: Watched(load(text)))
    hold(problems.make("lstm-peephole", batch=40, dtype=torch.float32))
    assert launched == [(1, 1)] * 6


def test_twice_backward_and_second_derivatives() -> None:
    """What was kept is written over: a second walk computes it again."""
    problem = problems.leaves(
        problems.make("gru", dtype=torch.float32).to(problems.device_of("gpu"))
    )
    output, _ = problems.forward(problem, "gpu")
    wanted = list(problems.inputs(problem).values())
    loss = output.square().sum()
    once = torch.autograd.grad(loss, wanted, retain_graph=True)
    again = torch.autograd.grad(loss, wanted, retain_graph=True)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    smooth = torch.autograd.grad(loss, wanted, create_graph=True)
    (second,) = torch.autograd.grad(smooth[0].square().sum(), problem.x)
    assert second.abs().max() > 0


LINEAR = [c for c in problems.CELLS if is_linear(compile_cell(problems.cell_of(c)))]


@pytest.mark.parametrize("dtype", problems.DTYPES["gpu"], ids=str)
@pytest.mark.parametrize("cell", LINEAR)
def test_scans_over_time(cell: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three chunks of steps, which wait for each other."""
    monkeypatch.setattr(engine, "_SCANNED_STEPS", 1)
    if not IS_REAL:
        plain = engine.scan_tiles
        small = {"rows": 4, "units": 4, "slices": 2}
        monkeypatch.setattr(engine, "scan_tiles", lambda hidden: replace(plain(hidden), **small))
    poison(monkeypatch)
    time = 150 if IS_REAL else 11
    problem = problems.make(cell, time=time, hidden=6, dtype=dtype)
    hold(problem)
    lengths = torch.tensor([time, 0, time // 2])
    hold(replace(problem, lengths=lengths), seed=1)
    hold(replace(problem, lengths=lengths, reverse=True), seed=2)


def test_a_long_sequence_is_scanned_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    run = []
    launch = engine.launch_scan
    monkeypatch.setattr(engine, "launch_scan", lambda *given: run.append(launch(*given)))
    problems.compare(problems.make("mingru", time=70, dtype=torch.float32), "gpu")
    assert len(run) == 2
    problems.compare(problems.make("mingru", time=7, dtype=torch.float32), "gpu")
    problems.compare(problems.make("gru", time=70, dtype=torch.float32), "gpu")
    assert len(run) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p, "float32, bfloat16 or float16, and these tensors are float64"),
        (lambda p: replace(p, x=p.x.to("meta")), "are on cpu, meta, not on one GPU"),
    ],
)
def test_what_it_cannot_run_is_said(change: Callable[[Problem], Problem], words: str) -> None:
    problem = change(problems.make("gru"))
    tensors = [problem.x, *problem.state, *problem.weights.values()]
    assert words in str(gpu.obstacle(problem.program, tensors))
    with (
        kernels.use("gpu"),
        pytest.raises(BackendError, match="the backend 'gpu' cannot run this"),
    ):
        kernels.choose(problem.program, problem.x, problem.state, problem.weights)


def test_without_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu._is_installed.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    problem = problems.make("gru", dtype=torch.float32)
    tensors = [problem.x, *problem.state, *problem.weights.values()]
    try:
        assert gpu.obstacle(problem.program, tensors) == (
            "Triton is not installed; pip install 'comporta[gpu]'"
        )
        assert not gpu.is_interpreted()
    finally:
        gpu._is_installed.cache_clear()


@pytest.mark.parametrize("cell", COMPILED)
def test_kernels_compile_for_a_gpu(cell: str, tmp_path: Path) -> None:
    """The interpreter takes more than the compiler does; no GPU is needed for this."""
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-m", "compile_for_gpu", cell],
        env=environment, cwd=Path(__file__).parent, capture_output=True, text=True, timeout=500,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert max(map(int, re.findall(r"(\d+) bytes shared", done.stdout))) <= BYTES_OF_HOPPER
    scans = 4 * (cell in LINEAR)
    assert len(done.stdout.splitlines()) == 8 + 2 * scans


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_autocast_runs_kernels_in_half(half: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights, outputs and gradients stay float32; a CPU in the GPU's place says it is one."""
    device = problems.device_of("gpu")
    layer = Recurrent("lstm", 5, 12, num_layers=2, connections="highway", device=device)
    x = torch.randn(3, 7, 5, device=device)
    seen = []
    run = kernels.BACKENDS["gpu"]

    def spy(program: Any, x: Tensor, *others: Any, **options: Any) -> Any:
        seen.append(x.dtype)
        return run(program, x, *others, **options)

    monkeypatch.setitem(kernels.BACKENDS, "gpu", spy)
    monkeypatch.setattr(kernels, "gains_from", lambda half, x: True)
    found = []
    for is_on in (False, True):
        layer.zero_grad()
        with kernels.use("gpu"), torch.autocast(device, half, enabled=is_on):
            output, state = layer(x)
        output.square().sum().backward()
        assert output.dtype == state[0].h.dtype == torch.float32
        found.append([output.detach(), *(p.grad.clone() for p in layer.parameters())])
    assert seen == [torch.float32] * 2 + [half] * 2
    for exact, rough in zip(*found, strict=True):
        assert not torch.equal(exact, rough)
        assert_close(rough.to(half), exact.double(), dtype=half, terms=40, what="it")


def test_step_by_step() -> None:
    problem = problems.make("lstm", dtype=torch.float32).to(problems.device_of("gpu"))
    expected, finals = problems.forward(problem, "gpu")
    with kernels.use("gpu"):
        stream = kernels.stream(problem.program, problem.x[:, 0], problem.state, problem.weights)
        outputs = [stream.step(problem.x[:, t]).clone() for t in range(problem.x.shape[1])]
    assert_close(torch.stack(outputs, 1), expected.cpu().double(), dtype=torch.float32, terms=5)
    assert_close(stream.state[0], finals[0].cpu().double(), dtype=torch.float32, terms=5)


@pytest.mark.parametrize(
    ("cell", "time", "hidden", "words"),
    [
        ("gru", 5, 16, "each program with all hidden units of its rows"),
        ("gru", 5, 300, "programs that share hidden units and read their matrices every step"),
        ("mingru", 50, 300, "a scan over time"),
        ("mingru", 5, 300, "each program with all hidden units of its rows"),
    ],
)
def test_how_it_runs_is_said(cell: str, time: int, hidden: int, words: str) -> None:
    problem = problems.make(cell, time=time, hidden=hidden, dtype=torch.float32)
    problem = problem.to(problems.device_of("gpu"))
    assert gpu.describe(problem.program, problem.x, hidden).endswith(f", {words}")
    if IS_REAL:
        found = kernels.choose(problem.program, problem.x, problem.state, problem.weights)
        assert found.reason.endswith(words)


@pytest.mark.parametrize(
    ("batch", "hidden", "dtype", "way"),
    [
        (16, 128, torch.bfloat16, "whole"),
        (64, 512, torch.bfloat16, "held"),
        (64, 512, torch.float32, "streamed"),
        (128, 2048, torch.bfloat16, "streamed"),
        (1, 256, torch.bfloat16, "held"),
    ],
)
def test_how_a_run_is_divided(batch: int, hidden: int, dtype: torch.dtype, way: str) -> None:
    """Programs that wait for each other are there at the same time, and cover all units."""
    for cell in ("gru", "lstm", "rnn"):
        division = engine.tiles(compile_cell(cells.get(cell)), batch, hidden, dtype, 132)
        assert division.slices * division.units >= hidden
        assert (division.slices - 1) * division.units < hidden
        if cell == "gru":
            assert division.way == way
        if division.way != "whole":
            assert min(division.at_once, -(-batch // division.rows)) * division.slices <= 132
