"""A linear-chain conditional random field: the probability of a sequence of tags as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from comporta.errors import ConfigurationError, DataError, ShapeError
from comporta.nn.lengths import check_lengths, clear_padding, inside


class CRF(nn.Module):
    """A linear-chain conditional random field over K tags.

        s(y) = start[y_1] + sum_t e_t[y_t] + sum_t step[y_t, y_{t+1}] + end[y_T]
        log p(y) = s(y) - log Z,  Z = sum over all allowed tag sequences of exp s

    A sequence that is not allowed has probability 0 and is never decoded. The sums are taken in
    float64, whatever the dtype of the emissions.

    Source: Lafferty et al. 2001; over a recurrent network: Lample et al. 2016, arXiv:1603.01360.

    Args:
        tags: K.
        starts: (K,) bool, the tags a sequence may begin with; all unless given.
        steps: (K, K) bool, [i, j] says whether tag j may follow tag i; all unless given.
        ends: (K,) bool, the tags a sequence may end with; all unless given.

    Raises:
        ConfigurationError: K is below 1, or what is allowed is not bool of these shapes.

    >>> crf = CRF(3, starts=torch.tensor([True, True, False]))
    >>> emissions = torch.tensor([[[0.0, 1.0, 9.0], [0.0, 0.0, 9.0]]])
    >>> crf.decode(emissions)
    [[1, 2]]
    >>> crf.loss(emissions, torch.tensor([[1, 2]])).shape
    torch.Size([1])
    """

    starts: Tensor
    steps: Tensor
    ends: Tensor

    def __init__(
        self,
        tags: int,
        *,
        starts: Tensor | None = None,
        steps: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> None:
        super().__init__()
        if tags < 1:
            raise ConfigurationError(f"tags is {tags}; a field needs at least 1")
        self.tags = tags
        self.start = nn.Parameter(torch.zeros(tags))
        self.step = nn.Parameter(torch.zeros(tags, tags))
        self.end = nn.Parameter(torch.zeros(tags))
        for name, allowed, shape in (
            ("starts", starts, (tags,)),
            ("steps", steps, (tags, tags)),
            ("ends", ends, (tags,)),
        ):
            if allowed is None:
                allowed = torch.ones(shape, dtype=torch.bool)
            if allowed.dtype != torch.bool or allowed.shape != shape:
                raise ConfigurationError(
                    f"{name} must be bool of shape {shape}; it is {allowed.dtype} of shape "
                    f"{tuple(allowed.shape)}"
                )
            self.register_buffer(name, allowed.clone())

    def loss(
        self, emissions: Tensor, tags: Tensor, lengths: Tensor | Sequence[int] | None = None
    ) -> Tensor:
        """-log p of the tags of each row.

        Args:
            emissions: (B, T, K).
            tags: (B, T) int64; anything beyond the length.
            lengths: (B,), from 0 to T; T unless given.

        Returns:
            (B,) in nats; 0 for a row of length 0.

        Raises:
            ShapeError: a shape that does not fit, or a number that is no tag.
            DataError: the tags of a row are not allowed.
        """
        found = self._lengths(emissions, lengths)
        tags = self._check_tags(tags, emissions, found)
        wide = emissions.double()
        losses = self._log_partition(wide, found) - self._score(wide, tags, found)
        return losses.to(self._dtype(emissions))

    def log_partition(
        self, emissions: Tensor, lengths: Tensor | Sequence[int] | None = None
    ) -> Tensor:
        """log Z of each row, (B,); arguments and errors as of `loss`."""
        found = self._lengths(emissions, lengths)
        return self._log_partition(emissions.double(), found).to(self._dtype(emissions))

    @torch.no_grad()
    def marginals(self, emissions: Tensor, lengths: Tensor | Sequence[int] | None = None) -> Tensor:
        """p(y_t = k) of each step and tag: the gradient of log Z by the emissions.

        Returns:
            (B, T, K), 0 beyond the length; arguments and errors as of `loss`.
        """
        found = self._lengths(emissions, lengths)
        with torch.enable_grad():
            wide = emissions.detach().double().requires_grad_()
            total = self._log_partition(wide, found).sum()
        (gradient,) = torch.autograd.grad(total, wide)
        return gradient.to(self._dtype(emissions))

    @torch.no_grad()
    def decode(
        self, emissions: Tensor, lengths: Tensor | Sequence[int] | None = None
    ) -> list[list[int]]:
        """The most probable tags of each row, by the algorithm of Viterbi.

        Returns:
            As many tags a row as it is long; arguments and errors as of `loss`.
        """
        found = self._lengths(emissions, lengths)
        start, step, end = self._masked()
        scores, pointers = [start + emissions[:, 0]], []
        for t in range(1, emissions.shape[1]):
            # (B, 1, K) + (K, K), the tag to come in front of the tag before
            best, pointer = (scores[-1].unsqueeze(1) + step.T).max(2)
            scores.append(best + emissions[:, t])
            pointers.append(pointer)
        final = (_last(torch.stack(scores, 1), found) + end).argmax(1)
        tags = [final]
        for t in range(len(pointers) - 1, -1, -1):
            before = pointers[t].gather(1, tags[-1].unsqueeze(1)).squeeze(1)
            # Until the last step of its row comes up, the final tag waits.
            tags.append(torch.where(t + 1 < found, before, final))
        path = torch.stack(tags[::-1], 1).tolist()
        return [row[:length] for row, length in zip(path, found.tolist(), strict=True)]

    def _log_partition(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        start, step, end = (scores.double() for scores in self._masked())
        total: Tensor = _LogPartition.apply(  # type: ignore[no-untyped-call]
            clear_padding(emissions, lengths), start, step, end, lengths
        )
        return total

    def _score(self, emissions: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """s(y) of each row, (B,); 0 for a row of length 0."""
        within = inside(lengths, tags.shape[1])
        seen = emissions.gather(2, tags.unsqueeze(2)).squeeze(2)
        moves = self.step[tags[:, :-1], tags[:, 1:]].double()
        ends = self.start[tags[:, 0]].double() + self.end[_last(tags, lengths)].double()
        return (
            torch.where(within, seen, 0.0).sum(1)
            + torch.where(within[:, 1:], moves, 0.0).sum(1)
            + torch.where(within[:, 0], ends, 0.0)
        )

    def _masked(self) -> tuple[Tensor, Tensor, Tensor]:
        """The scores of start, step and end, -inf where they are not allowed."""
        return (
            self.start.masked_fill(~self.starts, -torch.inf),
            self.step.masked_fill(~self.steps, -torch.inf),
            self.end.masked_fill(~self.ends, -torch.inf),
        )

    def _dtype(self, emissions: Tensor) -> torch.dtype:
        return torch.promote_types(emissions.dtype, self.start.dtype)

    def _lengths(self, emissions: Tensor, lengths: Tensor | Sequence[int] | None) -> Tensor:
        if emissions.ndim != 3 or emissions.shape[2] != self.tags or not emissions.shape[1]:
            raise ShapeError(
                f"the emissions have shape {tuple(emissions.shape)}; expected (B, T, K) with K = "
                f"{self.tags} and T at least 1"
            )
        batch, time, _ = emissions.shape
        found = check_lengths(lengths, batch=batch, time=time, device=emissions.device)
        return torch.full((batch,), time, device=emissions.device) if found is None else found

    def _check_tags(self, tags: Tensor, emissions: Tensor, lengths: Tensor) -> Tensor:
        """The tags with 0 beyond the length."""
        if tags.shape != emissions.shape[:2]:
            raise ShapeError(
                f"the tags have shape {tuple(tags.shape)}; expected (B, T) = "
                f"{tuple(emissions.shape[:2])} as of the emissions"
            )
        within = inside(lengths, tags.shape[1])
        tags = torch.where(within, tags, 0)
        if ((tags < 0) | (tags >= self.tags)).any():
            raise ShapeError(
                f"the tags hold numbers from {int(tags.min())} to {int(tags.max())}; the field "
                f"knows 0 to {self.tags - 1}"
            )
        moves = self.steps[tags[:, :-1], tags[:, 1:]] | ~within[:, 1:]
        ends = (self.starts[tags[:, 0]] & self.ends[_last(tags, lengths)]) | ~within[:, 0]
        refused = (~(moves.all(1) & ends)).nonzero().flatten().tolist()
        if refused:
            row = refused[0]
            raise DataError(
                f"the tags of row {row} are a sequence that the field does not allow: "
                f"{tags[row, : int(lengths[row])].tolist()}; mend them, or allow its starts, "
                "steps and ends"
            )
        return tags


class _LogPartition(torch.autograd.Function):
    """log Z by the forward algorithm; its gradient by the backward algorithm.

    Both run on probabilities that sum to 1 at each step (Rabiner 1989), so that a step is one
    small matrix product. In float64 what one step loses is below exp(-700) of the whole.
    """

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        emissions: Tensor,
        start: Tensor,
        step: Tensor,
        end: Tensor,
        lengths: Tensor,
    ) -> Tensor:
        peaks = emissions.amax(2, keepdim=True)
        factors = (emissions - peaks).exp().transpose(0, 1).contiguous()  # (T, B, K)
        moves, least = step.exp(), torch.finfo(torch.float64).tiny
        sums: list[Tensor] = []
        prefixes: list[Tensor] = []
        weights = start.exp() * factors[0]
        for t in range(len(factors)):
            if t:
                weights = (prefixes[-1] @ moves) * factors[t]
            # In the padding nothing may be allowed to follow: that must not become 0 / 0.
            sums.append(weights.sum(1, keepdim=True).clamp_(min=least))
            prefixes.append(weights / sums[-1])
        prefix, scale = torch.stack(prefixes), torch.stack(sums)
        final = _last(prefix.transpose(0, 1), lengths)
        total = final @ end.exp()
        ctx.save_for_backward(factors, prefix, scale, final, total, moves, end, lengths)
        within = inside(lengths, len(factors))
        logs = torch.where(within, peaks.squeeze(2) + scale.squeeze(2).T.log(), 0.0).sum(1)
        return torch.where(lengths > 0, logs + total.log(), 0.0)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: torch.autograd.function.FunctionCtx, grad: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        factors, prefix, scale, final, total, moves, end, lengths = ctx.saved_tensors  # type: ignore[attr-defined]
        within = inside(lengths, len(factors)).T.unsqueeze(2)  # (T, B, 1)
        ratios = factors / scale
        closing = end.exp() / total.unsqueeze(1)
        suffixes = [closing]
        for t in range(len(factors) - 1, 0, -1):
            before = (ratios[t] * suffixes[-1]) @ moves.T
            suffixes.append(torch.where(within[t], before, closing))
        suffix = torch.stack(suffixes[::-1])
        # (T, B, K): p(y_t = k), times the gradient of log Z
        marginals = torch.where(within, prefix * suffix * grad.unsqueeze(1), 0.0)
        pairs = torch.where(within[1:], ratios[1:] * suffix[1:] * grad.unsqueeze(1), 0.0)
        step = moves * (prefix[:-1].flatten(0, 1).T @ pairs.flatten(0, 1))
        closed = torch.where(within[0], final * closing * grad.unsqueeze(1), 0.0)
        return marginals.transpose(0, 1), marginals[0].sum(0), step, closed.sum(0), None


def _last(x: Tensor, lengths: Tensor) -> Tensor:
    """x (B, T, ...) at the last step of each row, and at the first of an empty one."""
    return x[torch.arange(len(x), device=x.device), (lengths - 1).clamp(min=0)]
