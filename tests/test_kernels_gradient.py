"""Gradients of the fused backend: any cell, any use of the graph, any number of times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import problems
import pytest
import torch
from comparator import assert_close
from hypothesis import given, settings
from problems import Problem
from random_cells import random_cells
from torch import Tensor

from comporta import cells
from comporta.cells import Cell
from comporta.kernels import compile_cell
from comporta.kernels.gradient import differentiate, from_next
from comporta.kernels.program import previous

CELLS = cells.names()
# Every phase structure: products after products, states that are products, states that read each
# other before and after their line, one matrix in several places, constants, kinks.
CORNERS = {
    "product-of-product": ("h = tanh(W @ x + U @ (V @ h))", "h"),
    "three-phases": ("a = U @ h\nb = V @ (a * h)\nh = R @ tanh(b + W @ x)", "h"),
    "state-is-an-input-product": ("h = W @ x", "h"),
    "state-is-a-product": ("y = W @ x + h\nh = U @ tanh(y)", "h"),
    "products-both": ("h = W @ x\nc = c + U @ h", "h c"),
    "product-of-a-copied-state": ("c = h\nh = tanh(W @ x + U @ h + V @ c)", "h c"),
    "product-of-a-new-state": ("c = W @ x + k * c\nh = tanh(U @ c) + V @ h", "c h"),
    "completed-by-a-product": ("c = tanh(W @ x + c)\nn = U @ (k * c)\nh = h + sin(n)", "h c"),
    "states-swapped": ("d = h\nh = tanh(c + W @ x)\nc = U @ d", "h c"),
    "one-matrix-twice": ("h = tanh(W @ x + U @ (k * h) + U @ sigmoid(h) + W @ x)", "h"),
    "one-matrix-on-two-states": ("h = tanh(W @ x + U @ h)\nc = U @ c + U @ h", "h c"),
    "condition-in-two-blocks": (
        "a = where(h > 0, h, 0.5 * h)\nn = U @ a\nh = where(h > 0, tanh(n + W @ x), n)", "h",
    ),
    "product-of-parameters": ("a = sigmoid(k)\nh = tanh(W @ x + U @ h + V @ a)", "h"),
    "product-of-a-number": ("a = 0.5\nh = tanh(W @ x + U @ h + V @ a)", "h"),
    "no-vectors": ("h = tanh(W @ x + U @ h)", "h"),
    "vector-used-twice": ("h = k * h + tanh(W @ x + k)", "h"),
    "vectors-in-functions": ("a = exp(-abs(k))\nh = a * h + where(l > 0, l, 0.1) * (W @ x)", "h"),
    "state-is-forgotten": ("h = tanh(W @ x + b)", "h"),
    "output-is-no-state": ("c = tanh(W @ x + U @ c)\ny = relu(V @ c)", "c"),
    "ties": ("h = max(h, h) + min(W @ x, W @ x) + relu(h - h) + abs(0 * h)", "h"),
    "clip": ("h = clip(W @ x + U @ h, -0.2, 0.3) + clip(k, 0, h)", "h"),
    "powers": ("a = (1 + h ** 2) ** -1\nh = a ** 3 + tanh(W @ x) ** 4 + (2 + sin(h)) ** 0.5", "h"),
    "input-in-a-condition": (
        "d = where(R @ x <= 0.1, h, c + c)\nh = tanh(d + W @ x)\nc = tanh(c + W @ x)", "h c",
    ),
    "product-in-a-condition": ("h = where(U @ h > W @ x, tanh(h), 0.5 * h)", "h"),
}  # fmt: skip


def corner(name: str) -> Cell:
    text, state = CORNERS[name]
    return Cell(name, text, state=state, output="y" if "y =" in text else None)


def check_both(cell: Cell, **options: Any) -> None:
    for dtype in (torch.float32, torch.float64):
        problem = problems.make(cell, batch=5, time=3, depth=3, hidden=9, dtype=dtype)
        problems.compare(replace(problem, **options), "cpu")


@pytest.mark.parametrize("name", CORNERS)
def test_corners(name: str) -> None:
    cell = corner(name)
    check_both(cell)
    check_both(cell, lengths=torch.tensor([3, 0, 2, 1, 3]), reverse=True)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(random_cells())
def test_any_cell(cell: Cell) -> None:
    check_rounding(problems.make(cell, batch=5, time=3, depth=3, hidden=9))
    rows = torch.tensor([3, 0, 2, 1, 3])
    check_rounding(problems.make(cell, batch=5, time=3, depth=3, hidden=9, lengths=rows))


def check_rounding(problem: Problem) -> None:
    """The fused backend in both dtypes, against float64.

    How much rounding a random expression gathers is not known beforehand, but the reference in the
    same dtype gathers as much: the error may be 8 times its error, or what the comparator allows.
    """
    for dtype in (torch.float32, torch.float64):
        rounded = problem.to(dtype)
        truth = problems.solve(rounded.to(torch.float64), "reference")
        plain, answer = (problems.solve(rounded, backend) for backend in ("reference", "cpu"))
        for name, expected in truth.items():
            error = (plain[name].double() - expected).abs().max().item()
            allowed = 8 * error / torch.finfo(dtype).eps / expected.abs().max().clamp_min(1e-300)
            terms = max(15, int((float(allowed) / 8) ** 2) + 1)
            assert_close(answer[name], expected, dtype=dtype, terms=terms, what=name)


def differentiable(problem: Problem) -> tuple[Callable[..., tuple[Tensor, ...]], list[Tensor]]:
    """The fused backend as a function of a list of tensors, for torch's own checks."""
    problem = problems.leaves(problem)
    tensors = list(problems.inputs(problem).values())
    count = 1 + len(problem.state)

    def function(x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        weights = dict(zip(problem.weights, others[count - 1 :], strict=True))
        given = replace(problem, x=x, state=others[: count - 1], weights=weights)
        output, finals = problems.forward(given, "cpu")
        return output, *finals

    return function, tensors


@pytest.mark.parametrize("rows", [None, [2, 0, 1]], ids=["whole", "lengths"])
@pytest.mark.parametrize("name", CELLS)
def test_finite_differences(name: str, rows: list[int] | None) -> None:
    problem = problems.make(name, batch=3, time=2, depth=2, hidden=2)
    problem = replace(problem, lengths=None if rows is None else torch.tensor(rows))
    torch.autograd.gradcheck(*differentiable(problem))


@pytest.mark.parametrize("name", CELLS)
def test_finite_differences_of_gradients(name: str) -> None:
    problem = problems.make(name, batch=2, time=2, depth=1, hidden=2, reverse=True)
    torch.autograd.gradgradcheck(*differentiable(problem))


def gradients(loss: Tensor, problem: Problem, **options: Any) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(problems.inputs(problem).values()), **options))


