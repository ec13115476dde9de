"""Half precision on the CPU: factors of products in bfloat16, everything else in float32."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import problems
import pytest
import torch
from comparator import assert_close
from torch import Tensor

from comporta import kernels
from comporta.cells import Cell
from comporta.kernels import cpu
from comporta.kernels.cpu import engine, machine
from comporta.nn import Recurrent

HALF = torch.bfloat16
every_cell = pytest.mark.parametrize("cell", problems.CELLS)
# A processor without such products computes in float32, which is another way through the same code.
both_ways = pytest.mark.parametrize(
    "multiplies", [*{machine.multiplies_pairs(), False}], indirect=True
)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def multiplies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the processor is taken to multiply pairs of bfloat16."""
    has: bool = request.param
    monkeypatch.setattr(machine, "multiplies_pairs", lambda: has)
    return has


def test_who_multiplies_pairs() -> None:
    assert cpu.multiplies(HALF) == machine.multiplies_pairs()
    assert not cpu.multiplies(torch.float16)
    assert engine.factor_bits(HALF, 4) == (16 if machine.multiplies_pairs() else 32)
    assert engine.factor_bits(HALF, 5) == engine.factor_bits(torch.float16, 4) == 32
    assert engine.factor_bits(torch.float64, 4) == 64


@pytest.mark.parametrize("multiplies", [True, False], indirect=True)
def test_it_is_said_in_words(multiplies: bool) -> None:
    problem = problems.make("gru", dtype=HALF)
    choice = kernels.choose(problem.program, problem.x, problem.state, problem.weights)
    said = "multiply bfloat16" if multiplies else "compute in float32"
    assert choice.reason.endswith(f"-bit vectors, which {said}")


@both_ways
@pytest.mark.usefixtures("multiplies")
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn", "janet"])
def test_a_step_rounds_what_it_gives_and_nothing_else(cell: str) -> None:
    """Products of numbers that are bfloat16 already: their sums have all digits of float32.

    The result is the truth rounded, and not what sums in bfloat16 would give.
    """
    problem = problems.make(cell, batch=9, time=1, depth=40, hidden=67, dtype=HALF)
    output, _ = problems.forward(problem, "cpu")
    truth, _ = problems.forward(problem.to(torch.float64), "reference")
    digits = 2.0**-8  # Half a unit in the last place.
    slack = 1e-5 * truth.abs().max()
    assert ((output.double() - truth).abs() <= digits * truth.abs() + slack).all()
    summed = torch.zeros(9, 67, dtype=HALF)
    weights = problem.weights[next(name for name in problem.weights if name.startswith("U"))]
    for k in range(67):
        summed += problem.state[0][:, k : k + 1] * weights[:, k]
    exact = problem.state[0].double() @ weights.double().t()
    assert ((summed.double() - exact).abs() > digits * exact.abs() + slack).any()


def rounded(value: Tensor) -> Tensor:
    """The numbers as factors of products."""
    return value.bfloat16().double()


@pytest.mark.skipif(not machine.multiplies_pairs(), reason="this processor has no such products")
@pytest.mark.parametrize("sizes", [(5, 1, 4, 3), (37, 3, 40, 67), (1, 6, 2, 33), (4, 7, 50, 48)])
@pytest.mark.parametrize("is_time_major", [False, True])
def test_every_product_has_the_factors_it_should_have(
    sizes: tuple[int, int, int, int], is_time_major: bool
) -> None:
    """h = W x + U h by hand, forward and back: factors are bfloat16, and nothing else is."""
    batch, time, depth, hidden = sizes
    cell = Cell("linear", "h = W @ x + U @ h + k")
    problem = problems.make(cell, batch=batch, time=time, depth=depth, hidden=hidden, dtype=HALF)
    if is_time_major:
        x = problem.x.transpose(0, 1).contiguous().transpose(0, 1)
        problem = replace(problem, x=x)
    answer = problems.solve(problem, "cpu")
    exact = problem.to(torch.float64)
    w, u, k = (exact.weights[name] for name in ("W", "U", "k"))
    states = [exact.state[0]]
    for t in range(time):
        states.append(exact.x[:, t] @ w.t() + rounded(states[-1]) @ u.t() + k)
    d_output, d_h = exact.towards
    gradients = {name: torch.zeros_like(value) for name, value in exact.weights.items()}
    d_x = torch.zeros_like(exact.x)
    for t in reversed(range(time)):
        d_h = d_h + d_output[:, t]
        d_x[:, t] = rounded(d_h) @ w
        gradients["W"] += rounded(d_h).t() @ exact.x[:, t]
        gradients["U"] += rounded(d_h).t() @ rounded(states[t])
        gradients["k"] += d_h.sum(0)
        d_h = rounded(d_h) @ u
    expected = {"output": torch.stack(states[1:], 1), "h": states[-1], "dx": d_x, "dh0": d_h}
    expected |= {f"d{name}": value for name, value in gradients.items()}
    assert answer.keys() == expected.keys()
    for name, value in expected.items():
        error = (answer[name].double() - value).abs()
        # Half a unit in the last place; and float32 may round a factor to its other neighbour.
        assert (error <= 2.0**-8 * value.abs() + 1e-3 * value.abs().max()).all(), name


