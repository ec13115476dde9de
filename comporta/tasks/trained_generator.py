"""A trained generator: it writes texts or music, scores them and is measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from comporta.data import Encoded, write_midi
from comporta.data.batches import Batches
from comporta.data.ragged import Ragged
from comporta.errors import ConfigurationError, DataError
from comporta.models import Conditioned, Generator, GeneratorConfig, Sampling, randomness
from comporta.tasks.conditions import Condition, condition_batch
from comporta.tasks.examples import device_of
from comporta.tasks.generator_data import Example, Form, GeneratorData, Spool, read_examples
from comporta.tasks.outputs import Output, transposed
from comporta.tasks.trained_language_model import Score
from comporta.training.recipe import Recipe

GeneratorRecipe = Recipe[GeneratorData, GeneratorConfig]


@dataclass(frozen=True)
class Sequences:
    """Sequences and what is given with them, encoded, on disk.

    Args:
        output: how sequences are encoded.
        condition: how conditions are.
        store: the sequences.
        given: the conditions.
    """

    output: Output
    condition: Condition
    store: Ragged
    given: Ragged

    @classmethod
    def of(cls, output: Output, condition: Condition, examples: Iterable[Example]) -> Sequences:
        """Encode examples, gone through twice.

        Raises:
            DataError: a condition that the model does not know.
        """
        given = condition.store((example.given, example.where) for example in examples)
        store = output.store(example.sequence for example in examples)
        return cls(output, condition, store, given)

    def losses(self, model: nn.Module, examples: Sequence[int], *, transpose: int = 0) -> Tensor:
        """Minus the log-probability of each step of some sequences.

        Args:
            model: the generator.
            examples: the numbers of the sequences.
            transpose: move each by up to so many keys, drawn from torch's generator.

        Returns:
            (B, T) in nats, 0 beyond the end of a sequence.
        """
        device = device_of(model)
        targets = self.output.targets(self.store, examples).to(device)
        if transpose:
            targets = transposed(targets, transpose)
        given = condition_batch(self.condition, self.given, examples, device)
        logits, _ = model(self.output.inputs(targets), given)
        return self.output.losses(logits, targets)

    def steps(self, examples: Sequence[int]) -> int:
        """How many steps some sequences have."""
        return int(self.store.lengths[list(examples)].sum())

    def figures(self, model: nn.Module, batches: Iterable[list[int]]) -> dict[str, float]:
        """How well sequences are predicted: the output's figures, and how many there are."""
        nats, steps, count = 0.0, 0, 0
        for examples in batches:
            nats += float(self.losses(model, examples).double().sum())
            steps += self.steps(examples)
            count += len(examples)
        return self.output.figures(nats, steps) | {"sequences": count}