def assert_all_equal(found: list[Tensor], expected: list[Tensor]) -> None:
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def assert_all_close(found: list[Tensor], expected: list[Tensor], problem: Problem) -> None:
    terms = problem.x.shape[0] * problems.terms_of(problem)
    for a, b, name in zip(found, expected, problems.inputs(problem), strict=True):
        assert_close(a.detach(), b.detach(), dtype=torch.float64, terms=terms, what=f"d{name}")


@pytest.mark.parametrize("name", CELLS)
def test_a_second_backward_gives_the_same(name: str) -> None:
    """Backward writes over what forward kept, so the second one has to make it again."""
    problem = problems.leaves(problems.make(name, lengths=torch.tensor([5, 2, 4])))
    output, finals = problems.forward(problem, "cpu")
    loss = output.square().sum() + sum(value.sum() for value in finals)
    first = gradients(loss, problem, retain_graph=True)
    assert_all_equal(gradients(loss, problem, retain_graph=True), first)
    assert_all_equal(gradients(loss, problem), first)
    with pytest.raises(RuntimeError, match="second time"):
        gradients(loss, problem)


@pytest.mark.parametrize("name", CELLS)
def test_create_graph_gives_the_same(name: str) -> None:
    """The gradients that can be differentiated again come from the reference."""
    problem = problems.leaves(problems.make(name))
    output, finals = problems.forward(problem, "cpu")
    loss = output.square().sum() + sum(value.sum() for value in finals)
    plain = gradients(loss, problem, retain_graph=True)
    graph = gradients(loss, problem, create_graph=True)
    assert all(gradient.requires_grad for gradient in graph)
    assert_all_close(graph, plain, problem)
    assert_all_equal(gradients(loss, problem), plain)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("name", ["gru", "lstm"])
