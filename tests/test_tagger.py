"""The tagger against brute force: its losses, its answers, and the spelling of words."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from comporta.cells import get
from comporta.data import bio_constraints
from comporta.errors import ConfigurationError
from comporta.models import (
    CharacterEncoder,
    Tagger,
    TaggerConfig,
    TokenInput,
    WordInput,
    Words,
)

NAMES = ["O", "B-X", "I-X", "B-Y", "I-Y"]
LENGTHS = torch.tensor([4, 2, 1])
START, STEP = (torch.from_numpy(allowed) for allowed in bio_constraints(NAMES))


def small(output: str, *, constrained: bool, **changes: object) -> Tagger:
    config = TaggerConfig(**({"hidden": 6, "dropout": 0.0} | changes))  # type: ignore[arg-type]
    model = Tagger(
        config,
        inputs=TokenInput(9, 4),
        tags=len(NAMES),
        output=output,
        starts=START if constrained else None,
        steps=STEP if constrained else None,
    ).double()
    if model.field is not None and output == "crf":
        for weight in model.field.parameters():
            nn.init.normal_(weight)
    return model.eval()


def score(model: Tagger, emissions: Tensor, tags: tuple[int, ...]) -> float:
    """What a sequence of tags is worth, by its definition; -inf if it is not allowed."""
    total = sum(float(e[tag]) for e, tag in zip(emissions, tags, strict=True))
    field = model.field
    if field is None:
        return total
    steps = list(itertools.pairwise(tags))
    if not field.starts[tags[0]] or not all(field.steps[i, j] for i, j in steps):
        return -torch.inf
    moves = sum(field.step[i, j].item() for i, j in steps)
    return total + field.start[tags[0]].item() + moves + field.end[tags[-1]].item()


@pytest.mark.parametrize("constrained", [False, True])
@pytest.mark.parametrize("output", ["softmax", "crf"])
def test_answers_are_the_best_of_all_sequences(output: str, constrained: bool) -> None:
    broken = 0
    for _ in range(10):
        model = small(output, constrained=constrained)
        scores = torch.randn(3, 4, 5).double()
        answers = model.decode(scores, LENGTHS)
        assert [len(row) for row in answers] == LENGTHS.tolist()
        for emissions, row in zip(scores, answers, strict=True):
            every = itertools.product(range(len(NAMES)), repeat=len(row))
            best = max(every, key=lambda tags: score(model, emissions[: len(tags)], tags))
            assert tuple(row.tolist()) == best
            free = emissions[: len(row)].argmax(1)
            broken += not all(STEP[i, j] for i, j in itertools.pairwise(free.tolist()))
    assert broken > 3, "the constraints never mattered"


@torch.no_grad()
def test_the_loss_of_a_crf_is_that_of_all_sequences() -> None:
    model = small("crf", constrained=True)
    scores, targets = (
        torch.randn(3, 4, 5).double(),
        torch.tensor([[0, 1, 2, 2], [3, 4, 0, 0], [0, 9, 9, 9]]),
    )
    expected = 0.0
    for emissions, tags, length in zip(scores, targets.tolist(), LENGTHS.tolist(), strict=True):
        every = itertools.product(range(len(NAMES)), repeat=length)
        log_z = torch.tensor([score(model, emissions[:length], t) for t in every]).logsumexp(0)
        expected += float(log_z) - score(model, emissions[:length], tuple(tags[:length]))
    assert float(model.loss(scores, targets, LENGTHS)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("constrained", [False, True])
@torch.no_grad()
def test_the_loss_of_a_softmax_is_that_of_each_step(constrained: bool) -> None:
    model = small("softmax", constrained=constrained)
    scores, targets = torch.randn(3, 4, 5).double(), torch.randint(5, (3, 4))
    expected = sum(
        -float(scores[b, t].softmax(0)[targets[b, t]].log())
        for b in range(3)
        for t in range(int(LENGTHS[b]))
    )
    assert float(model.loss(scores, targets, LENGTHS)) == pytest.approx(expected)


def test_a_field_of_a_softmax_learns_nothing() -> None:
    model = small("softmax", constrained=True)
    model.loss(
        model(torch.randint(9, (3, 4)), LENGTHS), torch.zeros(3, 4).long(), LENGTHS
    ).backward()
    assert model.field is not None
    assert all(weight.grad is None for weight in model.field.parameters())
    assert all(float(weight.abs().max()) == 0 for weight in model.field.parameters())


@torch.no_grad()
def test_a_sigmoid_answers_for_each_label() -> None:
    model = small("sigmoid", constrained=False)
    scores, targets = torch.randn(3, 4, 5).double(), torch.randint(2, (3, 4, 5))
    expected = 0.0
    for b in range(3):
        for t in range(int(LENGTHS[b])):
            on = scores[b, t].sigmoid()
            expected -= float(torch.where(targets[b, t] == 1, on, 1 - on).log().sum())
    assert float(model.loss(scores, targets, LENGTHS)) == pytest.approx(expected)
    for row, answer in zip(scores, model.decode(scores, LENGTHS), strict=True):
        assert torch.equal(answer, row[: len(answer)].sigmoid() > 0.5)


@pytest.mark.parametrize("output", ["softmax", "crf", "sigmoid"])
def test_what_stands_in_the_padding_does_not_matter(output: str) -> None:
    model = small(output, constrained=output != "sigmoid", layers=2)
    tokens = torch.randint(9, (3, 4))
    other = torch.where(torch.arange(4) < LENGTHS.unsqueeze(1), tokens, 8 - tokens)
    targets = torch.zeros(3, 4, 5).long() if output == "sigmoid" else torch.zeros(3, 4).long()
    found = [model.loss(model(x, LENGTHS), targets, LENGTHS) for x in (tokens, other)]
    assert not torch.equal(tokens, other)
    assert torch.equal(*found)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_word_is_spelled_as_if_it_were_alone(cell: str) -> None:
    encoder = CharacterEncoder(get(cell), 20, 5)
    lengths = torch.tensor([3, 9, 1, 1, 4, 2, 7])
    characters = torch.randint(20, (7, 9))
    found = encoder(characters, lengths)
    for word, length, vector in zip(characters, lengths.tolist(), found, strict=True):
        output, _ = encoder.recurrent(encoder.embedding(word[:length].unsqueeze(0)))
        ends = torch.cat([output[0, -1, :5], output[0, 0, 5:]])
        torch.testing.assert_close(vector, ends)


def words_of(numbers: list[int]) -> Words:
    count = len(numbers)
    characters = torch.randint(6, (count, 4))
    return Words(
        torch.tensor(numbers), characters, torch.full((count,), 4), torch.arange(count)[None]
    )


def test_words_become_unknown_the_rarer_the_more_often() -> None:
    counts, draws = [0, 1, 2, 20], 1000
    module = WordInput(counts, 3, encoder=None, dropout=2.0)
    with torch.no_grad():
        module.embedding.weight.copy_(torch.arange(4.0).unsqueeze(1).expand(4, 3))
    batch = words_of([1, 2, 3] * draws)
    seen = module(batch)[0, :, 0].view(draws, 3)
    for word, column in zip((1, 2, 3), seen.T, strict=True):
        assert set(column.tolist()) == {0.0, float(word)}
        share, chance = float((column == 0).float().mean()), 2 / (2 + counts[word])
        assert abs(share - chance) < 4 * (chance * (1 - chance) / draws) ** 0.5
    assert torch.equal(module.eval()(batch)[0, :, 0], batch.numbers.float())


def test_a_word_is_its_vector_and_its_spelling_wherever_it_stands() -> None:
    encoder = CharacterEncoder(get("gru"), 6, 4)
    module = WordInput([1] * 8, 3, encoder=encoder, dropout=0.0)
    words = words_of([2, 0, 7])
    places = torch.tensor([[0, 1, 0], [2, 2, 1]])
    x = module(words._replace(places=places))
    assert x.shape == (2, 3, module.size) == (2, 3, 11)
    forms = torch.cat([module.embedding(words.numbers), encoder(*words[1:3])], dim=1)
    for row, column in itertools.product(range(2), range(3)):
        assert torch.equal(x[row, column], forms[places[row, column]])


def test_vectors_learned_elsewhere_take_the_place_of_those_drawn() -> None:
    module = WordInput([1] * 4, 3, encoder=None, dropout=0.0)
    before, given = module.embedding.weight.detach().clone(), torch.randn(4, 3)
    found = torch.from_numpy(np.array([False, True, False, True]))
    module.begin_with(given, found)
    assert torch.equal(module.embedding.weight[found], given[found])
    assert torch.equal(module.embedding.weight[~found], before[~found])


@pytest.mark.parametrize(
    "wrong",
    [
        {"output": "hmm"},
        {"hidden": 0},
        {"characters": -1},
        {"dropout": 1.0},
        {"word_dropout": -1.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        TaggerConfig(**wrong)  # type: ignore[arg-type]
