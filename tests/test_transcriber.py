"""The transcriber against its equations, the sum over all alignments, and a stream."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from comporta.cells import get
from comporta.errors import ConfigurationError
from comporta.models import (
    Advisor,
    LanguageModel,
    LanguageModelConfig,
    SeriesInput,
    Transcriber,
    TranscriberConfig,
    alignment_loss,
    log_probabilities,
)
from comporta.models.ctc import GreedyStream, greedy, prefix_beam

D, V = 3, 4


def small(**changes: object) -> Transcriber:
    config: dict[str, object] = {"hidden": 6, "layers": 2, "dropout": 0.0}
    inputs = SeriesInput([0.5, -1.0, 0.0], [2.0, 1.0, 3.0])
    made = TranscriberConfig(**(config | changes))  # type: ignore[arg-type]
    return Transcriber(made, inputs=inputs, vocabulary=V).double().eval()


def frames(batch: int = 3, time: int = 11) -> Tensor:
    return torch.randn(batch, time, D, dtype=torch.float64)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_row_alone_is_a_row_among_others(bidirectional: bool) -> None:
    model, batch = small(bidirectional=bidirectional), frames()
    lengths = [11, 6, 1]
    found = model(batch, lengths)
    torch.testing.assert_close(found.exp().sum(2), torch.ones(3, 11, dtype=torch.float64))
    for row, length in enumerate(lengths):
        alone = model(batch[row : row + 1, :length], [length])
        torch.testing.assert_close(found[row, :length], alone[0])


def test_frames_are_brought_to_scale_and_read_one_by_one() -> None:
    model, batch = small(), frames(batch=1, time=4)
    expected, state = [], None
    for frame in batch[0]:
        scaled = (frame - model.inputs.mean) / model.inputs.deviation
        output, state = model.recurrent.step(scaled.unsqueeze(0), state)
        expected.append((output @ model.output.weight.T + model.output.bias).log_softmax(1)[0])
    torch.testing.assert_close(model(batch, [4])[0], torch.stack(expected))


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_a_stream_gives_what_the_whole_gives(cell: str) -> None:
    model, batch = small(cell=get(cell)), frames(batch=1, time=24)
    whole = model(batch, [24])[0]
    state, found, stream, tokens = None, [], GreedyStream(model.blank), []
    for piece in batch.split([2, 6, 4, 0, 12], dim=1):
        log_p, state = model.advance(piece, state)
        found.append(log_p[0])
        tokens += stream.feed(log_p[0])
    torch.testing.assert_close(torch.cat(found), whole)
    assert tokens == greedy(whole, model.blank)


def test_two_directions_cannot_stream() -> None:
    with pytest.raises(ConfigurationError, match="needs the whole recording"):
        small(bidirectional=True).advance(frames())


def test_the_loss_is_the_sum_over_all_alignments_and_so_is_its_gradient() -> None:
    lengths, targets = torch.tensor([5, 3]), [torch.tensor([1, 0, 0]), torch.tensor([0])]
    logits = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    log_p, blank = logits.log_softmax(2), 2
    expected = torch.zeros((), dtype=torch.float64)
    for row, target in enumerate(targets):
        alignments = [
            path
            for path in itertools.product(range(3), repeat=int(lengths[row]))
            if [k for k, _ in itertools.groupby(path) if k != blank] == target.tolist()
        ]
        each = [sum(log_p[row, t, k] for t, k in enumerate(path)) for path in alignments]
        expected = expected - torch.stack(each).logsumexp(0)  # type: ignore[arg-type]
    found = alignment_loss(log_p, lengths, targets, blank=blank)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, logits, retain_graph=True), torch.autograd.grad(expected, logits)
    )


def test_a_target_without_room_costs_infinitely_much() -> None:
    log_p = torch.zeros(1, 2, 3).log_softmax(2)
    assert math.isinf(alignment_loss(log_p, torch.tensor([2]), [torch.tensor([1, 1])], blank=0))


def test_gradients_of_the_whole_model() -> None:
    model, lengths = small(hidden=3), torch.tensor([11, 6, 3])
    targets = [torch.tensor([1, 1]), torch.tensor([3]), torch.tensor([0])]

    def loss(batch: Tensor) -> Tensor:
        return alignment_loss(model(batch, lengths), lengths, targets, blank=model.blank)

    assert torch.autograd.gradcheck(loss, frames().requires_grad_())


def test_a_language_model_advises_symbol_by_symbol() -> None:
    language = LanguageModel(LanguageModelConfig(hidden=5), vocabulary=7).double().eval()
    # The blank, symbol 4, has no token; the language model's 0 and 3 are no symbols.
    tokens = torch.tensor([2, 6, 1, 5, 0])
    log_p = frames(batch=1, time=4)[0, :, :1].new_zeros(4, 5).normal_().log_softmax(1)
    found = prefix_beam(
        log_p, width=3000, blank=4, scorer=Advisor(language, tokens), weight=0.8, bonus=0.2
    )
    assert len(found) > 100
    for hypothesis in found[:40]:
        told = log_probabilities(language, tokens[torch.tensor(hypothesis.tokens).long()])
        extra = 0.8 * float(told.sum()) + 0.2 * len(hypothesis.tokens)
        assert hypothesis.score == pytest.approx(hypothesis.log_probability + extra)


def test_it_learns_where_symbols_are_from_their_order_alone() -> None:
    random = torch.Generator().manual_seed(0)

    def spoken(tokens: list[int]) -> Tensor:
        """Each symbol as two to five noisy frames of its own, a pause after each."""
        parts = []
        for token in tokens:
            ones = torch.nn.functional.one_hot(torch.tensor(token), D).float()
            parts += [ones.expand(int(torch.randint(2, 6, (), generator=random)), D)]
            parts += [torch.zeros(int(torch.randint(2, 4, (), generator=random)), D)]
        clean = torch.cat(parts)
        return clean + 0.1 * torch.randn(clean.shape, generator=random)

    texts = [torch.randint(D, (5,), generator=random).tolist() for _ in range(60)]
    sounds = [spoken(text) for text in texts]
    config = TranscriberConfig(hidden=16, layers=1, dropout=0.0)
    model = Transcriber(config, inputs=SeriesInput([0.0] * D, [1.0] * D), vocabulary=D)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    lengths = torch.tensor([len(sound) for sound in sounds])
    targets = [torch.tensor(text) for text in texts[:40]]
    batch = torch.nn.utils.rnn.pad_sequence(sounds, batch_first=True)
    for _ in range(80):
        log_p = model(batch[:40], lengths[:40])
        loss = alignment_loss(log_p, lengths[:40], targets, blank=D) / 200
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    log_p = model(batch[40:], lengths[40:])
    found = [greedy(row[:n], D) for row, n in zip(log_p, lengths[40:].tolist(), strict=True)]
    assert found == texts[40:]


def test_wrong_settings_are_refused() -> None:
    for wrong, message in (
        ({"layers": 0}, "layers is 0; it must be at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"hidden": 0}, "hidden is 0"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            TranscriberConfig(**wrong)  # type: ignore[arg-type]