def test_chunks_whose_states_depend_on_the_weights(name: str, create_graph: bool) -> None:
    """A state may come from the same weights and the same x: each path counts once."""

    def total(problem: Problem, backend: str) -> Tensor:
        state = tuple(torch.tanh(value + problem.x[:, 0, :1]) for value in problem.state)
        loss = problem.x.new_zeros(())
        for part in problem.x.split(2, dim=1):
            given = replace(problem, x=part, state=state)
            output, state = problems.forward(given, backend)
            loss = loss + output.square().sum()
        return loss

    problem = problems.leaves(problems.make(name))
    expected = gradients(total(problem, "reference"), problem)
    found = gradients(total(problem, "cpu"), problem, create_graph=create_graph)
    assert_all_close(found, expected, problem)


@pytest.mark.parametrize("name", ["gru-reset-before", "lstm-peephole", "mingru"])
def test_a_penalty_on_gradients(name: str) -> None:
    """What double backward is for: the gradient of the norm of a gradient."""

    def penalty(problem: Problem, backend: str) -> Tensor:
        output, _ = problems.forward(problem, backend)
        (slope,) = torch.autograd.grad(output.sum(), problem.x, create_graph=True)
        return slope.square().sum()

    problem = problems.leaves(problems.make(name))
    expected = gradients(penalty(problem, "reference"), problem, allow_unused=True)
    found = gradients(penalty(problem, "cpu"), problem, allow_unused=True)
    used = [i for i, gradient in enumerate(expected) if gradient is not None]
    assert len(used) >= len(expected) - 2
    for i in used:
        assert_close(found[i], expected[i], dtype=torch.float64, terms=50)


@pytest.mark.parametrize("name", CELLS)
def test_any_one_tensor_may_want_a_gradient(name: str) -> None:
    """Whatever wants one gets the one it gets in company; nothing else gets any."""
    whole = problems.make(name)
    expected = problems.solve(whole, "cpu")
    for wanted in problems.inputs(whole):
        given = {
            key: value.detach().clone().requires_grad_(key == wanted)
            for key, value in problems.inputs(whole).items()
        }
        states = tuple(given[f"{state}0"] for state in whole.program.states)
        weights = {key: given[key] for key in whole.weights}
        problem = replace(whole, x=given["x"], state=states, weights=weights)
        output, finals = problems.forward(problem, "cpu")
        pairs = zip((output, *finals), whole.towards, strict=True)
        sum((value * towards).sum() for value, towards in pairs).backward()
        assert torch.equal(given[wanted].grad, expected[f"d{wanted}"]), wanted
        assert all(value.grad is None for key, value in given.items() if key != wanted)


USES: dict[str, Callable[[Tensor, tuple[Tensor, ...]], Tensor]] = {
    "output": lambda output, finals: output,
    "finals": lambda output, finals: torch.cat(finals),
    "one step": lambda output, finals: output[1, 2],
    "one final state": lambda output, finals: finals[-1][0],
}


@pytest.mark.parametrize("used", USES)
@pytest.mark.parametrize("name", CELLS)
def test_parts_of_the_result_may_be_used(name: str, used: str) -> None:
    found, expected = [], []
    for backend, results in (("cpu", found), ("reference", expected)):
        problem = problems.leaves(problems.make(name))
        output, finals = problems.forward(problem, backend)
        loss = USES[used](output, finals).square().sum()
        results += gradients(loss, problem, allow_unused=True, materialize_grads=True)
    assert_all_close(found, expected, problem)


@pytest.mark.parametrize("name", CELLS)
def test_gradients_of_any_layout_may_arrive(name: str) -> None:
    """Expanded, transposed, with gaps: the numbers count and not where they stand."""
    problem = problems.leaves(problems.make(name, hidden=16))
    output, finals = problems.forward(problem, "cpu")

    def pull(*towards: Tensor) -> list[Tensor]:
        return gradients((output, *finals), problem, grad_outputs=towards, retain_graph=True)

    ones = [torch.ones_like(value) for value in (output, *finals)]
    plain = pull(*ones)
    assert_all_equal(pull(*(one.new_ones(()).expand_as(one) for one in ones)), plain)
    assert_all_equal(gradients(output.sum() + sum(v.sum() for v in finals), problem,
                               retain_graph=True), plain)  # fmt: skip
    assert_all_equal(pull(*(one.transpose(0, -1).contiguous().transpose(0, -1) for one in ones)),
                     plain)  # fmt: skip
    rows = problem.towards[0][:, :1].expand_as(output)
    rest = [torch.zeros_like(value) for value in finals]
    assert_all_equal(pull(rows, *rest), pull(rows.contiguous(), *rest))
    gaps = torch.stack([problem.towards[0], torch.full_like(output, torch.nan)], dim=-1)[..., 0]
    assert_all_equal(pull(gaps, *rest), pull(problem.towards[0], *rest))


