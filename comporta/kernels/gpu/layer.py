"""One run of a layer on a GPU: the large products by torch, the steps by a kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from comporta.kernels.checks import hidden_size
from comporta.kernels.fused import Gradients
from comporta.kernels.gpu import engine
from comporta.kernels.gpu.directions import backward_source, forward_source
from comporta.kernels.gpu.loop import Source
from comporta.kernels.gpu.scan import backward_scan, forward_scan
from comporta.kernels.gpu.sections import sections
from comporta.kernels.gradient import differentiate
from comporta.kernels.kept import Window, product_gradients
from comporta.kernels.program import Program
from comporta.kernels.schedule import Group, schedule
from comporta.kernels.weights import Weights


class Call:
    """One run of a layer, from its tensors to what the backward pass will need.

    Attributes:
        room: what the forward pass leaves for the backward one; its parts are
        kept: values of every step, (B, T, sections * H), and
        after: the states after the last one, (states, B, H).
    """

    def __init__(
        self,
        program: Program,
        x: Tensor,
        state: Sequence[Tensor] | None,
        weights: Weights,
        *,
        streams: Sequence[Tensor],
        lengths: Tensor | None,
        reverse: bool,
        training: bool,
    ) -> None:
        self.program, self.x, self.weights, self.state = program, x, weights, state
        self.streams, self.reverse, self.training = streams, reverse, training
        self.batch, self.time, self.depth = x.shape
        self.hidden = hidden_size(program, weights)
        self.room: Tensor | None = None
        self.stored = weights.apart()
        self.starts, self.stops = self._bounds(lengths)
        self.scans = engine.scans(program, self.time)
        self.tiles = engine.scan_tiles(self.hidden) if self.scans else engine.tiles(
            program, self.batch, self.hidden, x.dtype, engine.processors(x.device)
        )  # fmt: skip

    def _bounds(self, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """For each row the first step it takes part in, and the one after its last."""
        first = torch.zeros(self.batch, dtype=torch.int64, device=self.x.device)
        last = first + self.time
        if lengths is None:
            return first, last
        lengths = lengths.to(first)
        return (self.time - lengths, last) if self.reverse else (first, lengths)

    @property
    def batch_major(self) -> bool:
        """Whether the steps of one sequence lie side by side in memory, as they do in x."""
        return self.x.stride(0) >= self.x.stride(1)

    def fresh(self, columns: int) -> Tensor:
        """A new tensor (B, T, columns) in the memory order of x."""
        if self.batch_major:
            return self.x.new_empty(self.batch, self.time, columns)
        return self.x.new_empty(self.time, self.batch, columns).transpose(0, 1)

    @property
    def kept(self) -> Tensor:
        """Values of every step, in the memory order of x."""
        assert self.room is not None
        count = sections(self.program).count * self.hidden
        numbers = self.room[: self.batch * self.time * count]
        if self.batch_major:
            return numbers.view(self.batch, self.time, count)
        return numbers.view(self.time, self.batch, count).transpose(0, 1)

    @property
    def after(self) -> Tensor:
        """The states after the last step."""
        assert self.room is not None
        states = len(self.program.states)
        numbers = self.room[self.room.numel() - states * self.batch * self.hidden :]
        return numbers.view(states, self.batch, self.hidden)

    def flat(self, tensor: Tensor) -> Tensor:
        """A tensor (B, T, ...) as a matrix, a row for each step in the memory order of x."""
        ordered = tensor if self.batch_major else tensor.transpose(0, 1)
        return ordered.reshape(self.batch * self.time, tensor.shape[2])

    def together(self, names: Sequence[str]) -> Tensor:
        """Matrices above one another."""
        return torch.cat([self.stored[name] for name in names])

    def vectors(self) -> dict[str, Tensor]:
        """The parameters that are vectors, a row each."""
        names = self.program.vectors
        return {"vectors": torch.stack([self.stored[n] for n in names])} if names else {}

    def along(self, name: str, tensor: Tensor, *, reverse: bool) -> dict[str, Any]:
        """A buffer (B, T, ...) for a kernel, from the first step that it runs."""
        tensor = tensor if tensor.stride(2) == 1 else tensor.contiguous()
        row, time, _ = tensor.stride()
        return {name: tensor[:, -1] if reverse else tensor,
                f"{name}_row": row, f"{name}_time": -time if reverse else time}  # fmt: skip

    def ends(self, name: str, tensors: Sequence[Tensor | None] | None) -> dict[str, Any]:
        """The states, or their gradients, at one end of time; None is 0."""
        given: dict[str, Any] = {}
        for i, tensor in enumerate(tensors or [None] * len(self.program.states)):
            if tensor is None:
                tensor = self.x.new_zeros(self.hidden).expand(self.batch, self.hidden)
            tensor = tensor if tensor.stride(1) == 1 else tensor.contiguous()
            given[f"{name}{i}"], given[f"{name}{i}_row"] = tensor, tensor.stride(0)
        return given

    def launch(self, source: Source, given: Mapping[str, Any], *, reverse: bool) -> None:
        """Run a kernel."""
        bounds = {"starts": self.starts, "stops": self.stops}
        for i, stream in enumerate(self.streams):
            bounds |= self.along(f"stream{i}", stream, reverse=reverse)
        launch = engine.launch_scan if self.scans else engine.launch
        launch(source, self.tiles, self.x, self.hidden, {**given, **bounds})

    def fresh_states(self) -> tuple[Tensor, ...]:
        """Room for the states at one end of time."""
        return tuple(self.x.new_empty(self.batch, self.hidden) for _ in self.program.states)


def kept_numbers(program: Program, batch: int, time: int, hidden: int, *, training: bool) -> int:
    """How many numbers the forward pass keeps; the sizes may be symbols."""
    if not training:
        return 0
    return batch * hidden * (time * sections(program).count + len(program.states))


def hold(call: Call, kept: Tensor | None) -> Tensor:
    """Have a call keep what it keeps in a tensor."""
    if kept is None:
        numbers = kept_numbers(call.program, call.batch, call.time, call.hidden, training=True)
        kept = call.x.new_empty(numbers)
    call.room = kept
    return kept


def forward(call: Call) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run a layer forward.

    Returns:
        The output (B, T, H) and the states after the last step, each (B, H). What the backward
        pass needs stays in the call.
    """
    program, hidden = call.program, call.hidden
    output, after = call.fresh(hidden), call.fresh_states()
    if call.training and call.room is None:
        hold(call, None)
    if call.batch * call.time == 0:
        state = call.state or [torch.zeros_like(value) for value in after]
        return output, tuple(value.clone() for value in state)
    plan = schedule(program)
    width = len(plan.hoisted.matrices) * hidden
    # Read before anything of a step is kept, so that they need no memory of their own.
    inputs = call.kept[..., :width] if call.training else call.fresh(width)
    if plan.hoisted.matrices:
        torch.mm(call.flat(call.x), call.together(plan.hoisted.matrices).t(), out=call.flat(inputs))
    given = call.vectors()
    given |= {f"weights{i}": call.together(g.matrices) for i, g in enumerate(plan.groups)}
    given |= call.along("inputs", inputs, reverse=call.reverse)
    given |= call.along("output", output, reverse=call.reverse)
    given |= call.ends("before", call.state) | call.ends("after", after)
    if call.training:
        given |= call.along("kept", call.kept, reverse=call.reverse)
    if call.scans:
        source = forward_scan(program, training=call.training)
    else:
        source = forward_source(program, training=call.training, way=call.tiles.way)
    call.launch(source, given, reverse=call.reverse)
    if call.training:
        # Those that leave here may be changed in place.
        torch.stack(after, out=call.after)
    return output, after


