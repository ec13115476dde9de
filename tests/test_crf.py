"""The conditional random field against the sum over all sequences of tags."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from comporta.errors import ConfigurationError, DataError, ShapeError
from comporta.nn.crf import CRF

K = 3
LENGTHS = [4, 1, 0, 2]
# O, B, I: I begins nothing and does not follow O; and here nothing ends with B.
ALLOWED = {
    "starts": torch.tensor([True, True, False]),
    "steps": torch.tensor([[True, True, False], [True, True, True], [True, True, True]]),
    "ends": torch.tensor([True, False, True]),
}
FORMS: list[dict[str, Tensor]] = [{}, ALLOWED, {"steps": ALLOWED["steps"]}]


def make(form: dict[str, Tensor]) -> CRF:
    crf = CRF(K, **form).double()
    for parameter in crf.parameters():
        torch.nn.init.normal_(parameter)
    return crf


def emit(batch: int = 4, time: int = 4) -> Tensor:
    return 2 * torch.randn(batch, time, K, dtype=torch.float64)


def sequences(crf: CRF, emissions: Tensor) -> dict[tuple[int, ...], float]:
    """The score of each sequence that is allowed, added up term by term."""
    found = {}
    for tags in itertools.product(range(K), repeat=len(emissions)):
        allowed = crf.starts[tags[0]] and crf.ends[tags[-1]]
        score = crf.start[tags[0]] + crf.end[tags[-1]]
        for t, tag in enumerate(tags):
            score = score + emissions[t, tag]
        for before, after in itertools.pairwise(tags):
            allowed = allowed and crf.steps[before, after]
            score = score + crf.step[before, after]
        if allowed:
            found[tags] = float(score)
    return found


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_probabilities_by_enumeration(form: dict[str, Tensor]) -> None:
    crf, emissions = make(form), emit(time=4)
    for length in range(1, 5):
        scores = sequences(crf, emissions[0, :length])
        partition = torch.tensor(list(scores.values()), dtype=torch.float64).exp().sum().log()
        rows = emissions[:1].expand(len(scores), -1, -1)
        tags = torch.full((len(scores), 4), -100)
        tags[:, :length] = torch.tensor(list(scores))
        lengths = [length] * len(scores)
        expected = partition - torch.tensor(list(scores.values()), dtype=torch.float64)
        torch.testing.assert_close(crf.loss(rows, tags, lengths), expected)
        torch.testing.assert_close(crf.log_partition(emissions[:1], [length])[0], partition)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_decoding_and_marginals_by_enumeration(form: dict[str, Tensor]) -> None:
    crf = make(form)
    for _ in range(10):
        emissions = emit()
        decoded, marginals = crf.decode(emissions, LENGTHS), crf.marginals(emissions, LENGTHS)
        for b, length in enumerate(LENGTHS):
            expected = torch.zeros(4, K, dtype=torch.float64)
            if length:
                scores = sequences(crf, emissions[b, :length])
                assert tuple(decoded[b]) == max(scores, key=lambda tags: scores[tags])
                values = torch.tensor(list(scores.values()), dtype=torch.float64).softmax(0)
                for tags, value in zip(scores, values, strict=True):
                    expected[range(length), list(tags)] += value
            torch.testing.assert_close(marginals[b], expected)
    assert decoded[2] == []


@pytest.mark.parametrize("form", FORMS)
def test_gradients(form: dict[str, Tensor]) -> None:
    crf, emissions = make(form), emit().requires_grad_()
    tags = torch.tensor([[1, 2, 0, 0], [0, -1, -1, -1], [9] * 4, [1, 2, 7, 7]])

    def loss(emissions: Tensor, *_: Tensor) -> Tensor:
        return crf.loss(emissions, tags, LENGTHS)  # The parameters are changed in place.

    assert torch.autograd.gradcheck(loss, (emissions, crf.start, crf.step, crf.end))


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    crf, emissions = make(ALLOWED), emit()
    tags = torch.tensor([[1, 2, 0, 0], [0] * 4, [0] * 4, [1, 2, 0, 0]])
    losses, decoded = crf.loss(emissions, tags, LENGTHS), crf.decode(emissions, LENGTHS)
    for b, length in enumerate(LENGTHS):
        emissions[b, length:] = torch.nan
        tags[b, length:] = -100
    torch.testing.assert_close(crf.loss(emissions, tags, LENGTHS), losses, rtol=0, atol=0)
    assert crf.decode(emissions, LENGTHS) == decoded
    longer = torch.cat([emissions, torch.full((4, 3, K), torch.inf)], 1)
    more = torch.cat([tags, tags[:, :3]], 1)
    torch.testing.assert_close(crf.loss(longer, more, LENGTHS), losses)
    assert crf.decode(longer, LENGTHS) == decoded
    for b, length in enumerate(LENGTHS):
        if length:
            row = slice(b, b + 1)
            alone = crf.loss(emissions[row, :length], tags[row, :length])
            torch.testing.assert_close(alone, losses[row])
            assert crf.decode(emissions[row, :length]) == decoded[row]
    assert losses[2] == 0


@torch.no_grad()
def test_what_is_forbidden_is_never_decoded() -> None:
    crf = make(ALLOWED)
    emissions = 50 * torch.randn(300, 9, K, dtype=torch.float64)
    emissions[:, :, 2] += 100
    lengths = (torch.arange(300) % 8 + 2).tolist()
    for tags in crf.decode(emissions, lengths):
        assert crf.starts[tags[0]]
        assert crf.ends[tags[-1]]
        assert all(crf.steps[before, after] for before, after in itertools.pairwise(tags))


def test_a_tag_that_nothing_follows_spoils_no_padding() -> None:
    steps = torch.ones(K, K, dtype=torch.bool)
    steps[2] = False
    crf, emissions = make({"steps": steps, "starts": ~steps[:, 0]}), emit(2, 6).requires_grad_()
    assert crf.starts.tolist() == [False, False, True]
    tags = torch.tensor([[2, 0, 0, 0, 0, 0]] * 2)
    losses = crf.loss(emissions, tags, [1, 1])
    torch.testing.assert_close(losses, torch.zeros(2, dtype=torch.float64))
    losses.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in crf.parameters())


def test_sure_and_wrong_emissions_stay_finite() -> None:
    crf = CRF(K, **ALLOWED)
    emissions = torch.tensor([[[0.0, 0.0, 300.0]] * 50])
    emissions.requires_grad_()
    loss = crf.loss(emissions, torch.zeros(1, 50, dtype=torch.int64))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(300 * 49, rel=1e-6)  # O against B I I I ...
    loss.sum().backward()
    assert emissions.grad is not None
    assert emissions.grad.isfinite().all()


def test_learning_finds_the_steps_of_the_data() -> None:
    """Tags that alternate and emissions that say nothing: the steps must tell."""
    crf, tags = CRF(2), torch.tensor([[0, 1, 0, 1, 0], [1, 0, 1, 0, 1]])
    optimizer = torch.optim.Adam(crf.parameters(), lr=0.3)
    emissions = torch.zeros(2, 5, 2)
    for _ in range(60):
        optimizer.zero_grad()
        crf.loss(emissions, tags).sum().backward()
        optimizer.step()
    emissions[:, 0] = torch.eye(2)
    assert crf.decode(emissions) == tags.tolist()


def test_a_saved_field_keeps_what_it_allows() -> None:
    other = CRF(K)
    other.load_state_dict(make(ALLOWED).state_dict())
    assert other.starts.equal(ALLOWED["starts"])
    assert other.steps.equal(ALLOWED["steps"])


def test_refusals() -> None:
    crf, emissions = make(ALLOWED), emit(2, 3)
    tags = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ConfigurationError, match="tags is 0"):
        CRF(0)
    with pytest.raises(ConfigurationError, match=r"steps must be bool of shape \(3, 3\)"):
        CRF(3, steps=torch.ones(3, 3))
    with pytest.raises(ShapeError, match="K = 3 and T at least 1"):
        crf.decode(torch.zeros(2, 0, 3))
    with pytest.raises(ShapeError, match="the tags have shape"):
        crf.loss(emissions, tags[:, :2])
    with pytest.raises(ShapeError, match="from 0 to 3"):
        crf.loss(emissions, tags + torch.tensor([0, 1, 3]))
    with pytest.raises(DataError, match=r"row 1 .* \[0, 2\]"):
        crf.loss(emissions, torch.tensor([[0, 0, 0], [0, 2, 2]]), [3, 2])