def test_what_was_changed_in_between_is_noticed() -> None:
    problem = problems.leaves(problems.make("gru"))
    output, _ = problems.forward(problem, "cpu")
    with torch.no_grad():
        problem.weights["U_n"].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_the_result_may_be_changed_by_its_owner() -> None:
    """Outputs and states are the caller's: writing into them disturbs no gradient."""
    expected = problems.solve(problems.make("lstm"), "cpu")
    problem = problems.leaves(problems.make("lstm"))
    output, finals = problems.forward(problem, "cpu")
    loss = (output * problem.towards[0]).sum()
    loss = loss + sum((v * t).sum() for v, t in zip(finals, problem.towards[1:], strict=True))
    with torch.no_grad():
        for value in (output, *finals):
            value.fill_(torch.nan)
    found = dict(zip(problems.inputs(problem), gradients(loss, problem), strict=True))
    problems.assert_same_bits({f"d{name}": value for name, value in found.items()},
                              {n: v for n, v in expected.items() if n[0] == "d"})  # fmt: skip


@pytest.mark.parametrize("name", CELLS)
def test_runs_of_one_layer_do_not_disturb_each_other(name: str) -> None:
    """Two graphs at a time, walked in either order: buffers are used again, but not too soon."""
    first, second = (problems.leaves(problems.make(name, seed=seed)) for seed in (1, 2))
    expected = [gradients(problems.forward(p, "cpu")[0].sum(), p) for p in (first, second)]
    a, b = (problems.forward(p, "cpu")[0] for p in (first, second))
    kept = a.detach().clone()
    assert_all_equal(gradients(a.sum(), first), expected[0])
    assert_all_equal(gradients(b.sum(), second), expected[1])
    assert torch.equal(a, kept)


def test_nan_and_infinity_reach_their_row_and_the_weights() -> None:
    """Exploding values are found by the NaN they leave; other rows stay clean."""
    for name in CELLS:
        problem = problems.make(name, batch=3, time=4)
        for value in (torch.nan, torch.inf):
            x = problem.x.clone()
            x[1, 2, 0] = value
            answer = problems.solve(replace(problem, x=x), "cpu")
            truth = problems.solve(replace(problem, x=x), "reference")
            for key, expected in truth.items():
                assert torch.equal(answer[key].isnan(), expected.isnan()), (name, key)
            assert answer["output"][0].isfinite().all()
            assert answer["output"][1, :2].isfinite().all()


@pytest.mark.parametrize("count", [25, 800])
def test_the_adjoint_of_a_long_chain_takes_no_longer_than_its_lines(count: int) -> None:
    """Each of these lines would double the work of a naive walk."""
    lines = [f"a{i + 1} = a{i} * a{i}" for i in range(count)]
    cell = Cell("chain", "\n".join(["a0 = W @ x + h", *lines, f"h = a{count}"]))
    adjoint = differentiate(compile_cell(cell))
    assert sum(len(phase.statements) for phase in adjoint.phases) < 10 * count


@settings(max_examples=200, deadline=None, derandomize=True)
@given(random_cells())
def test_every_name_of_an_adjoint_is_given_once(cell: Cell) -> None:
    program = compile_cell(cell)
    adjoint = differentiate(program)
    given_names = [s.name for phase in adjoint.phases for s in phase.block]
    given_names += [result for group in adjoint.groups for result in group.results]
    assert len(set(given_names)) == len(given_names)
    known = {s.name for s in program.statements} | {"∂y", *program.vectors}
    known |= {name for state in program.states for name in (
        previous(state), from_next(state), from_next(state, product=True)
    )}  # fmt: skip
    for phase in adjoint.phases:
        assert known.union(given_names).issuperset(o for s in phase.block for o in s.operands)
