"""The fused backend computes every row by one fixed chain of operations: equal bits, whatever the
company, the chunks, the threads, and whether gradients are wanted."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import problems
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import Answer, Problem, rows
from torch import Tensor

from comporta.kernels.cpu import call, openmp, threads
from comporta.kernels.cpu.work import Work

# The package's function of the same name hides the module.
forward_pass = importlib.import_module("comporta.kernels.cpu.forward")
backward_pass = importlib.import_module("comporta.kernels.cpu.backward")
_plan, _backward_plan = forward_pass.plan, backward_pass._plan
DTYPES = [torch.float32, torch.float64]
every_cell = pytest.mark.parametrize("cell", problems.CELLS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def values(problem: Problem) -> Answer:
    """Output and final states."""
    with torch.no_grad():
        output, finals = problems.forward(problem, "cpu")
    return {"output": output, **dict(zip(problem.program.states, finals, strict=True))}


def of_rows(answer: Answer, picked: slice | list[int]) -> Answer:
    """What an answer says of some rows (everything but the gradients of weights)."""
    by_row = [n for n in answer if not n.startswith("d") or n == "dx" or n.endswith("0")]
    return {name: answer[name][picked] for name in by_row}


def in_pieces(problem: Problem, sizes: list[int]) -> Answer:
    """Run over consecutive pieces of time, handing the states on."""
    pieces, state = [], problem.state
    parts = zip(
        *(value.split(sizes, dim=1) for value in (problem.x, *problem.streams)), strict=True
    )
    with torch.no_grad():
        for x, *streams in parts:
            piece = replace(problem, x=x, state=state, streams=tuple(streams))
            output, state = problems.forward(piece, "cpu")
            pieces.append(output)
    return {
        "output": torch.cat(pieces, dim=1),
        **dict(zip(problem.program.states, state, strict=True)),
    }


@every_dtype
@every_cell
def test_whole_is_chunks_is_step_by_step(cell: str, dtype: torch.dtype) -> None:
    problem = problems.make(cell, batch=5, time=40, depth=7, hidden=33, dtype=dtype)
    whole = values(problem)
    for sizes in ([1] * 40, [17, 3, 1, 19], [39, 1], [0, 40, 0]):
        problems.assert_same_bits(in_pieces(problem, sizes), whole)


@every_cell
def test_a_single_row_streams_as_it_runs(cell: str) -> None:
    """Batch 1 has kernels of its own height; its bits are those of the batch."""
    problem = problems.make(cell, batch=1, time=30, depth=5, hidden=48, dtype=torch.float32)
    problems.assert_same_bits(in_pieces(problem, [1] * 30), values(problem))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data())
def test_any_cut_of_time_and_any_choice_of_rows(data: st.DataObject) -> None:
    cell = data.draw(st.sampled_from(["gru", "gru-reset-before", "lstm-peephole", "mingru"]))
    batch, time = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 50))
    hidden, depth = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 20))
    problem = problems.make(
        cell, batch=batch, time=time, depth=depth, hidden=hidden, dtype=torch.float32
    )
    whole = values(problem)
    cut = data.draw(st.integers(0, time))
    problems.assert_same_bits(in_pieces(problem, [cut, time - cut]), whole)
    picked = data.draw(st.lists(st.integers(0, batch - 1), min_size=1, max_size=20))
    problems.assert_same_bits(values(rows(problem, picked)), of_rows(whole, picked))


@every_dtype
@every_cell
def test_a_row_is_the_same_in_any_company(cell: str, dtype: torch.dtype) -> None:
    """Values and the gradients that belong to a row: x and the initial states."""
    problem = problems.make(cell, batch=33, time=6, depth=7, hidden=17, dtype=dtype)
    answer = problems.solve(problem, "cpu")
    for row in (0, 1, 7, 8, 20, 32):
        alone = problems.solve(rows(problem, slice(row, row + 1)), "cpu")
        problems.assert_same_bits(of_rows(alone, [0]), of_rows(answer, [row]))
    order = torch.randperm(33).tolist()
    for picked in (order, order[:10], [3] * 9):
        company = problems.solve(rows(problem, picked), "cpu")
        problems.assert_same_bits(of_rows(company, slice(None)), of_rows(answer, picked))


@every_dtype
@every_cell
def test_memory_order_does_not_matter(cell: str, dtype: torch.dtype) -> None:
    problem = problems.make(cell, batch=9, time=11, depth=16, hidden=20, dtype=dtype)
    time_major = replace(problem, x=problem.x.transpose(0, 1).contiguous().transpose(0, 1))
    problems.assert_same_bits(values(time_major), values(problem))
    a, b = problems.solve(time_major, "cpu"), problems.solve(problem, "cpu")
    problems.assert_same_bits(of_rows(a, slice(None)), of_rows(b, slice(None)))


@every_dtype
@every_cell
def test_wanting_gradients_changes_no_value(cell: str, dtype: torch.dtype) -> None:
    problem = problems.make(cell, batch=9, time=11, depth=5, hidden=20, dtype=dtype)
    for case in (problem, replace(problem, lengths=torch.arange(9), reverse=True)):
        answer = problems.solve(case, "cpu")
        found = values(case)
        problems.assert_same_bits(found, {name: answer[name] for name in found})


@pytest.mark.parametrize("reverse", [False, True])
@every_dtype
@every_cell
def test_a_row_with_a_length_is_a_short_row(cell: str, dtype: torch.dtype, reverse: bool) -> None:
    problem = problems.make(cell, batch=6, time=7, depth=5, hidden=19, dtype=dtype)
    lengths = torch.tensor([7, 0, 3, 1, 6, 5])
    problem = replace(problem, lengths=lengths, reverse=reverse)
    answer = problems.solve(problem, "cpu")
    for row, length in enumerate(lengths.tolist()):
        one = rows(problem, slice(row, row + 1))
        short = replace(
            one, x=one.x[:, :length], lengths=None,
            streams=tuple(value[:, :length] for value in one.streams),
            towards=(one.towards[0][:, :length], *one.towards[1:]),
        )  # fmt: skip
        alone, found = problems.solve(short, "cpu"), of_rows(answer, [row])
        for name in ("output", "dx"):
            assert not found[name][:, length:].any()
            found[name] = found[name][:, :length]
        problems.assert_same_bits(of_rows(alone, [0]), found)


@every_dtype
@every_cell
def test_reverse_is_forward_on_time_reversed(cell: str, dtype: torch.dtype) -> None:
    problem = problems.make(cell, batch=5, time=7, depth=5, hidden=19, dtype=dtype)
    flipped = tuple(value.flip(1) for value in problem.streams)
    backwards = values(replace(problem, x=problem.x.flip(1), streams=flipped, reverse=True))
    backwards["output"] = backwards["output"].flip(1)
    problems.assert_same_bits(backwards, values(problem))


@pytest.fixture(autouse=True)
def no_plans_yet() -> Iterator[None]:
    """The tests here change what plans are made of."""
    forget_plans()
    yield
    forget_plans()


def forget_plans() -> None:
    call._sizes.cache_clear()
    _plan.cache_clear()
    _backward_plan.cache_clear()


def count_parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many parts each piece of work is cut into from here on."""
    counts: list[int] = []
    genuine = Work.run

    def run(self: Work, numbers: Sequence[int]) -> None:
        counts.extend(self.parts)
        genuine(self, numbers)

    monkeypatch.setattr(Work, "run", run)
    return counts


