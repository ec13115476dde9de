"""One layer step by step: weights packed once, states kept, one call of the kernel a step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from comporta.kernels.cpu.call import Call, ends
from comporta.kernels.cpu.forward import plan
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
        state: the states after the last step, each (B, H), in memory that every step writes over.
        output: the output of the last step (B, H), likewise.
    """

    def __init__(
        self,
        program: Program,
        x: Tensor,
        state: Sequence[Tensor],
        weights: Weights,
        streams: Sequence[Tensor] = (),
    ) -> None:
        self.state = tuple(value.detach().contiguous().clone() for value in state)
        rows, hidden = self.state[0].shape
        self._x = x.detach()
        held = tuple(stream.unsqueeze(1).contiguous() for stream in streams)
        self._call = Call(program, self._x.unsqueeze(1), self.state, weights, streams=held,
                          lengths=None, reverse=False, training=False)  # fmt: skip
        made = plan(self._call.sizes)
        self._memory = [x.new_empty(made.numbers), x.new_empty(made.scratch)]
        stays, scratch = self._memory
        self.output = output = x.new_empty(rows, hidden)
        self._bounds = x.new_zeros(rows, dtype=torch.int64), x.new_ones(rows, dtype=torch.int64)
        sizes = self._call.sizes
        given = {
            **self._call.given, **ends(sizes, sizes.befores, self.state),
            **ends(sizes, sizes.afters, self.state),
            "kept": stays.data_ptr(), "scratch": scratch.data_ptr(), "output": output.data_ptr(),
            "starts": self._bounds[0].data_ptr(), "stops": self._bounds[1].data_ptr(), "parity": 0,
        }  # fmt: skip
        Work([made.pack]).run(given)
        self._loop = loop = Work([made.loop]).bind(given)
        self._run, self._numbers = loop.run, loop.numbers
        self._input, self._target = loop.slot("x"), loop.slot("output")
        self._parity = loop.slot("parity")
        self._own = output.data_ptr()

    def step(self, x: Tensor) -> Tensor:
        """Run one step.

        Args:
            x: input (B, D), as that of the constructor; not checked.

        Returns:
            The output of this step (B, H), in memory that the next one writes over.
        """
        numbers = self._numbers
        numbers[self._input] = x.data_ptr()
        numbers[self._target] = self._own
        numbers[self._parity] ^= 1
        self._run()
        return self.output

    def step_anew(self, x: Tensor) -> Tensor:
        """Run one step; its output (B, H) is a tensor of its own."""
        output = torch.empty_like(self.output)
        numbers = self._numbers
        numbers[self._input], numbers[self._target] = x.data_ptr(), output.data_ptr()
        numbers[self._parity] ^= 1
        self._run()
        return output
