"""The operator that stands for a layer in traced graphs: alone, compiled, exported."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import problems
import pytest
import torch
from problems import Problem
from torch import Tensor, nn
from torch.fx import GraphModule

from comporta.cells import Cell
from comporta.errors import ShapeError
from comporta.kernels import cpu, gpu, operator
from comporta.nn import GRU, LSTM, Recurrent

B, T, D, H = 3, 6, 5, 7
FUSED = {"cpu": cpu, "gpu": gpu}
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "GRU": lambda: GRU(D, H, batch_first=True),
    "LSTM": lambda: LSTM(D, H, num_layers=2, bidirectional=True, proj_size=4),
    "Recurrent": lambda: Recurrent("lstm-mogrifier", D, H, num_layers=2, bidirectional=True),
    "a cell of one's own": lambda: Recurrent(Cell("mine", "h = tanh(W @ x + U.T @ h)"), D, H),
    "forms": lambda: Recurrent("lstm", D, [8, H], layer_norm=True, zoneout=0.2, state_dropout=0.1,
                               weight_drop=0.1, input_dropout=0.1, initial_state="learned"),
    "connections": lambda: Recurrent("mingru", D, [H, H], connections="highway"),
}  # fmt: skip
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
every_cell = pytest.mark.parametrize("cell", problems.CELLS)


def arguments(problem: Problem, *, training: bool = True) -> tuple[Any, ...]:
    """What `operator.layer` takes."""
    program = problem.program
    weights = dict(problem.weights)
    weights |= {name: weights[name.removesuffix(".T")].t() for name, _ in program.turned}
    return (
        program.source, ";".join(weights), problem.x, list(problem.state), list(weights.values()),
        list(problem.streams), problem.lengths, problem.reverse, training,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("backend", "cell"), [(b, cell) for b in FUSED for cell in problems.cells_of(b)]
)
def test_the_operator_is_the_kernel(
    backend: str, cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In every bit, forward and backward; a gradient of U.T is one of its own here."""
    device = problems.device_of(backend)
    monkeypatch.setitem(operator._AT_HOME, device, FUSED[backend])
    problem = problems.make(cell, batch=5, time=4, hidden=9, dtype=torch.float32)
    problem = problems.leaves(problem.to(device))
    expected = problems.solve(problem, backend)
    output, *finals, _ = operator.layer(*arguments(problem))
    loss = sum((v * t).sum() for v, t in zip((output, *finals), problem.towards, strict=True))
    wanted = problems.inputs(problem)
    found = torch.autograd.grad(loss, list(wanted.values()), materialize_grads=True,
                                allow_unused=True)  # fmt: skip
    assert torch.equal(output, expected["output"])
    for name, gradient in zip(wanted, found, strict=True):
        assert torch.equal(gradient, expected[f"d{name}"]), name


def test_a_gradient_that_was_not_foreseen() -> None:
    """As of a graph traced without gradients and run with them."""
    found = []
    for training in (True, False):
        problem = problems.leaves(problems.make("gru", dtype=torch.float32))
        output = operator.layer(*arguments(problem, training=training))[0]
        found.append(torch.autograd.grad(output.square().sum(), problem.x))
    assert torch.equal(*(gradient for (gradient,) in found))


