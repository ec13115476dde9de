"""What gates are for: rnn, gru and lstm of about the same size on problems of long memory.

Each problem makes its sequences by itself, new ones for every step. A model is one recurrent layer
and one linear layer, trained by the one loop of the package; the best by validation is measured
once on sequences of their own. benchmarks/tasks/adding.py, copying.py and agreement.py run them.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from benchmarks import agreement
from comporta.nn import Recurrent, spread_memory
from comporta.training import Measure, Progress, Run, RunFolder, Task, TrainingOptions
from comporta.training.task import Carried, StepLoss

HIDDEN = {"rnn": 128, "gru": 74, "lstm": 64}
"""Sizes that give each about the same number of weights: H H, 3 H H and 4 H H from step to step."""

BATCH, VALIDATION, TEST = 32, 256, 1000
_VALIDATION_SEED, _TEST_SEED = 2**40, 2**41

STARTS = (*((cell, False) for cell in HIDDEN), ("gru", True), ("lstm", True))
"""Each cell as torch begins it; gates also as chrono initialization does (see `Reader`)."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Sequences and what is asked of them.

    Args:
        x: (B, T, D).
        targets: numbers (B,), or classes (B, T) int64.
    """

    x: Tensor
    targets: Tensor


class Problem(Protocol):
    """Sequences without end, and how an answer is judged."""

    inputs: int
    outputs: int
    memory: int
    """The longest time that something has to be remembered, in steps."""

    def draw(self, seed: int, count: int) -> Examples:
        """So many examples, always the same for a seed."""

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """The mean loss of outputs (B, T, O)."""


@dataclass(frozen=True)
class Adding:
    """The sum of two marked numbers among T: mean squared error; 1/6 for always answering 1.

    Source: Hochreiter & Schmidhuber 1997, "Long short-term memory", in the form of Le et al. 2015,
    arXiv:1504.00941: one mark in each half.
    """

    memory: int = 200
    inputs: int = 2
    outputs: int = 1

    def draw(self, seed: int, count: int) -> Examples:
        """Numbers in [0, 1], two of them marked."""
        generator = torch.Generator().manual_seed(seed)
        numbers = torch.rand(count, self.memory, generator=generator)
        half = self.memory // 2
        marks = torch.zeros(count, self.memory)
        for begin in (0, half):
            places = begin + torch.randint(half, (count, 1), generator=generator)
            marks.scatter_(1, places, 1.0)
        return Examples(x=torch.stack([numbers, marks], -1), targets=(numbers * marks).sum(1))

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """The mean squared error of the last output."""
        return nn.functional.mse_loss(outputs[:, -1, 0], examples.targets)


@dataclass(frozen=True)
class Copying:
    """Ten symbols of eight, a delay of T, then a sign to repeat them: cross-entropy of every step.

    Without memory the best is 10 ln 8 / (T + 20). Source: Arjovsky et al. 2016, arXiv:1511.06464.
    """

    memory: int = 500
    inputs: int = 10
    outputs: int = 9
    length: int = 10

    @property
    def baseline(self) -> float:
        """The loss without memory."""
        return self.length * math.log(8) / (self.memory + 2 * self.length)

    def draw(self, seed: int, count: int) -> Examples:
        """Symbols 0 to 7, blanks 8, the sign 9."""
        generator = torch.Generator().manual_seed(seed)
        symbols = torch.randint(8, (count, self.length), generator=generator)
        time = self.memory + 2 * self.length
        tokens, targets = torch.full((count, time), 8), torch.full((count, time), 8)
        tokens[:, : self.length] = symbols
        tokens[:, -self.length - 1] = 9
        targets[:, -self.length :] = symbols
        return Examples(x=nn.functional.one_hot(tokens, 10).float(), targets=targets)

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """The mean cross-entropy of all steps."""
        return nn.functional.cross_entropy(outputs.flatten(0, 1), examples.targets.flatten())

    def recall(self, outputs: Tensor, examples: Examples) -> float:
        """The share of the symbols that are repeated right; by chance 1/8."""
        asked = slice(-self.length, None)
        right = outputs[:, asked, :8].argmax(-1) == examples.targets[:, asked]
        return float(right.float().mean())


@dataclass(frozen=True)
class Agreement:
    """A language model of sentences whose last verb agrees with a subject N words back.

    See agreement.py.

    Args:
        memory: N.
    """

    memory: int = 50
    inputs: int = len(agreement.WORDS)
    outputs: int = len(agreement.WORDS)

    def draw(self, seed: int, count: int) -> Examples:
        """Sentences up to the verb; the target of a word is the next one."""
        draw = random.Random(seed)
        number = {word: index for index, word in enumerate(agreement.WORDS)}
        sentences = (agreement.sentence(draw, self.memory) for _ in range(count))
        rows = torch.tensor(
            [[number[word] for word in (*words, verb)] for words, verb in sentences]
        )
        before = nn.functional.one_hot(rows[:, :-1], self.inputs).float()
        return Examples(x=before, targets=rows[:, 1:])

    def loss(self, outputs: Tensor, examples: Examples) -> Tensor:
        """The mean cross-entropy of all words."""
        return nn.functional.cross_entropy(outputs.flatten(0, 1), examples.targets.flatten())

    def accuracy(self, outputs: Tensor, examples: Examples) -> float:
        """The share of the sentences whose verb is more probable in the right form."""
        forms = torch.tensor([agreement.WORDS.index(verb) for verb in agreement.VERBS])
        found = forms[outputs[:, -1, forms].argmax(-1)]
        return float((found == examples.targets[:, -1]).float().mean())


class Reader(nn.Module):
    """One recurrent layer and a linear one.

    Args:
        problem: what it is for.
        cell: rnn, gru or lstm.
        chrono: begin with gates that forget after 1 to T steps (`comporta.nn.spread_memory`).
    """

    def __init__(self, problem: Problem, cell: str, *, chrono: bool = False) -> None:
        super().__init__()
        self.recurrent = Recurrent(cell, problem.inputs, HIDDEN[cell])
        self.output = nn.Linear(HIDDEN[cell], problem.outputs)
        if chrono:
            spread_memory(self.recurrent, problem.memory)

    def forward(self, examples: Examples) -> Tensor:
        """(B, T, O)."""
        output: Tensor = self.output(self.recurrent(examples.x)[0])
        return output


@dataclass
class ProblemTask:
    """A problem as the training loop sees it.

    Args:
        problem: what is learned.
        cell: rnn, gru or lstm.
        chrono: as of `Reader`.
    """

    problem: Problem
    cell: str
    chrono: bool = False
    unit: str = "sequences"
    steps_per_epoch: int = 1

    def build(self) -> Reader:
        """A new model."""
        return Reader(self.problem, self.cell, chrono=self.chrono)

    def loss(self, model: nn.Module, step: int, carried: Carried) -> StepLoss:
        """The loss of sequences that no other step sees."""
        examples = self.problem.draw(step, BATCH)
        return StepLoss(mean=self.problem.loss(model(examples), examples), count=BATCH)

    def blank_state(self, model: nn.Module) -> Carried:
        """None: every step begins anew."""
        return None

    def validate(self, model: nn.Module) -> Measure:
        """The loss of sequences that are always the same."""
        examples = self.problem.draw(_VALIDATION_SEED, VALIDATION)
        loss = float(self.problem.loss(model(examples), examples))
        return Measure(loss=loss, summary=f"{self.cell} {loss:.5f}")

    def describe(self, loss: float) -> dict[str, str]:
        """The loss says it."""
        return {}


@dataclass
class Curve:
    """Keeps the validations of a run, and prints them.

    Args:
        losses: (step, loss) of each.
    """

    losses: list[tuple[int, float]] = field(default_factory=list)

    def began(self, progress: Progress, task: Task) -> None:
        """Nothing yet."""

    def stepped(self, progress: Progress, loss: float, count: int) -> None:
        """Too many to keep."""

    def validated(self, progress: Progress, measure: Measure) -> None:
        """Keep it."""
        self.losses.append((progress.step, measure.loss))
        print(f"step {progress.step}: {measure.summary}", flush=True)


def label(cell: str, chrono: bool) -> str:
    """What a cell is called in tables.

    >>> label("gru", True)
    'gru chrono'
    """
    return f"{cell} chrono" if chrono else cell


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model after training.

    Args:
        model: at its best validation.
        parameters: numbers that it learns.
        seconds: of training.
        curve: (step, loss) of each validation.
    """

    model: Reader
    parameters: int
    seconds: float
    curve: list[tuple[int, float]]

    def outputs(self, problem: Problem) -> tuple[Tensor, Examples]:
        """What it answers to the test examples of a problem, and they."""
        examples = problem.draw(_TEST_SEED, TEST)
        with torch.no_grad():
            return self.model(examples), examples

    def figures(self, **measured: Any) -> dict[str, Any]:
        """What was measured, with what any run has to tell."""
        told = {"parameters": self.parameters, "seconds": self.seconds, "curve": self.curve}
        return measured | told


def train(
    problem: Problem, cell: str, *, steps: int, lr: float, chrono: bool = False, seed: int = 0
) -> Trained:
    """Train one cell on one problem; the sequences are the same for every cell and seed."""
    task, curve = ProblemTask(problem, cell, chrono), Curve()
    options = TrainingOptions(
        steps=steps, lr=lr, weight_decay=0.0, validate_every=steps // 25, seed=seed
    )
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        folder = RunFolder(home)
        folder.begin({}, texts={})
        Run(task, options, folder).train(curve)
        model = task.build()
        model.load_state_dict(folder.best_weights())
    return Trained(
        model=model.eval(),
        parameters=sum(weight.numel() for weight in model.parameters()),
        seconds=time.monotonic() - began,
        curve=curve.losses,
    )