@pytest.mark.parametrize("cell", ["gru", "lstm-layer-norm", "lmu"])
def test_float16(cell: str) -> None:
    for depth in (4, 5):
        problem = problems.make(cell, depth=depth, hidden=17, dtype=torch.float16)
        problems.compare(replace(problem, lengths=torch.tensor([5, 0, 3])), "cpu")


@every_cell
def test_equal_bits_whatever_the_company(cell: str) -> None:
    problem = problems.make(cell, batch=21, time=6, depth=6, hidden=17, dtype=HALF)
    torch.set_num_threads(2)
    answer = problems.solve(problem, "cpu")
    torch.set_num_threads(1)
    problems.assert_same_bits(problems.solve(problem, "cpu"), answer)
    turned = replace(problem, x=problem.x.transpose(0, 1).contiguous().transpose(0, 1))
    by_row = ["output", "dx", *problem.program.states]
    found = problems.solve(turned, "cpu")
    problems.assert_same_bits({name: found[name] for name in by_row},
                              {name: answer[name] for name in by_row})  # fmt: skip
    for first, last in [(0, 1), (7, 12)]:
        found = problems.solve(problems.rows(problem, slice(first, last)), "cpu")
        problems.assert_same_bits({name: found[name] for name in by_row},
                                  {name: answer[name][first:last] for name in by_row})  # fmt: skip


def test_a_team_gives_the_bits_of_one_thread() -> None:
    problem = problems.make("lstm", batch=1, time=5, depth=6, hidden=512, dtype=HALF)
    torch.set_num_threads(1)
    alone = problems.solve(problem, "cpu")
    torch.set_num_threads(2)
    problems.assert_same_bits(problems.solve(problem, "cpu"), alone)


@both_ways
@pytest.mark.usefixtures("multiplies")
@pytest.mark.parametrize("cell", ["gru", "lstm", "gru-reset-before"])
def test_a_stream_has_the_bits_of_the_whole(cell: str) -> None:
    """Between its steps the states keep their digits; handed over in bfloat16 they would not."""
    problem = problems.make(cell, batch=2, time=30, depth=6, hidden=20, dtype=HALF)
    output, finals = problems.forward(problem, "cpu")
    first = problem.x[:, 0].contiguous()
    stream = kernels.stream(problem.program, first, problem.state, problem.weights)
    for t in range(30):
        step = stream.step if t % 2 else stream.step_anew
        assert torch.equal(step(problem.x[:, t].contiguous()), output[:, t])
    assert all(map(torch.equal, stream.state, finals))


def test_rows_at_odd_places() -> None:
    """Two neighbours are read at once wherever a row begins."""
    problem = problems.make("gru", batch=4, time=5, depth=6, hidden=9, dtype=HALF)
    wide = torch.zeros(4, 5, 7, dtype=HALF)
    wide[..., 1:] = problem.x
    problems.assert_same_bits(problems.solve(replace(problem, x=wide[..., 1:]), "cpu"),
                              problems.solve(problem, "cpu"))  # fmt: skip


def test_nan_and_infinity_flow_through() -> None:
    problem = problems.make("rnn", batch=3, time=4, depth=4, hidden=7, dtype=HALF)
    x = problem.x.clone()
    x[0, 1, 2] = torch.nan
    output, _ = problems.forward(replace(problem, x=x), "cpu")
    assert output[0, 1:].isnan().all()
    assert output[1:].isfinite().all()
    x[0, 1, 2] = torch.inf
    output, _ = problems.forward(replace(problem, x=x), "cpu")
    truth, _ = problems.forward(replace(problem.to(torch.float64), x=x.double()), "reference")
    assert_close(output, truth, dtype=HALF, terms=4)


@pytest.mark.parametrize("size", [4, 5])
def test_a_compiled_layer_gives_the_same_bits(size: int) -> None:
    layer = Recurrent("lstm", size, 9, num_layers=2, bidirectional=True).bfloat16()
    x = torch.randn(3, 6, size).bfloat16()
    found = []
    for run in (layer, torch.compile(layer, fullgraph=True, backend="aot_eager")):
        layer.zero_grad()
        output, state = run(x)
        output.square().sum().backward()
        assert output.dtype == state[0].h.dtype == HALF
        found.append([output.detach(), *(p.grad for p in layer.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1]) == 1 + len(list(layer.parameters()))
    assert all(map(torch.equal, *found))


def test_twice_differentiated() -> None:
    problem = problems.leaves(problems.make("gru", depth=4, hidden=6, dtype=HALF))
    output, _ = problems.forward(problem, "cpu")
    (once,) = torch.autograd.grad(output.sum(), problem.x, create_graph=True)
    (twice,) = torch.autograd.grad(once.square().sum(), problem.x)
    exact = problems.leaves(problem.to(torch.float64))
    expected, _ = problems.forward(exact, "reference")
    (first,) = torch.autograd.grad(expected.sum(), exact.x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), exact.x)
    assert_close(once, first, dtype=HALF, terms=20)
    assert_close(twice, second, dtype=HALF, terms=100)
