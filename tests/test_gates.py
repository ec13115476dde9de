"""Problems of long memory: what they ask is what they say, and a gated cell learns them."""

from __future__ import annotations

import doctest
import math
import random

import pytest
import torch

from benchmarks import agreement
from benchmarks.gates import HIDDEN, Adding, Agreement, Copying, Reader, train
from benchmarks.gates_page import table

DEEDS = set(agreement.DEEDS) | set(agreement.DEEDS.values())
PLURALS = {plural: one for one, plural in agreement.NOUNS.items()}
NOUNS = set(PLURALS) | set(agreement.NOUNS)


@pytest.mark.parametrize("distance", range(5, 51))
def test_the_verb_agrees_with_the_subject_so_many_words_back(distance: int) -> None:
    draw = random.Random(distance)
    for _ in range(20):
        words, verb = agreement.sentence(draw, distance)
        assert set(words) <= set(agreement.WORDS)
        spoken = [word for word in words if word != ","]
        assert spoken[:1] == ["the"]
        assert spoken[2] == "which"
        assert len(spoken) - 1 == distance
        assert verb == ("were" if spoken[1] in PLURALS else "was")
        # Each clause has one verb of its own and ends with it.
        clauses = " ".join(spoken[3:]).split(" and ")
        for clause in clauses:
            done = [word for word in clause.split() if word in DEEDS]
            assert done == [clause.split()[-1]]
            assert clause.startswith("the ")
            doer = next(word for word in clause.split() if word in NOUNS)
            assert (done[0] in agreement.DEEDS) == (doer not in PLURALS)


def test_no_noun_but_the_subject_tells_the_verb() -> None:
    """Each noun in between is plural half the time, whatever the subject is."""
    draw = random.Random(0)
    same: dict[bool, list[bool]] = {False: [], True: []}
    for _ in range(3000):
        words, verb = agreement.sentence(draw, 20)
        nouns = [word in PLURALS for word in words if word in NOUNS]
        same[False].append(nouns[-1] == (verb == "were"))
        same[True].append(nouns[1] == (verb == "were"))
    for found in same.values():
        # Four standard deviations of a fair coin.
        assert abs(sum(found) / len(found) - 0.5) < 4 * 0.5 / math.sqrt(len(found))


def test_the_example_of_a_sentence() -> None:
    assert doctest.testmod(agreement).failed == 0


def test_adding_marks_one_number_in_each_half() -> None:
    problem = Adding()
    examples = problem.draw(3, 4000)
    numbers, marks = examples.x.unbind(-1)
    assert marks[:, :100].sum(1).eq(1).all()
    assert marks[:, 100:].sum(1).eq(1).all()
    for row in range(20):
        chosen = numbers[row][marks[row] > 0]
        assert float(examples.targets[row]) == pytest.approx(float(chosen.sum()))
    # Always answering 1 has the variance of the sum of two uniform numbers.
    ones = torch.ones(4000, 200, 1)
    assert float(problem.loss(ones, examples)) == pytest.approx(1 / 6, abs=0.01)


def test_copying_asks_for_the_symbols_after_the_sign() -> None:
    problem = Copying()
    examples = problem.draw(1, 50)
    tokens = examples.x.argmax(-1)
    assert tokens.shape == (50, 520)
    assert tokens[:, :10].max() < 8
    assert (tokens[:, 10:509] == 8).all()
    assert (tokens[:, 509] == 9).all()
    assert (tokens[:, 510:] == 8).all()
    assert (examples.targets[:, :510] == 8).all()
    assert torch.equal(examples.targets[:, 510:], tokens[:, :10])
    # Blanks where they are known, and even chances among eight symbols at the end.
    outputs = torch.zeros(50, 520, 9)
    outputs[:, :510, 8] = 100
    outputs[:, 510:, 8] = -100
    assert float(problem.loss(outputs, examples)) == pytest.approx(problem.baseline, rel=1e-5)
    assert problem.baseline == pytest.approx(10 * math.log(8) / 520)
    perfect = torch.nn.functional.one_hot(examples.targets, 9).float()
    assert problem.recall(perfect, examples) == 1


@pytest.mark.parametrize(
    "problem", [Adding(), Copying(), Agreement()], ids=lambda p: type(p).__name__
)
def test_draws_are_fixed_by_their_seed(problem: Adding | Copying | Agreement) -> None:
    one, again, other = problem.draw(5, 3), problem.draw(5, 3), problem.draw(6, 3)
    assert torch.equal(one.x, again.x)
    assert torch.equal(one.targets, again.targets)
    assert one.x.shape != other.x.shape or not torch.equal(one.x, other.x)


def test_the_cells_are_of_about_the_same_size() -> None:
    for problem in (Adding(), Copying()):
        sizes = [sum(w.numel() for w in Reader(problem, cell).parameters()) for cell in HIDDEN]
        assert max(sizes) < 1.06 * min(sizes)


def test_chrono_gates_begin_with_memories_of_up_to_so_many_steps() -> None:
    for cell, gate in (("gru", "b_z"), ("lstm", "b_f")):
        weights = Reader(Copying(), cell, chrono=True).recurrent.weights()
        times = weights[gate].detach().exp()
        assert 1 <= float(times.min()) < 120
        assert 380 < float(times.max()) <= 499
        if cell == "lstm":
            assert torch.equal(weights["b_i"], -weights["b_f"])


def test_a_short_sum_is_learned() -> None:
    trained = train(Adding(memory=10), "gru", steps=200, lr=0.01)
    outputs, examples = trained.outputs(Adding(memory=10))
    assert float(Adding(memory=10).loss(outputs, examples)) < 0.05
    assert [step for step, _ in trained.curve] == list(range(8, 201, 8))


def test_a_sentence_asks_for_its_next_words_and_then_for_the_verb() -> None:
    problem = Agreement(memory=12)
    examples = problem.draw(0, 8)
    assert (examples.x.sum(-1) == 1).all()
    assert torch.equal(examples.targets[:, :-1], examples.x.argmax(-1)[:, 1:])
    for asked in examples.targets[:, -1].tolist():
        assert agreement.WORDS[asked] in agreement.VERBS
    right = torch.nn.functional.one_hot(examples.targets, problem.outputs) * 50.0
    assert problem.accuracy(right, examples) == 1
    assert problem.accuracy(-right, examples) == 0
    assert float(problem.loss(right, examples)) < 1e-6


def test_the_table_has_a_row_for_each_cell() -> None:
    told = {"parameters": 1234, "seconds": 5.0, "curve": [[10, 0.5]]}
    lines = table(
        {cell: told | {"error": 0.25} for cell in HIDDEN},
        {cell: told | {"loss": 0.04, "recall": 0.125} for cell in [*HIDDEN, "gru chrono"]},
        {cell: told | {"accuracy": {"5": 1.0, "10": 0.75}} for cell in HIDDEN},
    )
    assert "| gru | 1,234 | 1.000 | 0.750 |" in lines
    assert "| lstm | 1,234 | 2.50e-01 | 5 s, 10 steps |" in lines
    assert "| gru chrono | 1,234 | 0.0400 | 0.125 | 5 s, 10 steps |" in lines
