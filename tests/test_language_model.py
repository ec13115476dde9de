"""The language model against brute force: its loss, its scores, and what it draws."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from comporta.errors import ConfigurationError, ShapeError
from comporta.models import (
    LanguageModel,
    LanguageModelConfig,
    Sampling,
    generate,
    log_probabilities,
    probabilities,
    step_losses,
)
from comporta.nn import detach

FORMS: list[dict[str, object]] = [
    {},
    {"embedding": 0},
    {"start": 3},
    {"layers": 2, "dropout": 0.3},
    {"feed_forward": (7, 5)},
    {"tied": True, "embedding": 8},
    {"tied": True, "embedding": 5, "feed_forward": (5,)},
]


def small(**changes: object) -> LanguageModel:
    torch.manual_seed(1)
    sizes = {"vocabulary": 6, "start": None} | changes
    given = {name: sizes.pop(name) for name in ("vocabulary", "start")}
    config = LanguageModelConfig(**({"embedding": 4, "hidden": 8} | sizes))  # type: ignore[arg-type]
    return LanguageModel(config, **given).double().eval()  # type: ignore[arg-type]


def brute_force(model: LanguageModel, tokens: list[int]) -> list[float]:
    """log p of each token by running the model anew on each prefix."""
    start = -1 if model.start is None else model.start
    found = []
    for place, token in enumerate(tokens):
        logits, _ = model(torch.tensor([[start, *tokens[:place]]]))
        last = logits[0, -1]
        found.append(float(last[token] - torch.log(torch.exp(last).sum())))
    return found


@pytest.mark.parametrize("form", FORMS, ids=str)
@torch.no_grad()
def test_a_score_is_the_sum_of_the_steps_by_brute_force(form: dict[str, object]) -> None:
    model = small(**form)
    tokens = [1, 5, 0, 3, 3, 2]
    expected = brute_force(model, tokens)
    assert log_probabilities(model, torch.tensor(tokens)).tolist() == pytest.approx(expected)


@torch.no_grad()
def test_the_probabilities_of_all_sequences_of_one_length_sum_to_one() -> None:
    model = small(vocabulary=3)
    scores = [
        log_probabilities(model, torch.tensor(tokens)).sum()
        for tokens in itertools.product(range(3), repeat=4)
    ]
    assert float(torch.stack(scores).exp().sum()) == pytest.approx(1.0)


@torch.no_grad()
def test_a_score_in_chunks_is_the_score(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small(layers=2)
    tokens = torch.randint(6, (23,))
    whole = log_probabilities(model, tokens)
    monkeypatch.setattr("comporta.models.decode._CHUNK", 5)
    torch.testing.assert_close(log_probabilities(model, tokens), whole)


@pytest.mark.parametrize("form", FORMS, ids=str)
@torch.no_grad()
def test_step_by_step_is_the_whole_sequence(form: dict[str, object]) -> None:
    model = small(**form)
    inputs = torch.randint(-1, 6, (3, 7))
    whole, _ = model(inputs)
    state = None
    for place in range(7):
        logits, state = model.step(inputs[:, place], state)
        torch.testing.assert_close(logits, whole[:, place])


@torch.no_grad()
def test_no_token_is_the_zero_vector() -> None:
    model = small()
    assert model.embedding is not None
    expected, _ = model.recurrent(torch.zeros(1, 1, 4, dtype=torch.float64))
    torch.testing.assert_close(model(torch.tensor([[-1]]))[0], model.output(expected))


def test_the_loss_counts_the_targets_that_count() -> None:
    logits, targets = torch.randn(2, 3, 5).double(), torch.tensor([[1, 4, -100], [0, -100, 2]])
    losses = step_losses(logits, targets)
    for b, t in itertools.product(range(2), range(3)):
        if targets[b, t] == -100:
            assert losses[b, t] == 0
        else:
            weights = logits[b, t].exp()
            expected = -math.log(weights[targets[b, t]] / weights.sum())
            assert float(losses[b, t]) == pytest.approx(expected)


def gradients(model: LanguageModel, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def test_truncated_back_propagation_is_the_full_one_when_the_window_covers_the_text() -> None:
    """Two windows with the state carried: exact without detaching, different with it."""
    model = small(layers=2)
    inputs, targets = torch.randint(6, (2, 8)), torch.randint(6, (2, 8))
    full = gradients(model, step_losses(model(inputs)[0], targets).sum())

    def in_windows(cut: bool) -> list[Tensor]:
        first, state = model(inputs[:, :5])
        second, _ = model(inputs[:, 5:], detach(state) if cut else state)
        return gradients(model, step_losses(torch.cat([first, second], 1), targets).sum())

    for carried, expected in zip(in_windows(cut=False), full, strict=True):
        torch.testing.assert_close(carried, expected)
    cut = in_windows(cut=True)
    assert any((a - b).abs().max() > 1e-6 for a, b in zip(cut, full, strict=True))


def test_tied_weights_are_one_tensor() -> None:
    model = small(tied=True, embedding=8)
    assert model.embedding is not None
    assert model.output.weight is model.embedding.weight


def by_hand(logits: list[float], sampling: Sampling, forbidden: list[int]) -> list[float]:
    """The definition of temperature, top-k and top-p, one token at a time."""
    weights = [
        0.0 if i in forbidden else math.exp((x - max(logits)) / sampling.temperature)
        for i, x in enumerate(logits)
    ]
    ranked = sorted(range(len(logits)), key=lambda i: (-weights[i], i))
    ranked = [i for i in ranked if i not in forbidden]
    if sampling.top_k is not None:
        ranked = ranked[: sampling.top_k]
    if sampling.top_p is not None:
        total = sum(weights[i] for i in ranked)
        size = next(
            (
                n
                for n in range(1, len(ranked) + 1)
                if sum(weights[i] for i in ranked[:n]) >= sampling.top_p * total
            ),
            len(ranked),
        )
        ranked = ranked[:size]
    total = sum(weights[i] for i in ranked)
    return [weights[i] / total if i in ranked else 0.0 for i in range(len(logits))]


@settings(max_examples=200, deadline=None)
@given(
    # Multiples of a half, no two equal: every set has one answer, whatever the rounding.
    st.lists(st.integers(-12, 12).map(lambda n: n / 2), min_size=2, max_size=7, unique=True),
    st.sampled_from([0.3, 0.7, 1.0, 2.5]),
    st.none() | st.integers(1, 8),
    st.none() | st.sampled_from([0.05, 0.31, 0.52, 0.83, 0.97]),
    st.booleans(),
)
def test_top_k_and_top_p_keep_the_sets_of_their_definitions(
    logits: list[float], temperature: float, top_k: int | None, top_p: float | None, forbid: bool
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    forbidden = [0] if forbid else []
    found = probabilities(torch.tensor(logits), sampling, forbidden=forbidden)
    assert found.tolist() == pytest.approx(by_hand(logits, sampling, forbidden), abs=1e-9)


def test_temperature_zero_takes_the_most_probable() -> None:
    found = probabilities(torch.tensor([1.0, 3.0, 2.0]), Sampling(temperature=0), forbidden=[1])
    assert found.tolist() == [0, 0, 1]


def test_draws_have_the_frequencies_of_the_softmax() -> None:
    """Chi-square over 3000 first draws; 15.09 is the 99 % point at 5 degrees of freedom."""
    model = small()
    generator = torch.Generator().manual_seed(5)
    counts = torch.zeros(6, dtype=torch.float64)
    with torch.no_grad():
        logits, _ = model(torch.tensor([[-1, 2, 4]]))
    expected = 3000 * torch.exp(2 * logits[0, -1]) / torch.exp(2 * logits[0, -1]).sum()
    for _ in range(3000):
        drawn = generate(
            model,
            torch.tensor([2, 4]),
            length=1,
            sampling=Sampling(temperature=0.5),
            generator=generator,
        )
        counts[drawn[0]] += 1
    assert float(((counts - expected) ** 2 / expected).sum()) < 15.09


def draw(model: LanguageModel, *, seed: int = 3, **changes: object) -> list[int]:
    settings: dict[str, object] = {"length": 40, "sampling": Sampling()}
    return generate(
        model,
        torch.tensor([1]),
        generator=torch.Generator().manual_seed(seed),
        **(settings | changes),  # type: ignore[arg-type]
    )


def test_a_seed_fixes_the_draws_and_leaves_the_global_generator_alone() -> None:
    model = small()
    before = torch.get_rng_state()
    assert draw(model) == draw(model)
    assert draw(model) != draw(model, seed=4)
    assert torch.equal(torch.get_rng_state(), before)


def test_forbidden_tokens_never_come_and_stop_ends() -> None:
    model = small()
    assert {0, 2} <= set(draw(model))
    assert not {0, 2} & set(draw(model, forbidden=[0, 2]))
    free = draw(model)
    assert draw(model, stop=2) == free[: free.index(2)]


def test_drawing_goes_on_from_the_prime() -> None:
    model = small()
    greedy = draw(model, sampling=Sampling(temperature=0))
    tokens = [1]
    for _ in range(40):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([[-1, *tokens]]))[0][0, -1].argmax()))
    assert greedy == tokens[1:]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden": 0}, "hidden is 0; it must be at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"tied": True}, "embedding is 4, the last layer has 8"),
        ({"feed_forward": (0,)}, "every size must be at least 1"),
    ],
)
def test_sizes_that_cannot_be(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        small(**changes)


def test_inputs_that_are_no_tokens_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"shape \(2,\); expected \(B, T\)"):
        small()(torch.tensor([1, 2]))
    with pytest.raises(ShapeError, match="tokens from 0 to 6; the model knows 0 to 5"):
        small()(torch.tensor([[0, 6]]))