class TrainedGenerator:
    """A generator with all that it takes to use it.

    Args:
        recipe: that it was trained with.
        model: the model.
        form: what it was trained on.
        output: what it writes.
        condition: what it is given.
        length: steps it draws at most where no length is asked for.
    """

    def __init__(
        self,
        recipe: GeneratorRecipe,
        model: Generator,
        form: Form,
        output: Output,
        condition: Condition,
        length: int,
    ) -> None:
        self.recipe, self.model, self.form = recipe, model.eval(), form
        self.output, self.condition, self._length = output, condition, length

    def encode(self, text: str) -> Encoded:
        """The beginning of a sequence: tokens of a text, or frames of notes "60,64,67 62".

        Raises:
            DataError: what should be a note is none.
        """
        return self.output.parse(text)

    def generate(
        self,
        prime: str = "",
        *,
        label: str | None = None,
        vector: Sequence[float] | None = None,
        length: int | None = None,
        count: int = 1,
        sampling: Sampling | None = None,
        seed: int | None = None,
        allow_unk: bool = False,
    ) -> list[Any]:
        """Write texts or music.

        Args:
            prime: how each begins: a text, or notes such as "60,64,67 62".
            label: the class, where the model was trained on classes.
            vector: the vector, where it was trained on vectors.
            length: most tokens to draw (a text ends by itself before), or frames of music; None
                for 1000 tokens, or as many frames as half of the pieces of the training data have.
            count: how many.
            sampling: temperature; of tokens also top-k and top-p.
            seed: fixes what is drawn; None draws anew each time.
            allow_unk: draw `<unk>`, too; otherwise it is drawn again.

        Returns:
            Texts, or rolls (T, 88), the prime included.

        Raises:
            ConfigurationError: a length, a count or a seed below its least value.
            DataError: a class or vector that the model does not know, or that lacks; a prime that
                cannot be read.
        """
        generator = randomness(length=length, count=count, seed=seed)
        view = self._conditioned(label, vector)
        start = self.encode(prime).ids
        return [
            self.output.draw(
                view,
                start,
                length=self._length if length is None else length,
                sampling=sampling or Sampling(),
                generator=generator,
                allow_unk=allow_unk,
            )
            for _ in range(count)
        ]

    @torch.no_grad()
    def score(
        self, text: str, *, label: str | None = None, vector: Sequence[float] | None = None
    ) -> Score:
        """How probable a text, or music written as notes, is; a text with its end.

        Args:
            text: the text, or notes such as "60,64,67 62".
            label: the class, where the model was trained on classes.
            vector: the vector, where it was trained on vectors.

        Returns:
            Its score.

        Raises:
            DataError: as `generate`; or there is nothing to score.
        """
        encoded = self.encode(text)
        if not len(encoded.ids):
            raise DataError(f"{text!r} holds nothing to score; give some text or notes")
        sequence = text if self.form.output == "tokens" else encoded.ids.numpy()
        example = Example(sequence, _given(label, vector), "what is given")
        stored = Sequences.of(self.output, self.condition, [example])
        values = -stored.losses(self.model, [0])[0].double()
        names = self.output.names(torch.from_numpy(np.array(stored.store[0])))
        return Score(
            text=text,
            log_probability=float(values.sum()),
            steps=tuple(zip(names, values.tolist(), strict=True)),
            unknown=encoded.unknown,
        )

    @torch.no_grad()
    def evaluate_files(self, paths: list[Path]) -> dict[str, float]:
        """Nats a token or a frame on files, or parts of files (FILE.mat#test).

        Raises:
            DataError: a file that cannot be read, a class or a vector the model does not know.
        """
        with Spool() as found:
            count = found.extend(read_examples(self.recipe.data, self.form, paths))
            stored = Sequences.of(self.output, self.condition, found)
        size = self.recipe.data.batch_size
        batches = Batches(stored.store.lengths, range(count), size=size, seed=0)
        return stored.figures(self.model, batches.in_order())

    def write(self, rolls: Sequence[Any], out: str | Path) -> list[Path]:
        """Write music as MIDI files.

        Args:
            rolls: what `generate` returned.
            out: FILE.mid for one roll, or a folder for 1.mid, 2.mid and so on.

        Returns:
            The files.

        Raises:
            ConfigurationError: the model writes texts, or one file is named for several rolls.
            DataError: a file that cannot be written.
        """
        out = Path(out)
        if self.form.output != "keys":
            raise ConfigurationError("texts are printed; only music is written to MIDI files")
        single = out.suffix.lower() in (".mid", ".midi")
        if single and len(rolls) > 1:
            raise ConfigurationError(f"{out} is one file for {len(rolls)} pieces; give a folder")
        width = len(str(len(rolls)))
        folder = out.parent if single else out
        files = [
            out if single else out / f"{number:0{width}}.mid" for number in range(1, len(rolls) + 1)
        ]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file, roll in zip(files, rolls, strict=True):
                write_midi(file, roll, steps_per_beat=self.recipe.data.steps_per_beat)
        except OSError as error:
            raise DataError(f"cannot write {out}: {error.strerror}") from None
        return files

    def _conditioned(self, label: str | None, vector: Sequence[float] | None) -> Conditioned:
        encoded = self.condition.encode(_given(label, vector), "what is given")
        given = Ragged([encoded], dtype=encoded.dtype)
        return Conditioned(
            self.model, condition_batch(self.condition, given, [0], device_of(self.model))
        )


def _given(label: str | None, vector: Sequence[float] | None) -> Any:
    if label is not None and vector is not None:
        raise ConfigurationError(
            "a class and a vector are given; give the one that it was trained on"
        )
    return label if vector is None else np.asarray(vector, dtype=np.float32)
