"""The translator against its equations, step by step; what it learns, and what it must not see."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from comporta.cells import get
from comporta.errors import ConfigurationError, ShapeError
from comporta.models import Translator, TranslatorConfig, TranslatorState
from comporta.models.beam import beam_search
from comporta.nn import Attention

START, END = 0, 1
FORMS: list[dict[str, object]] = [
    {"attention": "none"},
    {"attention": "none", "layers": 2, "bidirectional": False, "cell": get("lstm")},
    {"attention": "additive"},
    {"attention": "additive", "layers": 3, "dropout": 0.4, "cell": get("lstm")},
    {"attention": "general", "layers": 2, "tied": True},
    {"attention": "dot", "bidirectional": False},
]
forms = pytest.mark.parametrize("form", FORMS, ids=str)


def small(**changes: object) -> Translator:
    torch.manual_seed(1)
    config: dict[str, object] = {"cell": get("gru"), "embedding": 5, "hidden": 8}
    return (
        Translator(
            TranslatorConfig(**(config | changes)),  # type: ignore[arg-type]
            source_vocabulary=9,
            target_vocabulary=7,
            start=START,
            end=END,
        )
        .double()
        .eval()
    )


def batch() -> tuple[Tensor, Tensor, Tensor]:
    """Sources, their lengths, and targets; of three unequal rows."""
    targets = torch.randint(2, 7, (3, 6))
    for row, length in enumerate((6, 3, 1)):
        targets[row, length - 1] = END
        targets[row, length:] = -100
    return torch.randint(9, (3, 5)), torch.tensor([5, 2, 1]), targets


def stepped(model: Translator, state: TranslatorState, inputs: Tensor) -> Tensor:
    found = []
    for tokens in inputs.unbind(1):
        log_probabilities, state = model.step(tokens, state)
        found.append(log_probabilities)
    return torch.stack(found, 1)


def by_hand(attention: Attention, query: Tensor, place: Tensor) -> Tensor:
    """v . tanh(W q + b + U m), of one row."""
    inner = query @ attention.query.weight.T + attention.query.bias + place @ attention.key.weight.T
    return (attention.score.weight * torch.tanh(inner)).sum(1)


@torch.no_grad()
def test_the_model_is_its_equations() -> None:
    """One source token after the other, one target token after the other, sums written out."""
    model = small(attention="additive", layers=2, bidirectional=False)
    assert model.attention is not None
    assert model.upper is not None
    source, target = [4, 8, 2], [START, 5, 3, 6]
    memory, ends = [], None
    for token in source:
        output, ends = model.encoder.step(model.source_embedding.weight[[token]], ends)
        memory.append(output)
    assert ends is not None
    states = [
        torch.tanh(end.h @ bridge.weight.T + bridge.bias)  # type: ignore[attr-defined]
        for end, bridge in zip(ends, model.bridges, strict=True)
    ]
    expected, expected_weights = [], []
    for token in target:
        vector = model.target_embedding.weight[[token]]
        query, ((states[0],),) = model.first.step(vector, ((states[0],),))
        scores = [by_hand(model.attention, query, m) for m in memory]
        chances = torch.cat(scores).exp() / torch.cat(scores).exp().sum()
        context = torch.stack([chances[s] * m for s, m in enumerate(memory)]).sum(0)
        output, ((states[1],),) = model.upper.step(torch.cat([query, context], 1), ((states[1],),))
        read = torch.tanh(
            torch.cat([vector, output, context], 1) @ model.readout.weight.T + model.readout.bias
        )
        expected.append(read @ model.output.weight.T + model.output.bias)
        expected_weights.append(chances)
    logits, weights = model(torch.tensor([source]), None, torch.tensor([target]))
    torch.testing.assert_close(logits[0], torch.cat(expected))
    torch.testing.assert_close(weights[0], torch.stack(expected_weights))


@forms
@torch.no_grad()
def test_step_by_step_is_the_whole_target(form: dict[str, object]) -> None:
    model = small(**form)
    source, lengths, targets = batch()
    inputs = model.inputs(targets)
    whole, _ = model(source, lengths, inputs)
    found = stepped(model, model.encode(source, lengths), inputs)
    torch.testing.assert_close(found, whole.log_softmax(-1))


@forms
@torch.no_grad()
def test_padding_changes_nothing(form: dict[str, object]) -> None:
    """Each row alone, without padding, is that row in the batch."""
    model = small(**form)
    source, lengths, targets = batch()
    inputs = model.inputs(targets)
    logits, weights = model(source, lengths, inputs)
    for row, (long, wide) in enumerate(zip((6, 3, 1), lengths.tolist(), strict=True)):
        alone = source[row : row + 1, :wide], None, inputs[row : row + 1, :long]
        expected, expected_weights = model(*alone)
        torch.testing.assert_close(logits[row, :long], expected[0])
        if weights is not None:
            torch.testing.assert_close(weights[row, :long, :wide], expected_weights[0])


@pytest.mark.parametrize("form", [f for f in FORMS if f["attention"] != "none"], ids=str)
@torch.no_grad()
def test_attention_is_a_distribution_over_the_tokens_that_count(form: dict[str, object]) -> None:
    source, lengths, targets = batch()
    model = small(**form)
    _, weights = model(source, lengths, model.inputs(targets))
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 6, dtype=torch.float64))
    for row, length in enumerate(lengths):
        assert (weights[row, :, :length] > 0).all()
        assert (weights[row, :, length:] == 0).all()


@torch.no_grad()
def test_without_attention_there_are_no_weights() -> None:
    source, lengths, targets = batch()
    model = small(attention="none")
    assert model(source, lengths, model.inputs(targets))[1] is None


@forms
def test_every_parameter_learns(form: dict[str, object]) -> None:
    model = small(**form)
    source, lengths, targets = batch()
    model.losses(source, lengths, targets).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert float(parameter.grad.abs().max()) > 0, name


@forms
def test_no_step_sees_what_comes_after_it(form: dict[str, object]) -> None:
    model = small(**form)
    source, lengths, targets = batch()
    vectors: list[Tensor] = []

    def keep(_: object, __: object, output: Tensor) -> None:
        output.retain_grad()
        vectors.append(output)

    model.target_embedding.register_forward_hook(keep)
    logits, _ = model(source, lengths, model.inputs(targets))
    logits[:, 2].sum().backward()
    assert vectors[0].grad is not None
    assert (vectors[0].grad[:, :3].abs().amax((0, 2)) > 0).all()
    assert (vectors[0].grad[:, 3:] == 0).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@torch.no_grad()
def test_the_losses_are_those_of_the_targets_that_count(smoothing: float) -> None:
    model = small()
    source, lengths, targets = batch()
    found = model.losses(source, lengths, targets, label_smoothing=smoothing)
    logits, _ = model(source, lengths, model.inputs(targets))
    expected = []
    for b, t in itertools.product(range(3), range(6)):
        if targets[b, t] >= 0:
            weights = logits[b, t].exp().tolist()
            chances = [
                smoothing / 7 + (1 - smoothing) * (token == int(targets[b, t]))
                for token in range(7)
            ]
            expected.append(
                -sum(c * math.log(w / sum(weights)) for c, w in zip(chances, weights, strict=True))
            )
    assert found.tolist() == pytest.approx(expected)


def test_scheduled_sampling_of_nothing_is_teacher_forcing() -> None:
    model = small()
    source, lengths, targets = batch()
    logits, _ = model(source, lengths, model.inputs(targets))
    losses = model.losses(source, lengths, targets, scheduled_sampling=0.0)
    counts = targets >= 0
    torch.testing.assert_close(
        losses, -logits.log_softmax(-1)[counts].gather(1, targets[counts].unsqueeze(1))[:, 0]
    )


def read_inputs(model: Translator, targets: Tensor, *, probability: float) -> Tensor:
    """What the decoder read in the pass that has a gradient."""
    read: list[Tensor] = []
    hook = model.target_embedding.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    source = torch.randint(9, (len(targets), 4))
    model.losses(source, None, targets, scheduled_sampling=probability).sum().backward()
    hook.remove()
    return read[-1]


def test_scheduled_sampling_replaces_inputs_by_predictions() -> None:
    """A model sure of token 4 feeds itself 4, at every step but the first."""
    model = small()
    with torch.no_grad():
        model.output.bias[4] = 50.0
    targets = torch.randint(5, 7, (200, 11))
    found = read_inputs(model, targets, probability=1.0)
    assert (found[:, 0] == START).all()
    assert (found[:, 1:] == 4).all()
    found = read_inputs(model, targets, probability=0.3)[:, 1:]
    own = found == 4
    # 2000 draws: five standard deviations are 0.051.
    assert float(own.double().mean()) == pytest.approx(0.3, abs=0.051)
    assert torch.equal(found[~own], targets[:, :-1][~own])


def test_scheduled_sampling_draws_in_proportion() -> None:
    """Chi-square over 2000 draws; 16.81 is the 99 % point at 6 degrees of freedom."""
    model = small()
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.arange(7) / 3)
    found = read_inputs(model, torch.full((200, 11), END), probability=1.0)[:, 1:]
    expected = 2000 * model.output.bias.detach().softmax(0)
    counts = torch.bincount(found.flatten(), minlength=7)
    assert float(((counts - expected) ** 2 / expected).sum()) < 16.81


@pytest.mark.parametrize("attention", ["none", "additive", "general"])
def test_it_learns_to_copy(attention: str) -> None:
    """Sources of unequal length, said again with `end` after them, greedily and step by step."""
    model = small(attention=attention, hidden=32, embedding=16).float().train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    lengths = torch.arange(24) % 3 + 2
    source = torch.randint(2, 7, (24, 4))
    places = torch.arange(5)
    targets = torch.full((24, 5), -100)
    targets[:, :4] = source
    targets[places == lengths[:, None]] = END
    targets[places > lengths[:, None]] = -100
    for _ in range(150):
        optimizer.zero_grad()
        model.losses(source, lengths, targets).mean().backward()
        optimizer.step()
    model.eval()
    tokens, state = torch.full((24,), START), model.encode(source, lengths)
    for expected in targets.T:
        scores, state = model.step(tokens, state)
        tokens = scores.argmax(-1)
        assert torch.equal(tokens[expected >= 0], expected[expected >= 0])


@pytest.mark.parametrize("attention", ["none", "additive"])
@torch.no_grad()
def test_what_a_beam_finds_has_the_probability_of_the_whole_target(attention: str) -> None:
    model = small(attention=attention)
    source, lengths, _ = batch()
    found = beam_search(
        model.encode(source, lengths), model.step, width=3, start=START, end=END, longest=40
    )
    for row, hypotheses in enumerate(found):
        assert len(hypotheses) == 3
        for hypothesis in hypotheses:
            alone = source[row : row + 1], lengths[row : row + 1]
            losses = model.losses(*alone, torch.tensor([[*hypothesis.tokens, END]]))
            assert hypothesis.log_probability == pytest.approx(-float(losses.sum()))


def test_dropout_acts_in_training_alone() -> None:
    model = small(dropout=0.4)
    source, lengths, targets = batch()
    torch.testing.assert_close(*(model.losses(source, lengths, targets) for _ in range(2)))
    model.train()
    first, second = (model.losses(source, lengths, targets) for _ in range(2))
    assert not torch.allclose(first, second)


def test_tied_weights_are_one_tensor() -> None:
    model = small(tied=True)
    assert model.output.weight is model.target_embedding.weight
    untied = small()
    assert untied.output.weight is not untied.target_embedding.weight


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hidden": 0}, "hidden is 0; it must be at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"attention": "generl"}, "unknown attention 'generl'; did you mean general"),
        ({"attention": "dot"}, "the decoder has 8, the two directions of the encoder have 16"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        small(**changes)


def test_start_and_end_are_tokens_of_the_target() -> None:
    with pytest.raises(ConfigurationError, match="end is 7; the target has the tokens 0 to 6"):
        Translator(small().config, source_vocabulary=9, target_vocabulary=7, start=START, end=7)


def test_tokens_that_the_model_does_not_know_are_refused() -> None:
    model, known = small(), torch.tensor([[1, 2]])
    with pytest.raises(ShapeError, match=r"source tokens lie between 3 and 9; .* knows 0 to 8"):
        model(torch.tensor([[3, 9]]), None, known)
    with pytest.raises(ShapeError, match=r"target tokens lie between -1 and 2; .* knows 0 to 6"):
        model(known, None, torch.tensor([[2, -1]]))
    with pytest.raises(ShapeError, match=r"source tokens have shape \(2,\)"):
        model.encode(torch.tensor([1, 2]))
