"""Attention and pooling against sums written out place by place."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from comporta.errors import ConfigurationError, ShapeError
from comporta.nn import pooling
from comporta.nn.attention import Attention, AttentionPooling, Kind
from comporta.nn.lengths import inside

KINDS: list[Kind] = ["additive", "dot", "general"]
LENGTHS = [5, 2, 0, 1]


def make(kind: Kind) -> Attention:
    sizes = (4, 4) if kind == "dot" else (4, 3)
    return Attention(*sizes, kind=kind).double()


def data(attention: Attention) -> tuple[Tensor, Tensor]:
    query = torch.randn(4, 2, attention.query_size, dtype=torch.float64)
    return query, torch.randn(4, 5, attention.memory_size, dtype=torch.float64)


def score(attention: Attention, query: Tensor, place: Tensor) -> Tensor:
    """The equations for a single query and a single place."""
    match attention.kind:
        case "additive":
            given = attention.query.weight @ query + attention.query.bias
            return attention.score.weight[0] @ torch.tanh(given + attention.key.weight @ place)
        case "general":
            return query @ attention.key.weight @ place
    return query @ place


@pytest.mark.parametrize("kind", KINDS)
def test_attention_is_its_equations(kind: Kind) -> None:
    attention = make(kind)
    query, memory = data(attention)
    context, weights = attention(query, memory, LENGTHS)
    for b, length in enumerate(LENGTHS):
        for q in range(2):
            scores = [score(attention, query[b, q], memory[b, s]) for s in range(length)]
            powers = torch.stack([value.exp() for value in scores]) if scores else torch.zeros(0)
            expected = torch.zeros(5, dtype=torch.float64)
            expected[:length] = powers / powers.sum()
            torch.testing.assert_close(weights[b, q], expected)
            mean = sum((expected[s] * memory[b, s] for s in range(length)), torch.zeros(()))
            torch.testing.assert_close(context[b, q], mean.expand_as(context[b, q]).double())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_beyond_the_length_counts_not_even_nan(kind: Kind) -> None:
    attention = make(kind)
    query, memory = data(attention)
    expected = attention(query, memory, LENGTHS)
    for b, length in enumerate(LENGTHS):
        memory[b, length:] = torch.nan
    query.requires_grad_()
    memory.requires_grad_()
    context, weights = attention(query, memory, LENGTHS)
    torch.testing.assert_close((context, weights), expected, rtol=0, atol=0)
    outside = ~inside(torch.tensor(LENGTHS), 5)
    assert (weights.transpose(1, 2)[outside] == 0).all()
    assert (context[2] == 0).all()
    (context.square().sum() + weights.square().sum()).backward()
    for gradient in (query.grad, memory.grad, *(p.grad for p in attention.parameters())):
        assert gradient is not None
        assert gradient.isfinite().all()
    assert memory.grad is not None
    assert (memory.grad[outside] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_attention(kind: Kind) -> None:
    attention = make(kind)
    query, memory = data(attention)

    def run(query: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        return attention(query, memory, LENGTHS)  # type: ignore[no-any-return]

    inputs = (query.requires_grad_(), memory.requires_grad_())
    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("kind", KINDS)
def test_query_by_query_is_all_at_once(kind: Kind, lengths: list[int] | None) -> None:
    attention = make(kind)
    query, memory = data(attention)
    contexts, weights = attention(query, memory, lengths)
    read = attention.read(memory, lengths)
    for q in range(2):
        context, row = attention.attend(query[:, q : q + 1], read)
        torch.testing.assert_close(context, contexts[:, q : q + 1])
        torch.testing.assert_close(row, weights[:, q : q + 1])


def test_half_precision_weights_sum_to_one() -> None:
    attention = Attention(4, 4, kind="dot")
    query, memory = torch.randn(1, 2, 4).bfloat16(), torch.randn(1, 5, 4).bfloat16()
    _, weights = attention(query, memory, [3])
    torch.testing.assert_close(weights.float().sum(2), torch.ones(1, 2), atol=1e-2, rtol=0)


def test_a_memory_of_no_places() -> None:
    context, weights = Attention(4, 3)(torch.randn(2, 1, 4), torch.zeros(2, 0, 3))
    assert context.tolist() == [[[0, 0, 0]]] * 2
    assert weights.shape == (2, 1, 0)


def test_attention_refuses_what_does_not_fit() -> None:
    with pytest.raises(ConfigurationError, match="did you mean dot"):
        Attention(3, 3, kind="dots")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="query_size is 3, memory_size is 4"):
        Attention(3, 4, kind="dot")
    attention = Attention(3, 4)
    with pytest.raises(ShapeError, match="Dm = 4"):
        attention(torch.zeros(2, 1, 3), torch.zeros(2, 5, 3))
    with pytest.raises(ShapeError, match="B = 2, Dq = 3"):
        attention(torch.zeros(1, 1, 3), torch.zeros(2, 5, 4))
    with pytest.raises(ShapeError, match="length of row 1 is 6"):
        attention(torch.zeros(2, 1, 3), torch.zeros(2, 5, 4), [1, 6])
    with pytest.raises(ShapeError, match="D = 3"):
        AttentionPooling(3)(torch.zeros(2, 5, 4))


def test_attention_pooling_is_its_equation() -> None:
    pool = AttentionPooling(3).double()
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    pooled, weights = pool(x, LENGTHS)
    for b, length in enumerate(LENGTHS):
        hidden = torch.tanh(x[b, :length] @ pool.hidden.weight.T + pool.hidden.bias)
        powers = (hidden @ pool.score.weight[0]).exp()
        expected = torch.zeros(5, dtype=torch.float64)
        expected[:length] = powers / powers.sum()
        torch.testing.assert_close(weights[b], expected)
        torch.testing.assert_close(pooled[b], (expected.unsqueeze(1) * x[b]).sum(0))


ALONE = {
    "last": lambda x: x[-1],
    "mean": lambda x: x.sum(0) / len(x),
    "maximum": lambda x: x.max(0).values,
}
POOLS = [pooling.last, pooling.mean, pooling.maximum, AttentionPooling(3).double()]


def pooled(pool: Callable[..., Tensor | tuple[Tensor, Tensor]], *args: object) -> Tensor:
    found = pool(*args)
    return found[0] if isinstance(found, tuple) else found


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("lengths", [None, LENGTHS])
def test_pooling_row_by_row(name: str, lengths: list[int] | None) -> None:
    x = torch.randn(4, 5, 3, dtype=torch.float64) - 2  # A 0 of the padding would be the maximum.
    found = getattr(pooling, name)(x, lengths)
    for b, length in enumerate(lengths or [5] * 4):
        expected = ALONE[name](x[b, :length]) if length else torch.zeros(3, dtype=torch.float64)
        torch.testing.assert_close(found[b], expected)


@pytest.mark.parametrize("pool", POOLS)
def test_pooling_reads_and_teaches_no_padding(pool: Callable[..., Tensor]) -> None:
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    expected = pooled(pool, x, LENGTHS)
    outside = ~inside(torch.tensor(LENGTHS), 5)
    x[outside] = torch.nan
    x.requires_grad_()
    found = pooled(pool, x, LENGTHS)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    (gradient,) = torch.autograd.grad(found.square().sum(), x)
    assert (gradient[outside] == 0).all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("pool", POOLS)
def test_pooling_no_steps_gives_zero(pool: Callable[..., Tensor]) -> None:
    assert pooled(pool, torch.zeros(2, 0, 3, dtype=torch.float64)).tolist() == [[0, 0, 0]] * 2


def test_pooling_refuses_what_is_no_batch_of_sequences() -> None:
    with pytest.raises(ShapeError, match=r"expected \(B, T, D\)"):
        pooling.mean(torch.zeros(3, 2))
