"""Plans, tables and threads: what runs of the same sizes share, and what they must not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import problems
import pytest
import torch
from problems import Problem
from torch import Tensor

from comporta.kernels import Weights
from comporta.kernels.cpu import engine, openmp, threads
from comporta.kernels.cpu.product import GEMM_EACH, PACK, SUM
from comporta.kernels.cpu.table import Given, Jobs, Listed, Memory, Task
from comporta.kernels.cpu.work import Work
from comporta.nn import LSTM

PRODUCTS = engine.products(32)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def lstm(seed: int, **changed: int) -> Problem:
    sizes: dict[str, Any] = {"batch": 3, "time": 5, "depth": 7, "hidden": 16, **changed}
    return problems.make("lstm", seed=seed, **sizes)


def test_runs_of_the_same_sizes_share_no_numbers() -> None:
    """A second problem of the same sizes neither sees the first one nor changes it."""
    first, second = lstm(1), lstm(2)
    for problem in (first, second, first):
        problems.compare(problem, "cpu")


def stacked(problem: Problem, gates: str = "ifgo") -> Weights:
    kinds = [[f"{kind}_{gate}" for gate in gates] for kind in "WUbc"]
    tensors = [torch.cat([problem.weights[name] for name in names]) for names in kinds]
    return Weights(tensors, tuple(map(tuple, kinds)))


@pytest.mark.parametrize("gates", ["ifgo", "oigf"])
@pytest.mark.parametrize("hidden", [16, 17])
def test_stacked_weights_are_the_same_weights(gates: str, hidden: int) -> None:
    """Equal bits of outputs and gradients, in whatever order the gates are stacked."""
    problem = lstm(3, hidden=hidden)
    alone = problems.solve(problem, "cpu")
    weights = stacked(problem, gates)
    for tensor in weights.tensors:
        tensor.requires_grad_()
    assert {name: weights.shape(name) for name in weights} == {
        name: tuple(value.shape) for name, value in problem.weights.items()
    }
    together = problems.solve(replace(problem, weights=weights.apart()), "cpu")
    problems.assert_same_bits(together, alone)
    output, _ = problems.forward(replace(problem, weights=weights), "cpu")
    output.backward(torch.ones_like(output))
    apart = problems.forward(replace(problem, weights=weights.apart()), "cpu")[0]
    found = torch.autograd.grad(apart, weights.tensors, torch.ones_like(output))
    assert torch.equal(apart, output)
    for tensor, gradient in zip(weights.tensors, found, strict=True):
        assert tensor.grad is not None
        assert torch.equal(tensor.grad, gradient)


def test_weights_of_any_strides() -> None:
    problem = lstm(4)
    turned = {
        name: value.t().contiguous().t() if value.ndim == 2 else value.repeat_interleave(2)[::2]
        for name, value in problem.weights.items()
    }
    assert any(value.stride(-1) != 1 for value in turned.values())
    problems.assert_same_bits(
        problems.solve(replace(problem, weights=turned), "cpu"), problems.solve(problem, "cpu")
    )


def test_gradients_are_those_of_the_weights_that_were_there() -> None:
    """Between the passes a parameter may be given other memory, and its own be written over."""
    layer, x = LSTM(16, 32, batch_first=True), torch.randn(4, 9, 16)
    right = torch.autograd.grad(layer(x)[0].sum(), list(layer.parameters()))
    loss = layer(x)[0].sum()
    for parameter in layer.parameters():
        parameter.data = torch.full_like(parameter, torch.nan)
    poison = [torch.full((size,), torch.nan) for size in range(128, 4096, 128)]
    found = torch.autograd.grad(loss, list(layer.parameters()))
    assert len(poison) == 31
    assert all(map(torch.equal, found, right))


def table_seen(work: Work, numbers: list[int], size: int) -> list[int]:
    """What the function of a piece of work finds in its table; where it stands is given last."""
    found = torch.zeros(size, dtype=torch.int64)
    work.run([*numbers, found.data_ptr()])
    return found.tolist()


def test_a_table_is_filled_anew_for_every_call() -> None:
    """The sum of one row is a copy of it: of numbers given, and of a list of such."""
    doubles = engine.products(64)
    tail = Listed((4, Given("b", 5), Given("a").after(2)))
    task = Task(doubles.functions[SUM], (tail, 3, 1, Given("found"), 3), [(0, 1)])
    work = Work([task], ["a", "unread", "b", "found"])
    assert table_seen(work, [10, 7, 20], 3) == [4, 25, 12]
    assert table_seen(work, [30, 7, 0], 3) == [4, 5, 32]


def multiplied(a: Tensor, b: Tensor) -> Tensor:
    """A B, B of whole vectors of columns, by the kernels."""
    (rows, depth), columns, vectors = a.shape, b.shape[1], b.shape[1] // PRODUCTS.real.lanes
    packed, found = torch.empty(depth * columns), torch.empty(rows, columns)
    pack, multiply = PRODUCTS.jobs(PACK), PRODUCTS.jobs(GEMM_EACH)
    pack.add(packed.data_ptr(), depth, vectors, b.data_ptr(), columns, 1, 0, 0, depth, columns,
             depth, work=1)  # fmt: skip
    multiply.add(a.data_ptr(), depth, 0, packed.data_ptr(), found.data_ptr(), columns, 0, rows,
                 depth, 1, vectors, 0, work=1)  # fmt: skip
    Work([pack.task(), multiply.task()], []).run([])
    return found


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7, 8, 14, 17])
def test_a_product_is_right_and_each_row_has_its_bits_alone(rows: int) -> None:
    """Over all ways in which panels of columns, and tiles of rows, may be left over."""
    depth, lanes = 9, PRODUCTS.real.lanes
    rounding = depth * torch.finfo(torch.float32).eps
    for vectors in range(1, 14):
        a, b = torch.randn(rows, depth), torch.randn(depth, vectors * lanes)
        found = multiplied(a, b)
        bound = rounding * (a.double().abs() @ b.double().abs())
        assert ((found - a.double() @ b.double()).abs() <= bound).all()
        alone = torch.cat([multiplied(a[i : i + 1], b) for i in range(rows)])
        assert torch.equal(found, alone)


def test_buffers_laid_out_do_not_overlap() -> None:
    memory = Memory("m", 4)
    first, second, third = memory.take(3, 5), memory.take(1), memory.take(0)
    assert (first.plus, second.plus, third.plus) == (0, 64, 128)
    assert memory.bytes == 128


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_jobs_are_shared_out_evenly(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    torch.set_num_threads(count)
    jobs, works = Jobs(PRODUCTS.functions[SUM], 1), [9, 1, 4, 4, 2, 7, 1, 1, 3, 6]
    for work in works:
        jobs.add(work, work=work)
    task = jobs.task()
    done = [entry for entry in task.entries if isinstance(entry, int)]
    assert sorted(done) == sorted(works)
    assert [last for _, last in task.parts] == [first for first, _ in task.parts[1:]] + [10]
    loads = [sum(done[first:last]) for first, last in task.parts]
    assert len(loads) == count
    assert max(loads) - min(loads) <= max(works)


@pytest.mark.parametrize("count", [4, 6])
def test_a_job_with_too_few_or_too_many_numbers_is_refused(count: int) -> None:
    with pytest.raises(AssertionError, match=f"{count} numbers for 5"):
        PRODUCTS.jobs(SUM).add(*[0] * count, work=1)


@pytest.mark.parametrize("whose", ["torch's threads", "helper threads"])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_part_runs_once(count: int, whose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    if whose == "helper threads":
        monkeypatch.setattr(openmp, "offers", lambda threads: False)
    torch.set_num_threads(count)
    lanes = PRODUCTS.real.lanes
    numbers, sums = torch.arange(21.0 * lanes).view(7, 3, lanes), torch.zeros(7, lanes)
    jobs = PRODUCTS.jobs(SUM)
    for source, target in zip(numbers, sums, strict=True):
        jobs.add(source.data_ptr(), lanes, 3, target.data_ptr(), lanes - 1, work=100)
    task = jobs.task()
    assert len(task.parts) == count
    Work([task], []).run([])
    expected: Tensor = numbers.sum(1)
    assert torch.equal(sums[:, :-1], expected[:, :-1])
    assert not sums[:, -1].any()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_runs_on_threads_of_its_own() -> None:
    """The threads of torch's library do not survive a fork, and waiting for them never ends."""
    done = subprocess.run([sys.executable, "-c", _FORKED], timeout=100, check=False)
    assert done.returncode == 0


_FORKED = """
import os, torch
from comporta import nn
from comporta.kernels.cpu import openmp, threads
threads.WORTH_A_THREAD = 1
torch.set_num_threads(2)
layer, x = nn.LSTM(4, 5), torch.randn(6, 9, 4)
output = layer(x)[0].tolist()
child = os.fork()
if child == 0:
    same = layer(x)[0].tolist() == output
    os._exit(0 if same and not openmp.offers(2) else 1)
raise SystemExit(os.waitpid(child, 0)[1])
"""