def backward(
    call: Call, d_output: Tensor | None, d_state: Sequence[Tensor | None], *, wants_x: bool,
    wants_state: bool,
) -> Gradients:  # fmt: skip
    """Run a layer backward.

    Args:
        call: a training call that was run forward; what it kept is written over.
        d_output: gradient of the output (B, T, H), or None for zero.
        d_state: gradients of the last states, each (B, H), or None for zero.
        wants_x: whether the gradient of x is computed.
        wants_state: whether those of the states before the first step are.
    """
    weights = call.weights.tensors
    d_before = call.fresh_states()
    if call.batch * call.time == 0:
        arrived = [torch.zeros_like(b) if d is None else d.clone()
                   for b, d in zip(d_before, d_state, strict=True)]  # fmt: skip
        return Gradients(torch.zeros_like(call.x), arrived, list(map(torch.zeros_like, weights)))
    if d_output is None:
        d_output = call.x.new_zeros(call.hidden).expand(call.batch, call.time, call.hidden)
    totals = _run_steps(call, call.kept, d_output, d_state, d_before)
    found, d_x = _matrices(call, call.kept, wants_x=wants_x)
    found |= _vectors(call, call.kept, totals)
    return Gradients(d_x, d_before if wants_state else None, _as_stored(call.weights, found))