# torch 2.15 says it of what it does itself.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("cell", ["lstm", "antisymmetric", "gru-zoneout"])
@pytest.mark.parametrize("backend", FUSED)
def test_torchs_own_checks_of_operators(
    backend: str, cell: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = problems.device_of(backend)
    monkeypatch.setitem(operator._AT_HOME, device, FUSED[backend])
    problem = problems.make(cell, dtype=dtype).to(device)
    given = list(arguments(problem))
    for place in (3, 4):
        given[place] = [each.detach().clone().requires_grad_() for each in given[place]]
    torch.library.opcheck(operator.layer, tuple(given))
    lengths = torch.tensor([5, 0, 2])
    given[6], given[7] = lengths, True
    torch.library.opcheck(operator.layer, tuple(given))
    source, names, x, state, weights, streams, *_ = given
    kept = operator.layer(*given)[-1].detach()
    d_output, *d_state = problem.towards
    torch.library.opcheck(
        operator.layer_backward,
        (source, names, d_output, list(d_state), x.detach(), [s.detach() for s in state],
         [w.detach() for w in weights], streams, lengths, True, kept),
    )  # fmt: skip


@pytest.mark.parametrize("cell", ["gru", "lstm-peephole"])
def test_the_operator_can_be_differentiated_twice(cell: str) -> None:
    problem = problems.make(cell, batch=2, time=3, depth=2, hidden=3)
    given = arguments(problems.leaves(problem))
    count = len(given[3])

    def run(x: Tensor, *others: Tensor) -> list[Tensor]:
        found = operator.layer(*given[:2], x, others[:count], others[count:], *given[5:])
        return found[:-1]

    tensors = (given[2], *given[3], *given[4])
    assert torch.autograd.gradcheck(run, tensors)
    assert torch.autograd.gradgradcheck(run, tensors)


def test_lengths_are_looked_at_when_the_graph_runs() -> None:
    given = list(arguments(problems.make("gru")))
    for lengths in ([6, 1, 1], [-1, 1, 1]):
        given[6] = torch.tensor(lengths)
        with pytest.raises(ShapeError, match="lengths lie between 0 and T = 5"):
            operator.layer(*given)


def test_what_does_not_fit_is_refused_when_the_graph_runs() -> None:
    problem = problems.make("gru")
    given = list(arguments(problem))
    given[3] = [torch.zeros(3, 7, dtype=torch.float64)]
    with pytest.raises(ShapeError, match="the weight"):
        operator.layer(*given)
    mixed = list(arguments(problem))
    mixed[2] = mixed[2].float()
    with pytest.raises(RuntimeError, match="dtype"):
        operator.layer(*mixed)


def compiled(layer: nn.Module, seen: list[GraphModule], **options: Any) -> Any:
    """The layer through the tracer and through autograd's, run as traced."""
    from torch._dynamo.backends.debugging import aot_eager

    def keep(graph: GraphModule, inputs: list[Tensor]) -> Any:
        seen.append(graph)
        return aot_eager(graph, inputs)

    torch._dynamo.reset()
    return torch.compile(layer, fullgraph=True, backend=keep, **options)


def nodes(graph: GraphModule) -> int:
    return sum("comporta" in str(node.target) for node in graph.graph.nodes)


def runs_of(layer: Any) -> int:
    return int(layer.num_layers) * (1 + layer.bidirectional)


@every_layer
def test_compiled_without_a_break_and_the_same_bits(make: Callable[[], nn.Module]) -> None:
    layer, seen = make(), []
    x = torch.randn(B, T, D)
    found = []
    for run in (layer, compiled(layer, seen)):
        torch.manual_seed(3)
        output = run(x)[0]
        wanted = torch.autograd.grad(output.square().sum(), list(layer.parameters()))
        found.append([output, *wanted])
    # A compiler may draw its random numbers in another order.
    if not layer.training or "zoneout" not in repr(layer):
        assert all(map(torch.equal, *found))
    assert [nodes(graph) for graph in seen] == [runs_of(layer)]
    layer.eval()
    assert torch.equal(layer(x)[0], compiled(layer, seen)(x)[0])


def test_compiled_once_for_all_batches_and_times() -> None:
    layer, seen = Recurrent("gru", D, H), []
    fast = compiled(layer, seen, dynamic=True)
    for batch, time in ((3, 6), (4, 9), (17, 100), (2, 3)):
        x = torch.randn(batch, time, D)
        assert torch.equal(fast(x)[0], layer(x)[0])
    assert len(seen) == 1


def test_compiled_with_lengths_states_and_beginnings() -> None:
    layer, seen = Recurrent("lstm", D, H, bidirectional=True), []
    x, begins, lengths = torch.randn(B, T, D), torch.rand(B, T) < 0.3, torch.tensor([6, 0, 3])
    with torch.no_grad():
        _, state = layer(x)
    fast = compiled(layer, seen)
    output, after = fast(x, state, lengths=lengths, begins=begins)
    expected, expected_after = layer(x, state, lengths=lengths, begins=begins)
    assert torch.equal(output, expected)
    assert all(torch.equal(a.c, b.c) for a, b in zip(after, expected_after, strict=True))
    with pytest.raises(ShapeError, match="lengths lie between"):
        fast(x, state, lengths=torch.tensor([7, 0, 3]), begins=begins)


def test_a_compiled_model_trains() -> None:
    model = nn.Sequential(nn.Linear(2, 8), GRU(8, 16, batch_first=True))
    head = nn.Linear(16, 1)
    fast = compiled(model, [])
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.02)
    losses = []
    for _ in range(60):
        x = torch.randn(16, 10, 2)
        loss = (head(fast(x)[0]) - x[..., :1].cumsum(1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


# torch 2.11 says it of what it has read itself.
@pytest.mark.filterwarnings("ignore:The given buffer is not writable")
@pytest.mark.parametrize("strict", [True, False])
@every_layer
def test_exported_saved_and_loaded(make: Callable[[], nn.Module], strict: bool) -> None:
    layer = make().eval()
    sizes = {0: torch.export.Dim("B", min=1, max=64), 1: torch.export.Dim("T", min=2, max=512)}
    program = torch.export.export(
        layer, (torch.randn(B, T, D),), dynamic_shapes=(sizes,), strict=strict
    )
    assert sum("comporta" in str(node.target) for node in program.graph.nodes) == runs_of(layer)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    x = torch.randn(9, 33, D)
    assert torch.equal(torch.export.load(file).module()(x)[0], layer(x)[0])


def test_an_exported_layer_runs_in_another_process(tmp_path: Path) -> None:
    layer, x = Recurrent("lstm", D, H).eval(), torch.randn(B, T, D)
    torch.export.save(torch.export.export(layer, (x,)), tmp_path / "layer.pt2")
    torch.save({"x": x, "y": layer(x)[0]}, tmp_path / "expected.pt")
    code = (
        "import torch, comporta.nn; e = torch.load('expected.pt');"
        "y, state = torch.export.load('layer.pt2').module()(e['x']);"
        "assert torch.equal(y, e['y']) and state[0].c.shape == (3, 7)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, timeout=200, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_checkpointed_gradients_are_the_same() -> None:
    from torch.utils.checkpoint import checkpoint

    layer, x = Recurrent("gru", D, H, num_layers=2), torch.randn(B, T, D, requires_grad=True)
    found = []
    for run in (layer, lambda x: checkpoint(layer, x, use_reentrant=False)):
        found.append(torch.autograd.grad(run(x)[0].square().sum(), [x, *layer.parameters()]))
    assert all(map(torch.equal, *found))


def test_a_gradient_penalty() -> None:
    """The norm of a gradient, differentiated: a Hessian times a vector, against differences."""
    layer = Recurrent("lstm", D, H, dtype=torch.float64)
    x = torch.randn(B, T, D, dtype=torch.float64, requires_grad=True)
    weight = layer.weights()["U_f"]

    def penalty() -> Tensor:
        (slope,) = torch.autograd.grad(layer(x)[0].square().sum(), x, create_graph=True)
        return slope.square().sum()

    (found,) = torch.autograd.grad(penalty(), weight)
    direction = torch.randn_like(weight)
    ends = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            weight.add_(step * direction)
        ends.append(penalty().detach())
        with torch.no_grad():
            weight.sub_(step * direction)
    expected = (ends[0] - ends[1]) / 2e-5
    torch.testing.assert_close((found * direction).sum(), expected, rtol=1e-6, atol=1e-6)
