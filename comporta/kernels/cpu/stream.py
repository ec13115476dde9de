"""One layer step by step: weights packed once, states kept, one call of the kernel a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from comporta.kernels.cpu.call import Call, ends
from comporta.kernels.cpu.forward import plan
from comporta.kernels.cpu.memory import fresh
from comporta.kernels.cpu.work import Work
from comporta.kernels.program import Program
from comporta.kernels.weights import Weights


class Stream:
    """A layer in one direction, run one step at a time from where the last one ended.

    Args:
        program: the step.
        x: like the inputs (B, D): their sizes, strides and dtype; the numbers of a row are side
            by side.
        state: the states to begin with, each (B, H).
        weights: the weights, copied now.
        streams: further inputs of every step, each (B, H).

    Attributes:
        output: the output of the last step (B, H), in memory that every step writes over.
    """

    def __init__(
        self,
        program: Program,
        x: Tensor,
        state: Sequence[Tensor],
        weights: Weights,
        streams: Sequence[Tensor] = (),
    ) -> None:
        states = [value.detach().contiguous() for value in state]
        rows, hidden = states[0].shape
        self._x = x.detach()
        held = tuple(stream.unsqueeze(1).contiguous() for stream in streams)
        self._call = call = Call(program, self._x.unsqueeze(1), states, weights, streams=held,
                                 lengths=None, reverse=False, training=False)  # fmt: skip
        made, numbers = plan(call.sizes), call.x.dtype
        # Between steps they keep all digits.
        self._state = tuple(value.to(numbers, copy=True) for value in states)
        self._memory = [fresh((count,), numbers) for count in (made.numbers, made.scratch)]
        stays, scratch = self._memory
        self.output = x.new_empty(rows, hidden)
        # Where kernels compute with other numbers than the caller's and do not read these.
        self._wide: tuple[Tensor, Tensor] | None = None
        output = self.output
        if call.output_dtype != x.dtype:
            output = fresh((rows, hidden), numbers)
            self._wide = call.x.squeeze(1).clone(), output
        sizes = call.sizes
        given = [
            *call.addresses, *ends(sizes, self._state), *ends(sizes, self._state),
            *[tensor.data_ptr() for tensor in (stays, scratch, output)], 0,
            *[tensor.data_ptr() for tensor in sizes.all_steps],
        ]  # fmt: skip
        Work(made.pack, made.names).run(given)
        self._loop = loop = Work([made.loop], made.names).bind(given)
        self._run, self._numbers = loop.run, loop.numbers
        self._input, self._target = loop.slot("x"), loop.slot("output")
        self._parity = loop.slot("parity")
        self._own = output.data_ptr()

    @property
    def state(self) -> tuple[Tensor, ...]:
        """The states after the last step, each (B, H).

        They stand in memory that every step writes over, or are copies in the caller's dtype.
        """
        return tuple([value.to(self._call.dtype) for value in self._state])

    def step(self, x: Tensor) -> Tensor:
        """Run one step.

        Args:
            x: input (B, D), as that of the constructor; not checked.

        Returns:
            The output of this step (B, H), in memory that the next one writes over.
        """
        if self._wide is not None:
            return self._step_widened(x, *self._wide)
        numbers = self._numbers
        numbers[self._input] = x.data_ptr()
        numbers[self._target] = self._own
        numbers[self._parity] ^= 1
        self._run()
        return self.output

    def step_anew(self, x: Tensor) -> Tensor:
        """Run one step; its output (B, H) is a tensor of its own."""
        if self._wide is not None:
            return self._step_widened(x, *self._wide).clone()
        output = torch.empty_like(self.output)
        numbers = self._numbers
        numbers[self._input], numbers[self._target] = x.data_ptr(), output.data_ptr()
        numbers[self._parity] ^= 1
        self._run()
        return output

    def _step_widened(self, x: Tensor, wide_x: Tensor, wide_output: Tensor) -> Tensor:
        self._numbers[self._input] = wide_x.copy_(x).data_ptr()
        self._numbers[self._parity] ^= 1
        self._run()
        return self.output.copy_(wide_output)
