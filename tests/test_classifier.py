"""The classifier and what reads its batches, held against the same formulas written another way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from comporta.errors import ConfigurationError, ShapeError
from comporta.models import Classifier, ClassifierConfig, FrameInput, SeriesInput, TokenInput

LENGTHS = [5, 1, 3]
KINDS = list(itertools.product(["last", "mean", "max", "attention"], [False, True]))


@pytest.mark.parametrize(("pooling", "bidirectional"), KINDS)
def test_a_row_is_cells_then_pooling_then_one_layer(pooling: str, bidirectional: bool) -> None:
    """Row by row and without padding."""
    config = ClassifierConfig(hidden=4, pooling=pooling, bidirectional=bidirectional)
    model = Classifier(config, inputs=TokenInput(9, 3), outputs=2).double().eval()
    batch = torch.randint(9, (3, 5))
    found = model(batch, LENGTHS)
    for row, length in enumerate(LENGTHS):
        output, _ = model.recurrent(model.inputs.embedding(batch[row : row + 1, :length]))
        steps = output[0]
        match pooling:
            case "last":
                # The reverse direction ends at the first step.
                pooled = torch.cat([steps[-1, :4], steps[0, 4:]])
            case "mean":
                pooled = steps.sum(0) / length
            case "max":
                pooled = torch.stack([column.max() for column in steps.T])
            case _:
                assert model.attention is not None
                pooled = model.attention(steps[None])[0][0]
        expected = model.output.weight @ pooled + model.output.bias
        torch.testing.assert_close(found[row], expected)


def test_padding_changes_nothing() -> None:
    model = Classifier(ClassifierConfig(hidden=4), inputs=TokenInput(9, 3), outputs=2).eval()
    batch = torch.randint(9, (3, 5))
    other = batch.clone()
    for row, length in enumerate(LENGTHS):
        other[row, length:] = 8 - other[row, length:]
    assert model(batch, LENGTHS).equal(model(other, LENGTHS))


def test_a_dropped_token_is_dropped_wherever_it_stands() -> None:
    module = TokenInput(1000, 2, dropout=0.25).train()
    tokens = torch.arange(1000).repeat(2, 1)
    vectors = module(tokens)
    assert vectors[0].equal(vectors[1])
    dropped = (vectors[0] == 0).all(1)
    assert 0.2 < float(dropped.float().mean()) < 0.3
    expected = module.embedding.weight[~dropped] / 0.75
    torch.testing.assert_close(vectors[0][~dropped], expected)
    assert module.eval()(tokens)[0].equal(module.embedding.weight)


def test_vectors_learned_elsewhere_are_taken() -> None:
    module = TokenInput(500, 8)
    vectors = 0.3 * torch.randn(500, 8)
    known = torch.arange(500) < 250
    module.begin_with(vectors, known)
    assert module.embedding.weight[:250].equal(vectors[:250])
    assert float(module.embedding.weight[250:].detach().std()) == pytest.approx(0.3, rel=0.1)


def test_series_are_brought_to_one_scale() -> None:
    values = torch.randn(4, 6, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.0]) + 2
    flat = values.flatten(0, 1)
    module = SeriesInput(flat.mean(0).tolist(), flat.std(0, correction=0).tolist()).double()
    found = module(values).flatten(0, 1)
    torch.testing.assert_close(found.mean(0), torch.zeros(3).double(), atol=1e-6, rtol=0)
    expected = torch.tensor([1.0, 1.0, 0.0]).double()
    torch.testing.assert_close(found.std(0, correction=0), expected, atol=1e-5, rtol=0)


def test_frames_are_convolved_one_by_one() -> None:
    """Sums over windows by hand, in float64."""
    module = FrameInput(9, 4).double()
    frames = torch.randint(256, (2, 3, 9, 9, 3), dtype=torch.uint8)
    frames[1, 1] = 70  # of one colour: no deviation
    found = module(frames)
    for frame, vector in zip(frames.flatten(0, 1), found.flatten(0, 1), strict=True):
        values = frame.numpy() / 127.5 - 1
        mean = values.mean((0, 1))
        deviation = np.sqrt(((values - mean) ** 2).mean()) + 1e-3
        picture = np.moveaxis((values - mean) / deviation, -1, 0)
        for layer in (module.convolutions[0], module.convolutions[2]):
            picture = convolved(picture, layer)
        whole = torch.from_numpy(np.concatenate([picture.ravel(), mean, [deviation]]))
        expected = module.linear.weight @ whole + module.linear.bias
        torch.testing.assert_close(vector, expected.relu())


def convolved(picture: np.ndarray, layer: nn.Conv2d) -> np.ndarray:
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    (pad, _), size = layer.padding, weight.shape[-1]
    wide = np.pad(picture, ((0, 0), (pad, pad), (pad, pad)))
    places = range(0, picture.shape[1] + 2 * pad - size + 1, 2)
    sums = [
        [[(wide[:, y : y + size, x : x + size] * w).sum() for x in places] for y in places]
        for w in weight
    ]
    return np.maximum(np.array(sums) + bias[:, None, None], 0)


def test_wrong_shapes_and_settings_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \(B, T\)"):
        TokenInput(5, 3)(torch.zeros(2, 3, 4, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"\(1, 2, 9, 9, 3\); expected \(B, T, 16, 16, 3\)"):
        FrameInput(16, 3)(torch.zeros(1, 2, 9, 9, 3, dtype=torch.uint8))
    with pytest.raises(ConfigurationError, match="at least 8"):
        FrameInput(7, 3)
    with pytest.raises(ConfigurationError, match="unknown output 'sigmod'; did you mean sigmoid"):
        ClassifierConfig(output="sigmod")
