"""The generator's mathematics: both losses by independent formulas, steps, and what is drawn."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from comporta.data import read_midi, write_midi
from comporta.data.notes import format_notes, parse_notes
from comporta.errors import ConfigurationError, DataError, ShapeError
from comporta.models import (
    Conditioned,
    Generator,
    GeneratorConfig,
    Sampling,
    generate,
    generate_keys,
    key_losses,
    log_probabilities,
)
from comporta.tasks.conditions import ClassCondition, NoCondition, VectorCondition
from comporta.tasks.outputs import KeyOutput, TokenOutput, transposed

KEYS = 6


def small(*, keys: bool = False, condition: nn.Module | None = None, **sizes: object) -> Generator:
    torch.manual_seed(1)
    config = GeneratorConfig(**({"embedding": 4, "hidden": 8} | sizes))  # type: ignore[arg-type]
    return Generator(config, size=KEYS, keys=keys, condition=condition).double().eval()


def conditioned(*, keys: bool = False, **sizes: object) -> Conditioned:
    torch.manual_seed(2)
    model = small(keys=keys, condition=nn.Embedding(3, 4), **sizes)
    return Conditioned(model, torch.tensor([2]))


def gru_by_hand(model: Generator, inputs: np.ndarray) -> np.ndarray:
    """Logits of a one-layer GRU in NumPy from its vectors (T, D), by the formulas of the cell."""
    w = {name: value.detach().numpy() for name, value in model.recurrent.weights().items()}
    h, found = np.zeros(8), []

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    for x in inputs:
        r = sigmoid(w["W_r"] @ x + w["U_r"] @ h + w["b_r"])
        z = sigmoid(w["W_z"] @ x + w["U_z"] @ h + w["b_z"])
        n = np.tanh(w["W_n"] @ x + w["b_n"] + r * (w["U_n"] @ h + w["c_n"]))
        h = (1 - z) * n + z * h
        found.append(model.output.weight.detach().numpy() @ h + model.output.bias.detach().numpy())
    return np.array(found)


@torch.no_grad()
def test_a_roll_costs_what_the_formulas_say() -> None:
    """In NumPy: the frames before, the condition, and a Bernoulli variable for each key."""
    model = small(keys=True, condition=nn.Embedding(3, 4))
    frames = np.random.default_rng(0).random((5, KEYS)) < 0.4
    before = np.concatenate([np.zeros((1, KEYS)), frames[:-1]])
    assert isinstance(model.condition, nn.Embedding)
    vectors = before @ model.embedding.weight.numpy().T + model.condition.weight[1].numpy()
    p = 1 / (1 + np.exp(-gru_by_hand(model, vectors)))
    expected = -np.where(frames, np.log(p), np.log(1 - p)).sum(1)
    output = KeyOutput()
    targets = torch.from_numpy(frames.astype(np.int8))[None]
    logits, _ = model(output.inputs(targets), torch.tensor([1]))
    np.testing.assert_allclose(output.losses(logits, targets)[0].numpy(), expected, rtol=1e-10)


def test_padding_costs_nothing_and_changes_nothing() -> None:
    store = KeyOutput().store([np.eye(2, 88, dtype=bool), np.ones((5, 88), dtype=bool)])
    targets = KeyOutput().targets(store, [0, 1])
    logits = torch.randn(2, 5, 88, dtype=torch.float64)
    losses = KeyOutput().losses(logits, targets)
    assert losses.shape == (2, 5)
    assert losses[0, 2:].tolist() == [0, 0, 0]
    torch.testing.assert_close(losses[:1, :2], key_losses(logits[:1, :2], targets[:1, :2]))
    assert KeyOutput().inputs(targets).min() == 0


@pytest.mark.parametrize("keys", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm", "mingru"])
@torch.no_grad()
def test_step_by_step_is_the_whole_sequence(keys: bool, cell: str) -> None:
    from comporta.cells import get

    view = conditioned(keys=keys, cell=get(cell), layers=2)
    inputs = (torch.rand(1, 7, KEYS) < 0.5) if keys else torch.randint(-1, KEYS, (1, 7))
    whole, _ = view(inputs)
    state = None
    for place in range(7):
        logits, state = view.step(inputs[:, place], state)
        torch.testing.assert_close(logits, whole[:, place])


@torch.no_grad()
def test_all_frames_and_all_tokens_have_probability_one_together() -> None:
    frames = torch.tensor(list(itertools.product([0, 1], repeat=KEYS)))[:, None]
    logits, _ = small(keys=True)(torch.zeros(64, 1, KEYS))
    assert float((-key_losses(logits, frames)).exp().sum()) == pytest.approx(1.0)
    pairs = [
        float(log_probabilities(conditioned(), torch.tensor(pair)).sum().exp())
        for pair in itertools.product(range(KEYS), repeat=2)
    ]
    assert sum(pairs) == pytest.approx(1.0)


def test_a_condition_is_needed_where_there_is_one() -> None:
    with pytest.raises(ShapeError, match="takes a condition"):
        small(condition=nn.Embedding(3, 4))(torch.tensor([[1]]))
    with pytest.raises(ShapeError, match="takes no condition"):
        small()(torch.tensor([[1]]), torch.tensor([0]))
    with pytest.raises(ShapeError, match=r"shape \(1, 2, 5\); expected \(B, T, 6\)"):
        small(keys=True)(torch.zeros(1, 2, 5))
    with pytest.raises(ConfigurationError, match="hidden is 0"):
        small(hidden=0)


def draw(view: Conditioned, *, seed: int = 0, temperature: float = 1.0, length: int = 20) -> Tensor:
    return generate_keys(
        view,
        torch.zeros(1, KEYS, dtype=torch.bool),
        length=length,
        sampling=Sampling(temperature=temperature),
        generator=torch.Generator().manual_seed(seed),
    )


def test_a_seed_fixes_the_keys_and_leaves_the_global_generator_alone() -> None:
    view = conditioned(keys=True)
    before = torch.get_rng_state()
    assert torch.equal(draw(view), draw(view))
    assert not torch.equal(draw(view), draw(view, seed=4))
    assert torch.equal(torch.get_rng_state(), before)
    assert draw(view, length=0).shape == (0, KEYS)


@torch.no_grad()
def test_keys_are_drawn_with_their_probabilities() -> None:
    """Each key within four standard deviations over 2000 draws, at temperature 0.5 and at 0."""
    view = conditioned(keys=True)
    logits, _ = view(torch.zeros(1, 2, KEYS))
    p = torch.sigmoid(logits[0, -1] / 0.5)
    found = torch.stack(
        [draw(view, seed=seed, temperature=0.5, length=1)[0] for seed in range(2000)]
    )
    limit = 4 * (p * (1 - p) / 2000).sqrt()
    assert bool(((found.double().mean(0) - p).abs() < limit).all())
    assert torch.equal(draw(view, temperature=0, length=1)[0], logits[0, -1] > 0)


@torch.no_grad()
def test_the_last_output_is_the_next_input() -> None:
    view = conditioned(keys=True)
    frames = torch.zeros(1, KEYS, dtype=torch.bool)
    for _ in range(9):
        logits, _ = view(torch.cat([torch.zeros(1, KEYS), frames.double()])[None])
        frames = torch.cat([frames, logits[0, -1:] > 0])
    assert torch.equal(draw(view, temperature=0, length=9), frames[1:])
    tokens: list[int] = []
    for _ in range(9):
        tokens.append(int(conditioned()(torch.tensor([[-1, *tokens]]))[0][0, -1].argmax()))
    greedy = generate(
        conditioned(),
        torch.tensor([], dtype=torch.int64),
        length=9,
        sampling=Sampling(temperature=0),
        generator=torch.Generator(),
    )
    assert greedy == tokens


def test_transposing_moves_whole_pieces_and_loses_no_note() -> None:
    rolls = torch.zeros(40, 9, 88, dtype=torch.int8)
    rolls[:, :7, 40:60] = (torch.rand(40, 7, 20) < 0.3).to(torch.int8)
    rolls[0, 0, [0, 87]] = 1
    rolls[:, 7:] = -1
    moved = transposed(rolls, 5)
    ways = set()
    for before, after in zip(rolls, moved, strict=True):
        (way,) = {w for w in range(-5, 6) if torch.equal(before.roll(w, 1), after)}
        ways.add(way)
        assert torch.equal(before[:7].sum(1), after[:7].sum(1))
        assert bool((after[7:] == -1).all())
    assert torch.equal(moved[0], rolls[0])
    assert len(ways) == 11


def test_floors_by_brute_force() -> None:
    random = np.random.default_rng(0)
    training, held_out = ([random.random((n, 88)) < 0.1 for n in sizes] for sizes in ([9, 4], [7]))
    p = (np.concatenate(training).sum(0) + 1) / 15
    cells = [p[k] if frame[k] else 1 - p[k] for frame in held_out[0] for k in range(88)]
    found = KeyOutput().floor(training, held_out)
    assert found == pytest.approx(-np.log(cells).sum() / 7)
    output = TokenOutput.learn(["aab"], level="char", size=None)
    stored = output.store(["aab", "ba"])
    # The vocabulary is <unk>, a, b and the end; "aab." adds to one of each.
    share = {output.end: 2 / 8}
    share |= dict(zip(output.parse("ab").ids.tolist(), [3 / 8, 2 / 8], strict=True))
    expected = -np.mean([np.log(share[token]) for token in stored[1].tolist()])
    size = len({*share, output.vocabulary.unk})
    assert output.size == size
    assert output.floor([stored[0]], [stored[1]]) == pytest.approx(expected)


def test_conditions_refuse_what_they_do_not_know() -> None:
    classes = ClassCondition.learn(["b", "a", "b"])
    vectors = VectorCondition.learn(np.random.default_rng(0).normal(3, 2, (500, 2)))
    assert classes.encode("b", "x").tolist() == [1]
    for condition, given, words in [
        (classes, "ba", "line 3: the class 'ba' is not among those of the training data"),
        (classes, None, "line 3: a class is needed; known: a, b"),
        (vectors, np.zeros(3, dtype=np.float32), "line 3: a vector of 3 numbers; .* have 2"),
        (vectors, "a", "line 3: a vector of 2 numbers is needed"),
        (vectors, np.full(2, np.inf, dtype=np.float32), "line 3: .* not finite"),
        (NoCondition(), "a", "line 3: .*nothing given; leave it out"),
    ]:
        with pytest.raises(DataError, match=words):
            condition.encode(given, "line 3")


def test_vectors_are_brought_to_one_scale() -> None:
    found = np.random.default_rng(0).normal(3, 2, (500, 2)) * [1, 100]
    condition = VectorCondition.learn(found)
    np.testing.assert_allclose(condition.mean, found.mean(0))
    np.testing.assert_allclose(condition.deviation, found.std(0))


def test_notes_are_written_as_text_and_as_midi(tmp_path: Path) -> None:
    roll = parse_notes("60,64,67 - 21,108")
    assert roll.nonzero()[0].tolist() == [0, 0, 0, 2, 2]
    assert format_notes(roll) == "60,64,67 - 21,108"
    write_midi(tmp_path / "a.mid", roll)
    np.testing.assert_array_equal(read_midi(tmp_path / "a.mid"), roll)
    for text in ("20", "109", "C4", "60,", "60 ,62"):
        with pytest.raises(DataError, match="no note of a piano"):
            parse_notes(text)