def _run_steps(
    call: Call, kept: Tensor, d_output: Tensor, d_state: Sequence[Tensor | None],
    d_before: tuple[Tensor, ...],
) -> dict[str, Tensor]:  # fmt: skip
    """The adjoint's steps; the gradients of those vectors that stand nowhere in `kept`."""
    program, back = call.program, not call.reverse
    names = sections(program).totals
    if call.scans:
        source, blocks = backward_scan(program), call.batch * -(-call.time // call.tiles.rows)
    else:
        source = backward_source(program, way=call.tiles.way)
        blocks = -(-call.batch // call.tiles.rows)
    totals = call.x.new_empty(blocks, len(names), call.hidden, dtype=torch.float32)
    groups = differentiate(program).groups
    given = call.vectors() | {"totals": totals}
    given |= {f"weights{i}": call.together(g.matrices) for i, g in enumerate(groups)}
    given |= call.along("kept", kept, reverse=back)
    given |= call.along("d_output", d_output, reverse=back)
    given |= call.ends("d_after", d_state) | call.ends("after", call.after.unbind())
    given |= call.ends("d_before", d_before)
    call.launch(source, given, reverse=back)
    return dict(zip(names, totals.sum(0).unbind(0), strict=True))


def _matrices(
    call: Call, kept: Tensor, *, wants_x: bool
) -> tuple[dict[str, Tensor], Tensor | None]:
    """The gradients of the matrices, and of x."""
    plan, gradients = schedule(call.program), product_gradients(call.program)
    found: dict[str, Tensor] = {}
    groups = zip((plan.hoisted, *plan.groups), (gradients.hoisted, *gradients.groups), strict=True)
    for group, window in groups:
        if not group.matrices:
            continue
        each = _window(call, kept, window).t() @ call.flat(_operand(call, kept, group))
        for name, section in zip(group.matrices, window.sections, strict=True):
            part = each[section * call.hidden : (section + 1) * call.hidden]
            found[name] = found[name] + part if name in found else part
    if not wants_x:
        return found, None
    d_x = call.fresh(call.depth)
    matrices, window = plan.hoisted.matrices, gradients.hoisted
    if not matrices:
        return found, d_x.zero_()
    ordered = [matrices[window.sections.index(i)] for i in range(len(matrices))]
    torch.mm(_window(call, kept, window), call.together(ordered), out=call.flat(d_x))
    return found, d_x


def _window(call: Call, kept: Tensor, window: Window) -> Tensor:
    """The gradients of a group's products, side by side, a row for each step."""
    first, count = window.start * call.hidden, len(window.sections) * call.hidden
    return call.flat(kept)[:, first : first + count]


def _operand(call: Call, kept: Tensor, group: Group) -> Tensor:
    """What the matrices of a group multiply."""
    name = group.operands[0]
    if name == "x":
        return call.x
    first = sections(call.program).of(name) * call.hidden
    return kept[..., first : first + call.hidden]


def _vectors(call: Call, kept: Tensor, totals: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The gradients of the vectors: sums over rows and steps."""
    gradients = product_gradients(call.program)
    first, count = gradients.start * call.hidden, len(gradients.names) * call.hidden
    sums = call.flat(kept)[:, first : first + count].sum(0, dtype=torch.float32)
    known = dict(zip(gradients.names, sums.view(-1, call.hidden), strict=True)) | dict(totals)
    wanted = differentiate(call.program).vectors
    return {name: known[gradient].to(kept.dtype) for name, gradient in wanted.items()}


def _as_stored(weights: Weights, found: Mapping[str, Tensor]) -> list[Tensor]:
    """Gradients of parameters as those of the tensors that hold them."""
    stored = []
    for names, tensor in zip(weights.names, weights.tensors, strict=True):
        shape = tensor.shape[0] // len(names), *tensor.shape[1:]
        parts = [found.get(name) for name in names]
        whole = [tensor.new_zeros(shape) if part is None else part for part in parts]
        # Two may be views of one tensor, and each is somebody's to change.
        stored.append(torch.cat(whole) if len(whole) > 1 else whole[0].clone())
    return stored
