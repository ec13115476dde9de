"""A trained tagger as people use it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from comporta.data import read_words
from comporta.data.batches import Batches
from comporta.errors import DataError
from comporta.models import Tagger
from comporta.tasks.examples import device_of
from comporta.tasks.tagger_data import TaggerRecipe, read_sentences
from comporta.tasks.tags import Tags
from comporta.tasks.words import WordInputs, WordStore


@dataclass(frozen=True)
class TaggedSentence:
    """What a tagger makes of a sentence.

    Args:
        words: T words.
        tags: T tags; those of entities in BIO.
        spans: each entity as its first word, the word after its last, and its label.

    >>> print(TaggedSentence(["Ana", "ri"], ["B-PER", "O"], [(0, 1, "PER")]))
    Ana B-PER
    ri O
    <BLANKLINE>
    """

    words: Sequence[str]
    tags: Sequence[str]
    spans: Sequence[tuple[int, int, str]]

    def to_json(self) -> dict[str, object]:
        """The sentence as JSON data; spans come with their text."""
        spans = [
            {
                "start": start,
                "end": end,
                "label": label,
                "text": " ".join(self.words[start:end]),
            }
            for start, end, label in self.spans
        ]
        return {"words": list(self.words), "tags": list(self.tags), "spans": spans}

    def __str__(self) -> str:
        rows = zip(self.words, self.tags, strict=True)
        return "".join(f"{word} {tag}\n" for word, tag in rows)


class TrainedTagger:
    """A tagger with all that it takes to use it.

    Args:
        recipe: that it was trained with.
        model: the model.
        inputs: what it reads.
        tags: what it answers.
    """

    def __init__(self, recipe: TaggerRecipe, model: Tagger, inputs: WordInputs, tags: Tags) -> None:
        self.recipe, self.model, self.inputs, self.tags = recipe, model.eval(), inputs, tags

    @torch.no_grad()
    def predict(self, sentences: Sequence[str | Sequence[str]]) -> list[TaggedSentence]:
        """The tags of each sentence.

        Args:
            sentences: each as its words, or as a text with spaces between them.

        Returns:
            One for each, in order.

        Raises:
            DataError: a sentence without words.
        """
        words = [s.split() if isinstance(s, str) else list(s) for s in sentences]
        if not all(words):
            raise DataError(
                f"sentence {words.index([]) + 1} of {len(words)} has no words; give words with "
                "spaces between them"
            )
        store = WordStore(self.inputs, words)
        size, device = self.recipe.data.batch_size, device_of(self.model)
        found: dict[int, TaggedSentence] = {}
        for examples in Batches(store.lengths, range(len(words)), size=size, seed=0).in_order():
            batch, lengths = store.batch(examples, device)
            rows = self.model.decode(self.model(batch, lengths), lengths)
            for example, row in zip(examples, rows, strict=True):
                tags = self.tags.decode(row)
                found[example] = TaggedSentence(words[example], tags, self.tags.spans(tags))
        return [found[example] for example in range(len(words))]

    def read_inputs(self, path: Path) -> list[Sequence[str]]:
        """The sentences of a file with a line a word and no tags, or with tags that are ignored."""
        data = self.recipe.data
        sentences = read_words(path, separator=data.between, word=data.word, encoding=data.encoding)
        return [sentence.words for sentence in sentences]

    def evaluate_files(self, paths: list[Path]) -> dict[str, float]:
        """Precision, recall, F1 and accuracy on tagged files.

        Raises:
            DataError: a file that cannot be read, or a tag that training has not seen.
        """
        words: list[Sequence[str]] = []
        expected: list[list[str]] = []
        for path in map(str, paths):
            for sentence in read_sentences(self.recipe.data, path):
                words.append(sentence.words)
                expected.append(self.tags.read(path, sentence))
        return self.tags.figures([each.tags for each in self.predict(words)], expected)
