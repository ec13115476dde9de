"""Language models of one book-sized text: characters, words, and the speed beside torch.nn.GRU.

    python benchmarks/shakespeare.py --data FILE [characters] [words] [engines] [--minutes 15]

The figures in benchmarks/results are of tiny Shakespeare (1.1 MB); any text of that size serves.
Training is `comporta train language-model` with the recipes below; the last tenth of the text is
held out, and chooses the best checkpoint. The n-gram reads the same tokens of the same vocabulary,
in the same split.

characters  one GRU layer of 256; when it first reaches 1.60 nats a character
words       the 5000 most frequent words, other words as <unk>; perplexity beside a 5-gram's
engines     the first steps of `characters` with this package's GRU and with torch.nn.GRU: same
            weights, same batches; the losses must agree; the runs alternate, medians are
            compared; for two lengths of the window
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from machine import RESULTS, machine
from ngram import KneserNey
from rich.console import Console
from rich.rule import Rule
from torch import Tensor, nn

from comporta.cli.progress import reporter
from comporta.data import Vocabulary, read_text, split
from comporta.models import LanguageModel
from comporta.nn import GRU, Recurrent, State
from comporta.tasks.language_model import KIND, LanguageModelTask
from comporta.tasks.trained_language_model import text_figures
from comporta.training import Measure, Progress, Reporter, Run, RunFolder, Task

PAGE = RESULTS / "shakespeare.md"
ORDER = 5
GOAL = 1.60
"""Nats a character whose time is told."""

RECIPES: dict[str, dict[str, object]] = {
    "characters": {
        "level": "char",
        "hidden": 256,
        "embedding": 64,
        "dropout": 0.2,
        "batch_size": 32,
        "window": 100,
        "lr": 0.005,
    },
    # A quarter of a million words are few: what is learned by heart must be kept small.
    "words": {
        "level": "word",
        "vocab_size": 5000,
        "hidden": 256,
        "embedding": 256,
        "tied": True,
        "dropout": 0.5,
        "weight_decay": 0.1,
        "batch_size": 16,
        "window": 35,
        "patience": 3,
    },
}
STEPS, WARM, ROUNDS = 25, 5, 6
WINDOWS = (100, 50)
"""The window of the recipe, and a shorter one: the ratio depends on it."""

AGREEMENT = 1e-5


@dataclass
class Watch:
    """Passes on how training goes, and keeps when it was where.

    Args:
        shown: who shows it.
        validations: (seconds, nats a token) of each.
    """

    shown: Reporter
    validations: list[tuple[float, float]] = field(default_factory=list)

    def began(self, progress: Progress, task: Task) -> None:
        """Pass it on."""
        self.shown.began(progress, task)

    def stepped(self, progress: Progress, loss: float, count: int) -> None:
        """Pass it on."""
        self.shown.stepped(progress, loss, count)

    def validated(self, progress: Progress, measure: Measure) -> None:
        """Keep it and pass it on."""
        self.validations.append((progress.seconds, measure.loss))
        self.shown.validated(progress, measure)

    def reached(self, nats: float) -> str:
        """When a validation was first this good, in words."""
        when = [seconds for seconds, value in self.validations if value <= nats]
        return f"after {when[0]:.0f} s" if when else "not"


def train(part: str, data: Path, minutes: float) -> list[str]:
    """Train a recipe, measure it and the n-gram on the text held out; lines of Markdown."""
    folder = RunFolder(Path("runs") / f"shakespeare-{part}")
    settings = RECIPES[part] | {"files": (str(data.resolve()),), "minutes": minutes}
    with reporter() as shown:
        watch = Watch(shown)
        progress = KIND.start(settings, folder, watch, overwrite=True)
    if not progress.finished:
        sys.exit("stopped; no figures")
    # Both models read the held-out text once, from its beginning to its end.
    train_text, held_out = split(read_text(data))
    model = KIND.load(folder)
    measure = model.evaluate(held_out)
    ngram = measure_ngram(model.vocabulary, train_text, held_out)
    lines = [
        "| model | nats a token | perplexity | bits a character |",
        "|---|---|---|---|",
        row(
            f"GRU, best of {len(watch.validations)} validations (step {progress.best_step})",
            measure,
        ),
        row(f"{ORDER}-gram, modified Kneser-Ney", ngram),
        "",
        f"{progress.step} steps in {progress.seconds:.0f} s, validation included; "
        f"{len(model.vocabulary)} tokens in the vocabulary, {measure['tokens']} held out.",
    ]
    if part == "characters":
        lines.append(f"Validation at most {GOAL:.2f} nats a character: {watch.reached(GOAL)}.")
    return lines


def measure_ngram(vocabulary: Vocabulary, train_text: str, held_out: str) -> dict[str, float]:
    """The n-gram model on the same tokens."""
    ngram = KneserNey(
        vocabulary.encode(train_text).ids.numpy(), vocabulary=len(vocabulary), order=ORDER
    )
    tokens = vocabulary.encode(held_out).ids.numpy()
    return text_figures(nats=ngram.nats(tokens), tokens=len(tokens), characters=len(held_out))


def row(name: str, measure: dict[str, float]) -> str:
    """A measure as a row of the table."""
    values = (measure[key] for key in ("nats_per_token", "perplexity", "bits_per_character"))
    return f"| {name} | " + " | ".join(f"{value:.4f}" for value in values) + " |"


class TorchGRU(nn.Module):
    """torch.nn.GRU in the place of a `Recurrent` of the cell "gru", with its weights.

    Args:
        layer: whose weights to take; one layer, one direction.
    """

    def __init__(self, layer: Recurrent) -> None:
        super().__init__()
        self.gru = nn.GRU(layer.input_size, layer.hidden_size, batch_first=True)
        packed = GRU(layer.input_size, layer.hidden_size)
        with torch.no_grad():
            for name, weight in layer.weights().items():
                packed.weights()[name].copy_(weight)
        self.gru.load_state_dict(packed.state_dict())

    def forward(self, x: Tensor, state: Sequence[State] | None) -> tuple[Tensor, tuple[State, ...]]:
        """As `Recurrent.forward`."""
        output, h = self.gru(x, None if state is None else state[0][0].unsqueeze(0))
        # torch's output lies time-major in memory, and dropout draws its mask in that order. The
        # output layer would make this copy if it were not made here.
        return output.contiguous(), ((h.squeeze(0),),)


class TorchTask(LanguageModelTask):
    """The same task with torch's layer in the same model, with the same first weights."""

    def build(self) -> LanguageModel:
        """A new model."""
        model = super().build()
        # What torch's layer draws for its own first weights must not change the dropout to come.
        with torch.random.fork_rng():
            model.recurrent = TorchGRU(model.recurrent)  # type: ignore[assignment]
        return model


