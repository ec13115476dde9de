"""The seam: who runs what and why, in words; what is refused; transforms that fall back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import problems
import pytest
import torch
from comparator import assert_close
from problems import Problem
from torch import Tensor
from torch.autograd import forward_ad

from comporta import cells, kernels
from comporta.cells import Cell
from comporta.errors import BackendError, ComportaError, ShapeError
from comporta.kernels import BACKENDS, compile_cell, cpu


def choose(problem: Problem) -> kernels.Choice:
    return kernels.choose(problem.program, problem.x, problem.state, problem.weights)


def run(problem: Problem, **options: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Without asking for a backend."""
    return kernels.run(problem.program, problem.x, problem.state, problem.weights, **options)


@pytest.mark.parametrize("dtype", cpu.engine.DTYPES)
@pytest.mark.parametrize("name", cells.names())
def test_every_cell_is_fused(name: str, dtype: torch.dtype) -> None:
    choice = choose(problems.make(name, dtype=dtype))
    assert choice.backend == "cpu"
    bits = str(dtype).removeprefix("torch.")
    assert choice.reason.startswith(f"fused kernel, {bits} on ")
    assert ("-bit vectors, which " in choice.reason) == (dtype in problems.HALVES)
    assert str(choice) == f"cpu: {choice.reason}"


def mixed(problem: Problem) -> Problem:
    return replace(problem, x=problem.x.float())


def of_input_size(problem: Problem) -> Problem:
    return problems.make(Cell("wide", "a = tanh(k * x)\nh = W @ a + U @ h"))


def plain_x(problem: Problem) -> Problem:
    """With as many inputs as hidden units nothing fits by accident either."""
    return problems.make(Cell("plain", "h = W @ x + U @ (V @ (k * x)) + 0 * h"), depth=6)


def of_a_parameter(problem: Problem) -> Problem:
    return problems.make(Cell("parameter", "h = W @ x + U @ k + 0 * h"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p.to(torch.complex64), "or float16, and these tensors are complex64"),
        (mixed, "these tensors are float32, float64"),
        (of_input_size, "has the input size D"),
        (plain_x, "has the input size D"),
        (of_a_parameter, "U is applied to k, which is a parameter"),
        (lambda p: replace(p, x=p.x.to("meta"), state=tuple(s.to("meta") for s in p.state)),
         "on meta, not on the CPU"),
    ],
)  # fmt: skip
def test_obstacles_are_said_in_words(change: Any, words: str) -> None:
    problem = change(problems.make("gru"))
    choice = choose(problem)
    assert choice.backend == "reference"
    assert choice.reason.startswith("the fused CPU kernel cannot run this: ")
    assert words in choice.reason
    with kernels.use("cpu"), pytest.raises(BackendError) as caught:
        run(problem)
    assert str(caught.value).startswith("the backend 'cpu' cannot run this: ")
    assert words in str(caught.value)
    with kernels.use("reference"):
        assert choose(problem).reason == "asked for with comporta.kernels.use()"


@pytest.mark.parametrize("change", [of_input_size, plain_x, of_a_parameter])
def test_what_is_not_fused_runs_all_the_same(change: Any) -> None:
    problem = change(problems.make("gru"))
    output, finals = run(problem)
    expected, expected_finals = problems.forward(problem, "reference")
    assert torch.equal(output, expected)
    assert torch.equal(finals[0], expected_finals[0])


def test_asking_for_a_backend() -> None:
    problem = problems.make("gru", dtype=torch.float32)
    assert choose(problem).backend == "cpu"
    for backend in BACKENDS:
        with kernels.use(backend):
            assert choose(problem.to(problems.device_of(backend))) == kernels.Choice(
                backend, "asked for with comporta.kernels.use()"
            )
    with kernels.use("reference"):
        with kernels.use("cpu"):
            assert choose(problem).backend == "cpu"
        assert choose(problem).backend == "reference"
        with pytest.raises(ZeroDivisionError), kernels.use("cpu"):
            raise ZeroDivisionError
        assert choose(problem).backend == "reference"
    assert choose(problem).backend == "cpu"


def test_asking_is_for_this_thread_alone() -> None:
    problem = problems.make("gru")
    with kernels.use("reference"), ThreadPoolExecutor(1) as pool:
        assert pool.submit(choose, problem).result().backend == "cpu"


def test_an_unknown_backend_is_named() -> None:
    for name, hint in [("cpuu", "did you mean cpu"), ("refrence", "did you mean reference")]:
        with pytest.raises(BackendError, match=f"unknown backend '{name}'; {hint}"):
            kernels.use(name).__enter__()
    assert issubclass(BackendError, ComportaError)


