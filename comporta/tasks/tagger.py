"""The task of a tagger: a tag for each word of a sentence, or for each step of any sequence."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from comporta.data import Sentence, read_vectors, recognize
from comporta.data.columns import Scheme
from comporta.data.ragged import Ragged
from comporta.models import Tagger, TaggerConfig
from comporta.tasks.examples import Division, ExampleTask, device_of
from comporta.tasks.inputs import check_vectors
from comporta.tasks.kind import Kind, Learned
from comporta.tasks.tagger_data import TaggerData, TaggerRecipe, read_sentences
from comporta.tasks.tags import Tags
from comporta.tasks.trained_tagger import TrainedTagger
from comporta.tasks.words import WordInputs, WordStore
from comporta.training import files
from comporta.training.recipe import Parts
from comporta.training.task import Measure


class TaggerTask(ExampleTask):
    """Tagged sentences as training data for a tagger.

    Args:
        recipe: what to train on and what model.
        learned: words, characters and tags; learned from the training part when not given.

    Raises:
        DataError: a file that cannot be read, tags that are all the same, a tag in the validation
            file that the training files do not have, too few sentences.
    """

    unit = "sentences"

    def __init__(self, recipe: TaggerRecipe, learned: Learned | None = None) -> None:
        data = recipe.data
        self.recipe = recipe
        count, names, scheme = self._survey()
        self.division = Division.of(
            count,
            extra=sum(1 for _ in self._read(data.validation_files)),
            share=data.hold_out,
            seed=recipe.options.seed,
        )
        if learned is None:
            self.inputs = self._learn()
            self.tags = Tags.of(names, scheme=scheme, output=recipe.model.output)
        else:
            self.inputs, self.tags = parts_of(recipe, learned)
        everything = (*data.files, *data.validation_files)
        self._targets = Ragged(
            (self.tags.encode(self.tags.read(*each)) for each in self._read(everything)),
            dtype=np.int32,
        )
        self._store = WordStore(self.inputs, (s.words for _, s in self._read(everything)))
        vectors = () if data.vectors is None else (data.vectors,)
        self._vectors = self._pretrained() if vectors else None
        self.digest = files.digest_files((*everything, *vectors))
        super().__init__(
            self._store.lengths,
            self.division,
            batch_size=data.batch_size,
            seed=recipe.options.seed,
        )

    @property
    def learned(self) -> Learned:
        """Words, characters and tags."""
        return Learned(
            facts={"tags": self.tags.to_json()}, texts={"tokenizer.json": self.inputs.to_json()}
        )

    @property
    def report(self) -> Mapping[str, object]:
        """Sentences, lengths, tags, the unknown rate and what the words alone give."""
        lengths = self._store.lengths
        scheme = {"none": "no entities", "bio": "BIO"}.get(
            self.tags.scheme, f"{self.tags.scheme.upper()}, converted to BIO"
        )
        shown = ", ".join(self.tags.names[:20]) + (" ..." if len(self.tags.names) > 20 else "")
        report: dict[str, object] = {
            "training sentences": len(self.division.training),
            "validation sentences": len(self.division.validation),
            "words of a sentence": f"{int(np.median(lengths))} (median), {lengths.max()} (most)",
            "tags": f"{len(self.tags.names)} ({scheme}): {shown}",
            "output": self.tags.output,
            "vocabulary": f"{len(self.inputs.words)} words",
            "characters": len(self.inputs.characters),
            "unknown in validation": f"{self._store.unknown(self.division.validation):.2%}",
        }
        if self._vectors is not None:
            report["words with a vector"] = f"{float(self._vectors[1].float().mean()):.2%}"
        floor = self._floor()
        report["most frequent tag of each word"] = (
            f"F1 {floor['f1']:.3f}, accuracy {floor['accuracy']:.3f}"
        )
        return report

    def build(self) -> Tagger:
        """A new model."""
        model = new_model(self.recipe, self.inputs, self.tags)
        if self._vectors is not None:
            model.inputs.begin_with(*self._vectors)  # type: ignore[operator]
        return model

    def batch_loss(self, model: nn.Module, examples: Sequence[int]) -> tuple[Tensor, int]:
        """-log p of the tags, summed.

        Its mean is over sentences: sentences of a batch are about equally long, and a mean over
        words would make those of short sentences count more than those of long ones.
        """
        return self._run(model, examples)[0], len(examples)

    def validate(self, model: nn.Module) -> Measure:
        """Figures on the sentences held out; the best model has the best F1 of entities, or the
        best accuracy where tags mark none."""
        assert isinstance(model, Tagger)
        total = 0.0
        found: list[list[str]] = []
        expected: list[list[str]] = []
        for examples in self.validation_batches():
            loss, lengths, scores = self._run(model, examples)
            total += float(loss)
            found += map(self.tags.decode, model.decode(scores, lengths))
            expected += map(self._expected, examples)
        figures = self.tags.figures(found, expected)
        f1, accuracy = figures["f1"], figures["accuracy"]
        return Measure(
            loss=total / len(found),
            figures=figures,
            summary=f"F1 {f1:.4f}, accuracy {accuracy:.4f}",
            rank=-(accuracy if self.tags.scheme == "none" else f1),
        )

    def _run(self, model: nn.Module, examples: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """The summed loss of some sentences, their lengths, and the scores of their tags."""
        assert isinstance(model, Tagger)
        device = device_of(model)
        batch, lengths = self._store.batch(examples, device)
        targets = torch.from_numpy(self._targets.padded(examples)).long().to(device)
        scores = model(batch, lengths)
        return model.loss(scores, targets, lengths), lengths, scores

    def _read(self, paths: Sequence[str]) -> Iterator[tuple[str, Sentence]]:
        for path in paths:
            for sentence in read_sentences(self.recipe.data, path):
                yield path, sentence

    def _survey(self) -> tuple[int, set[str], Scheme]:
        """How many sentences to train on there are, their tags, and the scheme of these."""
        names: set[str] = set()
        count = 0

        def tags() -> Iterator[tuple[str, ...]]:
            nonlocal count
            for _, sentence in self._read(self.recipe.data.files):
                count += 1
                names.update(sentence.tags)
                yield sentence.tags

        stream = tags()
        scheme = recognize(stream)
        # The scheme may be known long before the end.
        deque(stream, maxlen=0)
        return count, names, scheme

    def _learn(self) -> WordInputs:
        data, training = self.recipe.data, set(self.division.training)
        words = (
            word
            for i, (_, sentence) in enumerate(self._read(data.files))
            if i in training
            for word in sentence.words
        )
        return WordInputs.learn(words, size=data.vocab_size, lower=data.lower)

    def _pretrained(self) -> tuple[Tensor, Tensor]:
        """The vectors of the words that have one, and which have."""
        data, wanted = self.recipe.data, {w: i for i, w in enumerate(self.inputs.words)}
        vectors, found = read_vectors(str(data.vectors), wanted)
        check_vectors(vectors, self.recipe.model.embedding)
        return torch.from_numpy(vectors), torch.from_numpy(found)

    def _floor(self) -> dict[str, float]:
        """What comes of giving each word the tag that it most often has in training."""
        counts: defaultdict[int, Counter[str]] = defaultdict(Counter)
        overall: Counter[str] = Counter()
        for i in self.division.training:
            tags = self._expected(i)
            overall.update(tags)
            for form, tag in zip(self._store.forms(i), tags, strict=True):
                counts[form][tag] += 1
        usual, otherwise = {form: _most(tags) for form, tags in counts.items()}, _most(overall)
        held = self.division.validation
        found = [[usual.get(form, otherwise) for form in self._store.forms(i)] for i in held]
        return self.tags.figures(found, [self._expected(i) for i in held])

    def _expected(self, example: int) -> list[str]:
        return self.tags.decode(torch.tensor(self._targets[example]))


def new_model(recipe: TaggerRecipe, inputs: WordInputs, tags: Tags) -> Tagger:
    """A model of a recipe."""
    config = recipe.model
    starts, steps = tags.constraints()
    return Tagger(
        config,
        inputs=inputs.module(
            config.cell,
            size=config.embedding,
            characters=config.characters,
            dropout=config.word_dropout,
        ),
        tags=len(tags.names),
        output=tags.output,
        starts=starts,
        steps=steps,
    )


def parts_of(recipe: TaggerRecipe, learned: Learned) -> tuple[WordInputs, Tags]:
    """The words and tags that a run began with."""
    text = learned.texts.get("tokenizer.json", "")
    return (
        WordInputs.from_json(text, lower=recipe.data.lower),
        Tags(**learned.facts["tags"]),
    )


def _most(tags: Counter[str]) -> str:
    """The most frequent one; of several the first by name, so that it is the same every time."""
    return min(tags, key=lambda tag: (-tags[tag], tag))


def _trained(recipe: TaggerRecipe, learned: Learned) -> TrainedTagger:
    inputs, tags = parts_of(recipe, learned)
    return TrainedTagger(recipe, new_model(recipe, inputs, tags), inputs, tags)


KIND = Kind(
    name="tagger",
    help="""Train a tagger: a tag for every word of a sentence, or for every step of a sequence.

Reads files of columns, a line a word. Entities in IOB1, BIO or BIOES are recognized; answers are
in BIO. A part of the sentences, or a validation file, is held out; the model with the best F1 of
entities on it, or the best accuracy of other tags, is kept.

`comporta train tagger train.conll --validation dev.conll --out runs/names --epochs 10`""",
    parts=Parts(TaggerData, TaggerConfig),
    prepare=TaggerTask,
    trained=_trained,
)
