"""A translator: an encoder reads one sequence, a decoder writes another, attention between them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn

from comporta.cells import Cell, get
from comporta.errors import ConfigurationError, ShapeError
from comporta.models.checks import check_choice, check_rates, check_sizes
from comporta.nn import Attention, LockedDropout, Memory, Recurrent, State

TranslatorState: TypeAlias = tuple[tuple[State, ...], Memory | None]
"""The states of the decoder's layers, and what attention looks at, or None without attention.
Every tensor has its rows first."""


@dataclass(frozen=True, kw_only=True)
class TranslatorConfig:
    """What a translator is made of, whatever its vocabularies.

    Args:
        cell: NAME of a cell, or FILE.txt with its equations.
        embedding: E, size of the vectors of tokens, and of what the output layer reads.
        hidden: H, the size of each recurrent layer, in each direction of the encoder.
        layers: how many recurrent layers the encoder has, and the decoder.
        bidirectional: whether the encoder also reads from the end.
        attention: "additive" (Bahdanau), "dot" or "general" (Luong), or "none".
        dropout: probability of dropping a value of the vectors of tokens, between layers, of the
            memory, and before the output.
        tied: use the embedding of the target as output weights, too.

    Raises:
        ConfigurationError: a size below its least value, an unknown attention, or "dot" between
            vectors of unequal sizes.

    >>> TranslatorConfig(attention="adition")
    Traceback (most recent call last):
    comporta.errors.ConfigurationError: unknown attention 'adition'; did you mean additive?
    """

    cell: Cell = field(default_factory=lambda: get("gru"))
    embedding: int = 256
    hidden: int = 256
    layers: int = 1
    bidirectional: bool = True
    attention: str = "additive"
    dropout: float = 0.0
    tied: bool = False

    def __post_init__(self) -> None:
        check_sizes(self, embedding=1, hidden=1, layers=1)
        check_rates(self, "dropout")
        check_choice("attention", self.attention, ("none", "additive", "dot", "general"))
        if self.attention == "dot" and self.bidirectional:
            raise ConfigurationError(
                f"dot attention multiplies vectors of equal size; the decoder has {self.hidden}, "
                f"the two directions of the encoder have {2 * self.hidden}: take attention "
                '"general", or bidirectional=False'
            )


class Translator(nn.Module):
    """An encoder-decoder over tokens.

        m_s = encoder(F[x_1], ..., F[x_S])_s                   memory, one vector a source token
        d^l_0 = tanh(A^l (last states of encoder layer l) + a^l)
        d^1_t = cell^1(E[y_{t-1}], d^1_{t-1})                  first layer of the decoder
        c_t = sum_s softmax_s(score(d^1_t, m_s)) m_s           attention; left out with "none"
        d^l_t = cell^l([d^{l-1}_t; c_t], d^l_{t-1})            layer 2; those above read d^{l-1}_t
        r_t = tanh(R [E[y_{t-1}]; d^L_t; c_t] + r)
        log p(y_t | y_{<t}, x) = log_softmax(V r_t + v)[y_t]

    Without attention this is the encoder-decoder of Sutskever et al. 2014, arXiv:1409.3215, and Cho
    et al. 2014, arXiv:1406.1078: the last states of the encoder begin the decoder, and are not
    shown to it again. They pass a learned layer first, for two directions have twice the size.

    With attention it is the model of Bahdanau et al. 2015, arXiv:1409.0473, or of Luong et al.
    2015, arXiv:1508.04025, with one deliberate deviation: what attention saw at step t - 1 does not
    enter the first layer of the decoder at step t (in Bahdanau's it enters the state, in Luong's
    the input). The first layer therefore reads all target tokens at once in training. Its output is
    the query, and the context joins what is above it: the second layer, as in GNMT (Wu et al.
    2016, arXiv:1609.08144), and r_t, the attentional vector of Luong with the previous token added
    as in Bahdanau's output layer (there with maxout). So layers beyond the first do know the
    contexts of earlier steps; with one layer no state does.

    Tied weights: Press & Wolf 2017, arXiv:1608.05859. Dropout keeps one mask for all steps of a row
    (Gal & Ghahramani 2016, arXiv:1512.05287), except between two layers above each other.

    Args:
        config: what it is made of.
        source_vocabulary: number of tokens of the source.
        target_vocabulary: V, number of tokens of the target.
        start: the target token that stands before the first.
        end: the target token that ends a sequence.

    Raises:
        ConfigurationError: start or end is no token of the target.

    >>> config = TranslatorConfig(embedding=4, hidden=8)
    >>> model = Translator(config, source_vocabulary=9, target_vocabulary=7, start=0, end=1)
    >>> logits, weights = model(torch.tensor([[3, 8, 2]]), None, torch.tensor([[0, 5]]))
    >>> logits.shape, weights.shape
    (torch.Size([1, 2, 7]), torch.Size([1, 2, 3]))
    """

    def __init__(
        self,
        config: TranslatorConfig,
        *,
        source_vocabulary: int,
        target_vocabulary: int,
        start: int,
        end: int,
    ) -> None:
        super().__init__()
        for name, token in (("start", start), ("end", end)):
            if not 0 <= token < target_vocabulary:
                raise ConfigurationError(
                    f"{name} is {token}; the target has the tokens 0 to {target_vocabulary - 1}"
                )
        self.config, self.start, self.end = config, start, end
        cell, size, hidden, layers = config.cell, config.embedding, config.hidden, config.layers
        self.source_embedding = nn.Embedding(source_vocabulary, size)
        self.target_embedding = nn.Embedding(target_vocabulary, size)
        self.encoder = Recurrent(
            cell,
            size,
            hidden,
            num_layers=layers,
            bidirectional=config.bidirectional,
            dropout=config.dropout if layers > 1 else 0.0,
        )
        self._directions = 2 if config.bidirectional else 1
        states = hidden * len(cell.states)
        self.bridges = nn.ModuleList(
            nn.Linear(self._directions * states, states) for _ in range(layers)
        )
        memory = 0 if config.attention == "none" else self._directions * hidden
        self.attention = (
            Attention(hidden, memory, kind=config.attention)  # type: ignore[arg-type]
            if config.attention != "none"
            else None
        )
        self.first = Recurrent(cell, size, hidden)
        self.upper = (
            Recurrent(
                cell,
                hidden + memory,
                hidden,
                num_layers=layers - 1,
                dropout=config.dropout if layers > 2 else 0.0,
            )
            if layers > 1
            else None
        )
        self.dropout = LockedDropout(config.dropout)
        self.readout = nn.Linear(size + hidden + memory, size)
        self.output = nn.Linear(size, target_vocabulary)
        for embedding in (self.source_embedding, self.target_embedding):
            # As output weights the usual unit-variance embedding would make logits far too large.
            nn.init.normal_(embedding.weight, std=size**-0.5)
        if config.tied:
            self.output.weight = self.target_embedding.weight

    def forward(
        self, source: Tensor, source_lengths: Tensor | None, target_inputs: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Logits of each next target token, given those before it.

        Args:
            source: (B, S) int64.
            source_lengths: (B,) how many tokens of each row count; None for all of them.
            target_inputs: (B, T) int64, the token before each step, as `inputs` gives it.

        Returns:
            Logits (B, T, V); the weights of attention (B, T, S), or None without it.

        Raises:
            ShapeError: tokens that are not of two dimensions, or that the model does not know.
        """
        read, weights, _ = self._decode(target_inputs, self.encode(source, source_lengths))
        return self.output(read), weights

    def encode(self, source: Tensor, lengths: Tensor | None = None) -> TranslatorState:
        """Read the source.

        Args:
            source: (B, S) int64.
            lengths: (B,) how many tokens of each row count; None for all of them.

        Returns:
            The state of the decoder before its first step.

        Raises:
            ShapeError: tokens that are not (B, S), or that the model does not know.
        """
        vectors = self._vectors(source, self.source_embedding, "source")
        memory, states = self.encoder(vectors, lengths=lengths)
        begun = []
        for layer, bridge in enumerate(self.bridges):
            ends = states[layer * self._directions :][: self._directions]
            begin = torch.tanh(bridge(torch.cat([value for end in ends for value in end], -1)))
            begun.append(begin.chunk(len(self.config.cell.states), -1))
        if self.attention is None:
            return tuple(begun), None
        return tuple(begun), self.attention.read(self.dropout(memory), lengths)

    @torch.no_grad()
    def step(self, tokens: Tensor, state: TranslatorState) -> tuple[Tensor, TranslatorState]:
        """The log-probabilities of the next target token, one step at a time.

        Args:
            tokens: (N,) int64, the last token of each row; `start` first.
            state: as `encode` or the step before returned it, rows chosen and repeated at will.

        Returns:
            log p (N, V) and the state after the step.
        """
        read, _, state = self._decode(tokens.unsqueeze(1), state)
        return self.output(read[:, 0]).log_softmax(-1), state

    def inputs(self, targets: Tensor) -> Tensor:
        """What the decoder reads when these are its targets: `start`, then the target before.

        Args:
            targets: (B, T) int64; -100 beyond the end of a row, where the token does not matter.

        Returns:
            (B, T) int64.

        >>> config = TranslatorConfig(embedding=4, hidden=8)
        >>> model = Translator(config, source_vocabulary=9, target_vocabulary=7, start=0, end=1)
        >>> model.inputs(torch.tensor([[5, 3, 1], [4, 1, -100]]))
        tensor([[0, 5, 3],
                [0, 4, 1]])
        """
        before = torch.cat([torch.full_like(targets[:, :1], self.start), targets[:, :-1]], 1)
        return torch.where(before >= 0, before, self.end)

    def losses(
        self,
        source: Tensor,
        source_lengths: Tensor | None,
        targets: Tensor,
        *,
        label_smoothing: float = 0.0,
        scheduled_sampling: float = 0.0,
    ) -> Tensor:
        """Softmax cross-entropy of every target that counts.

        With label smoothing the target has probability 1 - e + e / V and every other token e / V
        (Szegedy et al. 2016, arXiv:1512.00567).

        Scheduled sampling (Bengio et al. 2015, arXiv:1506.03099) gives the decoder some of its own
        predictions in place of the targets, so that it learns to go on from its mistakes. Here in
        two passes (Mihaylova & Martins 2019, arXiv:1906.07651), each over all steps at once: tokens
        are drawn from the predictions under the true targets, without gradient, and replace inputs
        of the second pass. In contrast to the original, what is drawn at a step does not know that
        earlier inputs were replaced.

        Args:
            source: (B, S) int64.
            source_lengths: (B,) how many tokens of each row count; None for all of them.
            targets: (B, T) int64, the last one of a row `end`; -100 does not count.
            label_smoothing: e, in [0, 1).
            scheduled_sampling: the probability that an input is replaced.

        Returns:
            (N,) in nats, one for each target that counts, row by row.
        """
        inputs = self.inputs(targets)
        state = self.encode(source, source_lengths)
        if scheduled_sampling > 0:
            inputs = self._replaced(inputs, state, scheduled_sampling)
        read, _, _ = self._decode(inputs, state)
        counts = targets >= 0
        # The output layer is most of the work, so padding is left out before it.
        return nn.functional.cross_entropy(
            self.output(read[counts]),
            targets[counts],
            label_smoothing=label_smoothing,
            reduction="none",
        )

    @torch.no_grad()
    def _replaced(self, inputs: Tensor, state: TranslatorState, probability: float) -> Tensor:
        """Inputs of which some, but never the first, are what the model would have said there."""
        read, _, _ = self._decode(inputs[:, :-1], state)
        chances = self.output(read).softmax(-1).flatten(0, 1)
        drawn = torch.multinomial(chances, 1).view(inputs[:, 1:].shape)
        replace = torch.rand(drawn.shape, device=drawn.device) < probability
        return torch.cat([inputs[:, :1], torch.where(replace, drawn, inputs[:, 1:])], 1)

    def _decode(
        self, inputs: Tensor, state: TranslatorState
    ) -> tuple[Tensor, Tensor | None, TranslatorState]:
        """r (B, T, E), the weights of attention (B, T, S), and the state after the last step."""
        states, memory = state
        vectors = self._vectors(inputs, self.target_embedding, "target")
        query, after = self.first(vectors, states[:1])
        output = self.dropout(query)
        context, weights = [], None
        if self.attention is not None and memory is not None:
            seen, weights = self.attention.attend(query, memory)
            context = [seen]
        if self.upper is not None:
            output, above = self.upper(torch.cat([output, *context], -1), states[1:])
            output, after = self.dropout(output), (*after, *above)
        read = torch.tanh(self.readout(torch.cat([vectors, output, *context], -1)))
        return self.dropout(read), weights, (after, memory)

    def _vectors(self, tokens: Tensor, embedding: nn.Embedding, what: str) -> Tensor:
        if tokens.ndim != 2:
            raise ShapeError(
                f"{what} tokens have shape {tuple(tokens.shape)}; expected (rows, time)"
            )
        known = embedding.num_embeddings
        if tokens.numel() and not 0 <= int(tokens.min()) <= int(tokens.max()) < known:
            raise ShapeError(
                f"{what} tokens lie between {int(tokens.min())} and {int(tokens.max())}; the model "
                f"knows 0 to {known - 1}"
            )
        vectors: Tensor = self.dropout(embedding(tokens))
        return vectors
