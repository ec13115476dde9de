"""The task of a generator: from a class, a vector or nothing to a text or to music."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import numpy as np
from torch import Tensor, nn

from comporta.models import Generator, GeneratorConfig
from comporta.tasks.conditions import (
    ClassCondition,
    Condition,
    VectorCondition,
    condition_from,
    learn_condition,
)
from comporta.tasks.examples import Division, ExampleTask
from comporta.tasks.generator_data import (
    Example,
    Form,
    GeneratorData,
    Spool,
    picked,
    read_examples,
    split_part,
)
from comporta.tasks.inputs import TextInputs
from comporta.tasks.kind import Kind, Learned
from comporta.tasks.outputs import KeyOutput, Output, TokenOutput
from comporta.tasks.trained_generator import GeneratorRecipe, Sequences, TrainedGenerator
from comporta.training import files
from comporta.training.recipe import Parts
from comporta.training.task import Measure

_LONGEST_TEXT = 1000


class GeneratorTask(ExampleTask):
    """Sequences, with what is given with each, as training data for a generator.

    Args:
        recipe: what to train on and what model.
        learned: the vocabulary, and the classes or the scale of the vectors; learned from the data
            when not given.

    Raises:
        DataError: a file that cannot be read, a class of the validation file that the others do
            not have, too few examples.
    """

    def __init__(self, recipe: GeneratorRecipe, learned: Learned | None = None) -> None:
        data = recipe.data
        self.recipe = recipe
        self.form = Form.of(data) if learned is None else Form(**learned.facts["form"])
        self.unit = "frames" if self.form.output == "keys" else "tokens"
        with Spool() as kept:
            count, extra = (
                kept.extend(read_examples(data, self.form, part))
                for part in (data.files, data.validation_files)
            )
            self.division = Division.of(
                count, extra=extra, share=data.hold_out, seed=recipe.options.seed
            )
            if learned is None:
                # A class may be so rare that it is held out whole; it is known all the same.
                known = range(count) if self.form.condition == "class" else self.division.training
                self.output = self._learn_output(kept)
                self.condition = learn_condition(
                    self.form.condition, (example.given for example in picked(kept, known))
                )
            else:
                self.output = output_from(recipe, learned)
                self.condition = condition_from(learned.facts["condition"])
            self._sequences = Sequences.of(self.output, self.condition, kept)
        names = (*data.files, *data.validation_files)
        self.digest = files.digest_files(split_part(name)[0] for name in names)
        super().__init__(
            self._sequences.store.lengths,
            self.division,
            batch_size=data.batch_size,
            seed=recipe.options.seed,
        )

    def _learn_output(self, examples: Iterable[Example]) -> Output:
        if self.form.output == "keys":
            return KeyOutput()
        texts = (example.sequence for example in picked(examples, self.division.training))
        data = self.recipe.data
        return TokenOutput.learn(texts, level=data.level, size=data.vocab_size)

    @property
    def learned(self) -> Learned:
        """What the files hold, the vocabulary, and the classes or the scale of the vectors."""
        store, training = self._sequences.store, self.division.training
        length = int(np.median(store.lengths[training])) if self.output.keys else _LONGEST_TEXT
        facts = {
            "form": asdict(self.form),
            "condition": self.condition.facts,
            "length": length,
        }
        return Learned(facts=facts, texts=self.output.learned.texts)

    @property
    def report(self) -> Mapping[str, object]:
        """Sequences, lengths, classes, and what the frequencies of tokens or keys give."""
        store, division = self._sequences.store, self.division
        report: dict[str, object] = {
            "training sequences": len(division.training),
            "validation sequences": len(division.validation),
            f"{self.unit} of a sequence": (
                f"{int(np.median(store.lengths))} (median), {int(store.lengths.max())} (most)"
            ),
            f"{self.unit} in validation": self._sequences.steps(division.validation),
        }
        if not self.output.keys:
            report["vocabulary"] = self.output.size
        if isinstance(self.condition, ClassCondition):
            names, given = self.condition.names, self._sequences.given
            counts = Counter(names[int(given[i][0])] for i in division.training)
            report["classes"] = ", ".join(f"{name} {n}" for name, n in counts.most_common())
        if isinstance(self.condition, VectorCondition):
            report["numbers in a vector"] = len(self.condition.mean)
        floor = self.output.floor(
            (store[i] for i in division.training), (store[i] for i in division.validation)
        )
        report["by frequency alone"] = f"{floor:.4f} nats a {self.unit.removesuffix('s')}"
        return report

    def build(self) -> Generator:
        """A new model."""
        return new_model(self.recipe, self.output, self.condition)

    def batch_loss(self, model: nn.Module, examples: Sequence[int]) -> tuple[Tensor, int]:
        """Minus the log-probability of sequences, and how many steps they have."""
        transpose = self.recipe.data.transpose if self.output.keys else 0
        losses = self._sequences.losses(model, examples, transpose=transpose)
        return losses.sum(), self._sequences.steps(examples)

    def validate(self, model: nn.Module) -> Measure:
        """Nats a step on the sequences held out."""
        figures = self._sequences.figures(model, self.validation_batches())
        loss = figures[f"nats_per_{self.unit.removesuffix('s')}"]
        known = figures.get("perplexity")
        summary = f"{loss:.4f} nats a frame" if known is None else f"perplexity {known:.3f}"
        return Measure(loss=loss, figures=figures, summary=summary)


def output_from(recipe: GeneratorRecipe, learned: Learned) -> Output:
    """The output that a run was begun with."""
    if learned.facts["form"]["output"] == "keys":
        return KeyOutput()
    return TokenOutput(TextInputs.from_learned(learned, level=recipe.data.level))


def new_model(recipe: GeneratorRecipe, output: Output, condition: Condition) -> Generator:
    """A model of a recipe."""
    return Generator(
        recipe.model,
        size=output.size,
        keys=output.keys,
        condition=condition.module(recipe.model.embedding),
    )


def _trained(recipe: GeneratorRecipe, learned: Learned) -> TrainedGenerator:
    output = output_from(recipe, learned)
    condition = condition_from(learned.facts["condition"])
    model = new_model(recipe, output, condition)
    form = Form(**learned.facts["form"])
    return TrainedGenerator(recipe, model, form, output, condition, learned.facts["length"])


KIND = Kind(
    name="generator",
    help="""Train a generator: a class, a vector or nothing in, a text or music out.

A part of the sequences, or a validation file, is held out; the best model on it is kept. A folder
of Label.txt, a table or JSON Lines gives a class with each text, JSON Lines with "vector" a
vector, a folder of MIDI files the subfolder as class.

`comporta train generator names/ --out runs/names`

`comporta train generator music.mat#train --validation music.mat#valid --out runs/music`""",
    parts=Parts(GeneratorData, GeneratorConfig),
    prepare=GeneratorTask,
    trained=_trained,
)