def test_run_goes_where_choose_says(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    for name, backend in list(BACKENDS.items()):

        def spy(*args: Any, _name: str = name, _backend: Any = backend, **options: Any) -> Any:
            seen.append(_name)
            return _backend(*args, **options)

        monkeypatch.setitem(BACKENDS, name, spy)
    problem = problems.make("gru")
    run(problem)
    run(of_input_size(problem))
    with kernels.use("reference"):
        run(problem)
    assert seen == ["cpu", "reference", "reference"]


def without(weights: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in weights.items() if key != name}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x": torch.zeros(5, 4)}, "input must have shape (B, T, D); it has (5, 4)"),
        ({"x": torch.zeros(3, 5, 4, 1)}, "input must have shape (B, T, D); it has (3, 5, 4, 1)"),
        ({"x": torch.zeros(2, 5, 4)}, "the state h must have shape (2, 6); it has (3, 6)"),
        ({"x": torch.zeros(3, 5, 7)}, "weight W_i (H, D) must have shape (6, 7); it has (6, 4)"),
        ({"state": ()}, "the cell has the states h, c; 0 were given"),
        ({"state": (torch.zeros(3, 6),)}, "the cell has the states h, c; 1 were given"),
        ({"state": (torch.zeros(3, 6), torch.zeros(3, 5))},
         "the state c must have shape (3, 6); it has (3, 5)"),
        ({"state": (torch.zeros(3, 7), torch.zeros(3, 7))},
         "the weight W_i (H, D) must have shape (7, 4); it has (6, 4)"),
        ({"state": (torch.zeros(6), torch.zeros(6))},
         "the state h must have shape (3, 6); it has (6,)"),
        ({"state": (torch.tensor(0.0), torch.tensor(0.0))}, "the state h must have shape"),
        ({"weights": {}}, "the weight W_i is missing"),
        ({"lengths": torch.tensor([1, 2])}, "lengths must have shape (3,); it has (2,)"),
        ({"lengths": torch.tensor(3)}, "lengths must have shape (3,); it has ()"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("backend", BACKENDS)
def test_wrong_shapes_are_explained(backend: str, changes: dict[str, Any], words: str) -> None:
    problem = replace(problems.make("lstm", dtype=torch.float32), **changes)
    with pytest.raises(ShapeError) as caught:
        problems.forward(problem, backend)
    assert words in str(caught.value)


def test_a_wrong_weight_is_named() -> None:
    problem = problems.make("gru")
    for name in problem.weights:
        with pytest.raises(ShapeError, match=f"the weight {name} is missing"):
            run(replace(problem, weights=without(problem.weights, name)))
        wrong = {**problem.weights, name: problem.weights[name][:-1]}
        with pytest.raises(ShapeError, match=f"the weight {name} "):
            run(replace(problem, weights=wrong))


def directional(problem: Problem, along: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Output and its derivative along a direction in all inputs, by forward-mode."""
    names = list(problems.inputs(problem))
    with forward_ad.dual_level():
        pairs = zip(problems.inputs(problem).values(), along, strict=True)
        duals = dict(zip(names, (forward_ad.make_dual(v, t) for v, t in pairs), strict=True))
        states = tuple(duals[f"{state}0"] for state in problem.program.states)
        weights = {name: duals[name] for name in problem.weights}
        moved = replace(problem, x=duals["x"], state=states, weights=weights)
        assert "forward-mode" in choose(moved).reason
        output, _ = run(moved)
        value, tangent = forward_ad.unpack_dual(output)
        assert tangent is not None
        return value.clone(), tangent.clone()


# torch compiles its own decompositions when forward mode is first used.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("name", ["gru", "lstm-peephole-output", "minlstm"])
def test_forward_mode(name: str) -> None:
    """The derivative along a direction is the gradient times that direction."""
    problem = problems.make(name)
    along = [torch.randn_like(value) for value in problems.inputs(problem).values()]
    value, tangent = directional(problem, along)
    towards = torch.randn_like(tangent)
    traced = problems.leaves(problem)
    output, _ = problems.forward(traced, "cpu")
    assert_close(value, output.detach(), dtype=torch.float64, terms=5)
    gradients = torch.autograd.grad(
        (output * towards).sum(), list(problems.inputs(traced).values())
    )
    backward = torch.stack([(g * v).sum() for g, v in zip(gradients, along, strict=True)]).sum()
    assert_close((tangent * towards).sum(), backward, dtype=torch.float64, terms=100)
    assert choose(problem).backend == "cpu"


def test_vmap_over_weights_and_inputs() -> None:
    """An ensemble: each member's own weights, the same x; equal to one member after another."""
    members = [problems.make("gru", seed=seed) for seed in range(4)]
    x, state = members[0].x, members[0].state
    stacked = {n: torch.stack([m.weights[n] for m in members]) for n in members[0].weights}
    reasons: list[str] = []

    def one(weights: dict[str, Tensor]) -> Tensor:
        problem = replace(members[0], weights=weights)
        reasons.append(choose(problem).reason)
        return run(problem)[0]

    found = torch.func.vmap(one)(stacked)
    assert "torch.func transform" in reasons[0]
    for member, output in zip(members, found, strict=True):
        alone, _ = problems.forward(replace(member, x=x, state=state), "cpu")
        assert_close(output, alone, dtype=torch.float64, terms=5)


def test_gradients_of_every_row_by_vmap() -> None:
    problem = problems.make("lstm")

    def loss(weights: dict[str, Tensor], x: Tensor, h: Tensor, c: Tensor) -> Tensor:
        given = replace(problem, x=x[None], state=(h[None], c[None]), weights=weights)
        return run(given)[0].square().sum()

    per_row = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0, 0))(
        problem.weights, problem.x, *problem.state
    )
    traced = problems.leaves(problem)
    output, _ = problems.forward(traced, "cpu")
    whole = torch.autograd.grad(output.square().sum(), list(traced.weights.values()))
    for name, expected in zip(problem.weights, whole, strict=True):
        assert_close(per_row[name].sum(0), expected, dtype=torch.float64, terms=15, what=name)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_modes_without_gradients(mode: Any) -> None:
    problem = problems.leaves(problems.make("gru"))
    with mode():
        output, finals = run(problem)
    assert not output.requires_grad
    assert not finals[0].requires_grad
    expected, _ = problems.forward(problem, "cpu")
    assert expected.requires_grad
    assert torch.equal(output, expected)


@pytest.mark.parametrize("backend", kernels.BACKENDS)
@pytest.mark.parametrize("cell", ["rnn", "lstm", "indrnn"])
@pytest.mark.parametrize("reverse", [False, True])
def test_no_state_is_a_state_of_zeros(cell: str, backend: str, reverse: bool) -> None:
    problem = problems.make(cell, reverse=reverse, dtype=torch.float32)
    problem = problem.to(problems.device_of(backend))
    at_rest = tuple(torch.zeros_like(value) for value in problem.state)
    found = []
    with kernels.use(backend):
        for state in (at_rest, None):
            leaves = [problem.x, *problem.weights.values()]
            leaves = [each.clone().requires_grad_() for each in leaves]
            weights = dict(zip(problem.weights, leaves[1:], strict=True))
            output, finals = kernels.run(
                problem.program, leaves[0], state, weights, reverse=reverse
            )
            loss = output.square().sum() + finals[0].square().sum()
            first = torch.autograd.grad(loss, leaves, create_graph=True)
            norm = sum(each.square().sum() for each in first)
            assert isinstance(norm, torch.Tensor)
            found.append([output, *finals, *first, *torch.autograd.grad(norm, leaves)])
    for zeros, none in zip(*found, strict=True):
        assert torch.equal(zeros, none)


def test_no_state_and_no_weights_are_refused() -> None:
    problem = problems.make("gru")
    with pytest.raises(ShapeError, match="the weights are missing: W_z"):
        kernels.run(problem.program, problem.x, None, {})


def test_tensors_of_inference_mode_are_tensors() -> None:
    with torch.inference_mode():
        problem = problems.make("gru")
        output, _ = run(problem)
    again, _ = run(problem)
    assert torch.equal(output, again)


def test_the_public_list() -> None:
    assert set(kernels.__all__) == {
        "BACKENDS", "Choice", "Program", "Weights", "choose", "compile_cell", "gains_from",
        "hidden_size", "recompute", "run", "stream", "use",
    }  # fmt: skip
    assert compile_cell(cells.get("gru")).states == ("h",)


def test_a_layer_that_is_not_fused_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    kernels.backend._tell.cache_clear()
    problem = of_input_size(problems.make("gru"))
    with kernels.use("reference"):
        run(problem)
    assert not caplog.records
    for _ in range(2):
        run(problem)
        run(problems.make("gru"))
    (record,) = caplog.records
    assert "in torch: the fused CPU kernel cannot run this: " in record.getMessage()


def test_torchs_default_device_is_not_asked() -> None:
    # Of sizes that no other test has, so that nothing is kept for them.
    problem = problems.make("lstm", batch=2, time=3, depth=11, hidden=13)
    with torch.device("meta"):
        assert torch.empty(1).is_meta
        found = problems.solve(problem, "cpu")
    for name, expected in problems.solve(problem, "cpu").items():
        assert torch.equal(found[name], expected), name