def with_threads(problem: Problem, count: int) -> Answer:
    torch.set_num_threads(count)
    return problems.solve(problem, "cpu")


@every_dtype
@every_cell
def test_two_threads_give_the_bits_of_one(
    cell: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs and all gradients, on a problem large enough to be shared as it is."""
    problem = problems.make(cell, batch=22, time=60, depth=48, hidden=65, dtype=dtype)
    problem = replace(problem, lengths=torch.arange(39, 61))
    counts = count_parts(monkeypatch)
    alone = with_threads(problem, 1)
    assert max(counts) == 1
    counts.clear()
    shared = with_threads(problem, 2)
    assert max(counts) == 2
    problems.assert_same_bits(shared, alone)


@pytest.fixture(params=["torch's threads", "helper threads"])
def whose_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test twice: on the threads of torch, and as where they cannot be had."""
    whose: str = request.param
    if whose == "helper threads":
        monkeypatch.setattr(openmp, "offers", lambda threads: False)
    elif not openmp.offers(7):
        pytest.skip("this torch does not share its threads")
    return whose


@pytest.mark.usefixtures("whose_threads")
@every_cell
def test_any_number_of_threads_gives_the_bits_of_one(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three, four and seven threads, on small problems that are shared by force."""
    monkeypatch.setattr(threads, "WORTH_A_THREAD", 1)
    counts = count_parts(monkeypatch)
    for batch in (1, 5, 13, 33):
        problem = problems.make(
            cell, batch=batch, time=6, depth=18, hidden=17, dtype=torch.float32, reverse=True
        )
        alone = with_threads(problem, 1)
        for count in (3, 4, 7):
            problems.assert_same_bits(with_threads(problem, count), alone)
    assert max(counts) == 7


def teams_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The size of the team of every call from here on."""
    seen: list[int] = []
    genuine = forward_pass.plan

    def plan(sizes: call.Sizes) -> Any:
        seen.append(sizes.team)
        return genuine(sizes)

    monkeypatch.setattr(forward_pass, "plan", plan)
    return seen


@every_dtype
@every_cell
def test_a_team_gives_the_bits_of_one(
    cell: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that share every product, each a part of its columns: the same in every bit."""
    if not openmp.offers(5):
        pytest.skip("teams are made of torch's threads, which this torch does not share")
    seen = teams_seen(monkeypatch)
    recurrent = problems.cell_of(cell).phases > 0
    for batch, hidden in [(1, 17), (2, 65), (5, 96), (14, 33)]:
        problem = problems.make(cell, batch=batch, time=7, depth=18, hidden=hidden, dtype=dtype)
        problem = replace(problem, lengths=torch.arange(batch) % 8, reverse=batch == 5)
        alone, streamed = with_threads(problem, 1), values(problem)
        with monkeypatch.context() as forced:
            forced.setattr(call, "_BYTES_OF_A_MEMBER", 0.001)
            for count in (2, 3, 5):
                seen.clear()
                problems.assert_same_bits(with_threads(problem, count), alone)
                problems.assert_same_bits(values(problem), streamed)
                assert (max(seen) == count) == recurrent


def test_a_layer_with_many_weights_has_a_team_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = teams_seen(monkeypatch)
    problem = problems.make("lstm", batch=3, time=4, depth=9, hidden=530, dtype=torch.float32)
    shared = with_threads(problem, 2)
    assert max(seen) == 2
    problems.assert_same_bits(with_threads(problem, 1), shared)
    problems.assert_same_bits(in_pieces(problem, [1, 2, 1]), values(problem))
    torch.set_num_threads(2)
    row = problems.solve(rows(problem, slice(1, 2)), "cpu")
    problems.assert_same_bits(of_rows(row, [0]), of_rows(shared, [1]))


@pytest.mark.parametrize(("batch", "time", "team"), [(4, 50, 2), (5, 50, 2), (8, 50, 1), (4, 1, 1)])
def test_a_team_is_for_rows_too_few_and_steps_enough(
    batch: int, time: int, team: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = teams_seen(monkeypatch)
    problem = problems.make(
        "lstm", batch=batch, time=time, depth=9, hidden=128, dtype=torch.float32
    )
    shared = with_threads(problem, 2)
    assert set(seen) == {team}
    problems.assert_same_bits(with_threads(problem, 1), shared)


def chunk_of(problem: Problem, monkeypatch: pytest.MonkeyPatch, size: int) -> Answer:
    """Solve it with the products of x made for so many steps at a time."""
    monkeypatch.setattr(forward_pass, "_CHUNK_BYTES", 0)
    monkeypatch.setattr(forward_pass, "_CHUNK_ROWS", size * problem.x.shape[0])
    forget_plans()
    return problems.solve(problem, "cpu")


@every_cell
def test_chunks_inside_the_kernel_do_not_show(cell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    problem = problems.make(cell, batch=5, time=40, depth=7, hidden=17, dtype=torch.float32)
    expected = problems.solve(problem, "cpu")
    seen = chunks_seen(monkeypatch)
    for size in (1, 3, 8, 39, 40):
        problems.assert_same_bits(chunk_of(problem, monkeypatch, size), expected)
        assert seen[-1] == size


def chunks_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The chunk of every call from here on, so that the test above cannot pass by accident."""
    seen: list[int] = []
    genuine = forward_pass._chunk

    def chunk(*sizes: Any) -> int:
        seen.append(genuine(*sizes))
        return seen[-1]

    monkeypatch.setattr(forward_pass, "_chunk", chunk)
    return seen


@every_cell
def test_large_problems_come_in_several_chunks_as_they_are(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = problems.make(cell, batch=8, time=150, depth=9, hidden=64, dtype=torch.float64)
    seen = chunks_seen(monkeypatch)
    whole = values(problem)
    assert max(seen) < 150
    problems.assert_same_bits(in_pieces(problem, [1, 77, 72]), whole)


def test_results_are_fresh_memory() -> None:
    """What a call returns is never written again, nor does it share memory with its inputs."""
    problem = problems.make("lstm", time=1)
    found: list[Tensor] = []
    for _ in range(3):
        answer = values(problem)
        found += answer.values()
    places = {value.data_ptr() for value in found}
    assert len(places) == len(found)
    assert not places & {value.data_ptr() for value in problem.state}
    for value, again in zip(found[:3], found[3:6], strict=True):
        assert torch.equal(value, again)
