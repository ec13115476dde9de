"""The tags that a tagger answers with: as numbers, under constraints, and how they are judged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from comporta.data.columns import OUTSIDE, Scheme, Sentence, bio_constraints, spans, to_bio
from comporta.data.lines import bad_line
from comporta.errors import DataError, nearest

_BETWEEN = "|"
_NO_LABEL = (OUTSIDE, "_")
"""How files write that a word has no label; "_" is CoNLL-U's."""


@dataclass(frozen=True)
class Tags:
    """The tags by name; their numbers are their places.

    Args:
        names: in order; with a sigmoid the labels of which a tag may have any number.
        scheme: in which the training data marks entities, or "none".
        output: softmax, crf or sigmoid.
    """

    names: list[str]
    scheme: Scheme
    output: str

    @classmethod
    def of(cls, tags: Iterable[str], *, scheme: Scheme, output: str | None) -> Tags:
        """The tags that training data has.

        Args:
            tags: as they stand there; each at least once.
            scheme: of the tags.
            output: what was asked for; None for the default.

        Raises:
            DataError: they are all the same.

        >>> Tags.of(["O", "S-PER"], scheme="bioes", output=None)
        Tags(names=['O', 'B-PER', 'I-PER'], scheme='bioes', output='crf')
        >>> Tags.of(["A|B", "O"], scheme="none", output="sigmoid").names
        ['A', 'B']
        """
        found = sorted(set(tags))
        if len(found) < 2 or not any(map(_labels, found)):
            raise DataError(f"all tags are {found[0]!r}; a tagger needs at least two")
        if output == "sigmoid":
            return cls(sorted({label for tag in found for label in _labels(tag)}), "none", output)
        if scheme == "none":
            return cls(found, scheme, output or "softmax")
        # With both of a label, whether or not the training data has an entity of several words.
        labels = sorted({tag[2:] for tag in found if tag != OUTSIDE})
        names = [OUTSIDE, *(f"{letter}-{label}" for label in labels for letter in "BI")]
        return cls(names, scheme, output or "crf")

    def to_json(self) -> dict[str, Any]:
        """The tags as JSON data."""
        return asdict(self)

    def read(self, path: str, sentence: Sentence) -> list[str]:
        """The tags of a sentence as the model gives them: entities in BIO, all of them known.

        Args:
            path: the file it is from, for messages.
            sentence: with tags.

        Raises:
            DataError: a tag that training has not seen, or that is not of the scheme.
        """
        try:
            tags = to_bio(sentence.tags, self.scheme)
        except DataError as error:
            raise bad_line(path, sentence.lines[0], str(error)) from None
        for place, tag in enumerate(tags):
            for name in _labels(tag) if self.output == "sigmoid" else [tag]:
                if name not in self.names:
                    raise bad_line(
                        path,
                        sentence.lines[place],
                        f"the tag {name!r} of {sentence.words[place]!r} is not among those of the "
                        f"training data{nearest(name, self.names)}",
                    )
        return list(tags)

    def encode(self, tags: Sequence[str]) -> NDArray[np.int64]:
        """Tags as numbers (T,); with a sigmoid as 0 and 1 for each label, (T, K)."""
        numbers = {name: number for number, name in enumerate(self.names)}
        if self.output != "sigmoid":
            return np.array([numbers[tag] for tag in tags], dtype=np.int64)
        found = np.zeros((len(tags), len(self.names)), dtype=np.int64)
        for place, tag in enumerate(tags):
            found[place, [numbers[label] for label in _labels(tag)]] = 1
        return found

    def decode(self, found: Tensor) -> list[str]:
        """What `encode` makes numbers of, from numbers.

        >>> tags = Tags(["A", "B"], "none", "sigmoid")
        >>> tags.decode(torch.from_numpy(tags.encode(["A|B", "_", "B"])))
        ['A|B', 'O', 'B']
        """
        if self.output != "sigmoid":
            return [self.names[number] for number in found.tolist()]
        return [
            _BETWEEN.join(name for name, is_on in zip(self.names, row, strict=True) if is_on)
            or OUTSIDE
            for row in found.tolist()
        ]

    def constraints(self) -> tuple[Tensor | None, Tensor | None]:
        """Which tags may come first, (K,), and which after which, (K, K); None where all may."""
        if self.scheme == "none":
            return None, None
        starts, steps = bio_constraints(self.names)
        return torch.from_numpy(starts), torch.from_numpy(steps)

    def spans(self, tags: Sequence[str]) -> list[tuple[int, int, str]]:
        """The entities in a sentence; none where tags mark none."""
        return [] if self.scheme == "none" else spans(tags)

    def figures(
        self, found: Sequence[Sequence[str]], expected: Sequence[Sequence[str]]
    ) -> dict[str, float]:
        """Precision, recall and F1, and the accuracy of the tags.

        They are of whole entities, by seqeval. Where tags mark none they are by scikit-learn: the
        mean over the tags, or, with a sigmoid, over all labels of all words together.

        >>> tags = Tags(["O", "B-X", "I-X"], "bio", "crf")
        >>> tags.figures([["B-X", "I-X", "B-X"]], [["B-X", "O", "B-X"]])["precision"]
        0.5
        """
        answers, right = (
            self.encode([t for row in rows for t in row]) for rows in (found, expected)
        )
        if self.scheme != "none":
            from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

            scores = precision_recall_fscore_support(
                expected, found, average="micro", zero_division=0
            )
        else:
            from sklearn.metrics import precision_recall_fscore_support

            average = "binary" if self.output == "sigmoid" else "macro"
            scores = precision_recall_fscore_support(
                right.ravel(), answers.ravel(), average=average, zero_division=0
            )
        wrong = (answers != right).reshape(len(right), -1).any(1)
        return {
            "precision": float(scores[0]),
            "recall": float(scores[1]),
            "f1": float(scores[2]),
            "accuracy": 1 - float(wrong.mean()),
            "sentences": len(expected),
        }


def _labels(tag: str) -> list[str]:
    return [] if tag in _NO_LABEL else tag.split(_BETWEEN)
