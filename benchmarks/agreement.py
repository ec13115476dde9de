"""English sentences whose verb agrees with a subject N words back, other nouns in between.

    the cat , which the old dogs near the house often see and the boy hears , was

The subject is the second word, and the verb stands N words after it (punctuation not counted).
Every noun is singular or plural by a coin of its own, so that nothing but the subject tells the
verb's form; the nouns in between mislead, and so do their own verbs. After Linzen et al. 2016,
arXiv:1611.01368.
"""

from __future__ import annotations

import random

NOUNS = {
    "cat": "cats",
    "dog": "dogs",
    "boy": "boys",
    "girl": "girls",
    "house": "houses",
    "boat": "boats",
    "tree": "trees",
    "horse": "horses",
    "river": "rivers",
    "teacher": "teachers",
}
PLACES = ("near", "behind", "above", "below", "beside")
KINDS = ("old", "young", "quiet", "small")
TIMES = ("often", "never", "once")
DEEDS = {
    "sees": "see",
    "hears": "hear",
    "likes": "like",
    "fears": "fear",
    "knows": "know",
    "finds": "find",
}
VERBS = ("was", "were")

_FORMS = {**NOUNS, **DEEDS}
WORDS = tuple(
    sorted({"the", "which", "and", ",", *_FORMS, *_FORMS.values(), *PLACES, *KINDS, *TIMES, *VERBS})
)
_CLAUSE, _LONG_CLAUSE = 3, 9


def sentence(draw: random.Random, distance: int) -> tuple[list[str], str]:
    """A sentence up to its verb, and the verb.

    Args:
        draw: where the words come from.
        distance: N, how many words after the subject the verb stands; at least 5.

    Returns:
        The words before the verb, and was or were.

    >>> words, verb = sentence(random.Random(8), 5)
    >>> " ".join(words), verb
    ('the trees , which the cats see ,', 'were')
    """
    plural = draw.random() < 0.5
    subject = _word(draw, NOUNS, plural)
    words = ["the", subject, ",", "which", *_clauses(draw, distance - 2), ","]
    return words, VERBS[plural]


def _word(draw: random.Random, forms: dict[str, str], plural: bool) -> str:
    one = draw.choice(tuple(forms))
    return forms[one] if plural else one


def _clauses(draw: random.Random, size: int) -> list[str]:
    """Clauses joined by "and", of so many words together."""
    # What a clause leaves is nothing, or enough for an "and" and another one.
    sizes = [n for n in range(_CLAUSE, _LONG_CLAUSE + 1) if size - n == 0 or size - n > _CLAUSE]
    first = draw.choice(sizes)
    words = _clause(draw, first)
    return words if first == size else [*words, "and", *_clauses(draw, size - first - 1)]


def _clause(draw: random.Random, size: int) -> list[str]:
    """A clause such as "the old dogs near the house often see", of so many words."""
    phrases, left = divmod(size - _CLAUSE, 3)
    plural = draw.random() < 0.5
    kind = [draw.choice(KINDS)] if left else []
    words = ["the", *kind, _word(draw, NOUNS, plural)]
    for _ in range(phrases):
        words += [draw.choice(PLACES), "the", _word(draw, NOUNS, draw.random() < 0.5)]
    if left == 2:
        words.append(draw.choice(TIMES))
    return [*words, _word(draw, DEEDS, plural)]