class Clock:
    """Keeps the loss of every step, and how long it took from the end of the step before."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self._last = 0.0

    def began(self, progress: Progress, task: Task) -> None:
        """Start."""
        self._last = time.perf_counter()

    def stepped(self, progress: Progress, loss: float, count: int) -> None:
        """A step ends here; between the last one and its start nothing else happens."""
        now = time.perf_counter()
        self.losses.append(loss)
        self.seconds.append(now - self._last)
        self._last = now

    def validated(self, progress: Progress, measure: Measure) -> None:
        """Only at the end, after the last step."""


def run_engines(data: Path, window: int) -> dict[str, list[Clock]]:
    """Steps of the training loop with either layer in turn, a few rounds of them."""
    settings = RECIPES["characters"] | {"files": (str(data.resolve()),), "window": window}
    recipe = KIND.parts.recipe(settings | {"steps": STEPS, "validate_every": STEPS})
    tasks = {"comporta": LanguageModelTask(recipe), "torch.nn.GRU": TorchTask(recipe)}
    clocks: dict[str, list[Clock]] = {name: [] for name in tasks}
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            with tempfile.TemporaryDirectory() as home:
                folder = RunFolder(home)
                folder.begin({}, texts={})
                clock = Clock()
                Run(task, recipe.options, folder).train(clock)
                clocks[name].append(clock)
    return clocks


def compare_engines(data: Path) -> list[str]:
    """The time of a training step with either layer; lines of Markdown."""
    lines = [
        "| window | layer | ms a step, median | least | most | times ours |",
        "|---|---|---|---|---|---|",
    ]
    gaps = []
    for window in WINDOWS:
        clocks = run_engines(data, window)
        ours, theirs = (found[0].losses for found in clocks.values())
        gaps.append(max(abs(a - b) / b for a, b in zip(ours, theirs, strict=True)))
        if gaps[-1] > AGREEMENT:
            sys.exit(f"the losses differ by {gaps[-1]:.0e}, more than {AGREEMENT:g}: no comparison")
        first = 0.0
        for name, found in clocks.items():
            each = [1e3 * statistics.median(clock.seconds[WARM:]) for clock in found]
            median = statistics.median(each)
            first = first or median
            figures = f"{median:.1f} | {min(each):.1f} | {max(each):.1f} | {median / first:.2f}"
            lines.append(f"| {window} | {name} | {figures} |")
    return [
        *lines,
        "",
        f"A step is a whole training step, optimizer included. {ROUNDS} rounds of {STEPS} steps of "
        f"each in turn, the first {WARM} of a round not counted; the losses of the {STEPS} steps "
        f"agree within {max(gaps):.0e}.",
    ]


def main() -> None:
    """Run the parts asked for, print their tables, and add them to the results."""
    parts = [*RECIPES, "engines"]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", help=f"{', '.join(parts)} (all)")
    parser.add_argument("--data", type=Path, required=True, help="a text file")
    parser.add_argument("--minutes", type=float, default=15.0, help="of each training")
    parser.add_argument("--no-results", action="store_true", help="print only, keep no figures")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in parts]:
        parser.error(f"unknown part {unknown[0]!r}; the parts are {', '.join(parts)}")
    console = Console(highlight=False, soft_wrap=True)
    for part in options.parts or parts:
        console.print(Rule(part, align="left"))
        if part == "engines":
            lines = compare_engines(options.data)
            command = f"python benchmarks/shakespeare.py --data {options.data.name} engines"
        else:
            lines = train(part, options.data, options.minutes)
            command = (
                f"python benchmarks/shakespeare.py --data {options.data.name} {part} "
                f"--minutes {options.minutes:g}"
            )
        console.print("\n".join(lines), markup=False)
        if not options.no_results:
            title = f"## {part}, {datetime.date.today()}"
            section = (title, "", machine(), "", f"    {command}", "", *lines, "", "")
            with PAGE.open("a", encoding="utf-8") as file:
                file.write("\n".join(section))


if __name__ == "__main__":
    main()
