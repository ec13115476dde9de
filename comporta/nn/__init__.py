"""Layers: torch modules that run a cell. They meet kernels only through `comporta.kernels`."""

from comporta.nn.attention import Attention, AttentionPooling, Memory
from comporta.nn.chrono import spread_memory
from comporta.nn.crf import CRF
from comporta.nn.drop_in import GRU, LSTM, RNN
from comporta.nn.dropout import LockedDropout
from comporta.nn.explanation import explain
from comporta.nn.recurrent import Recurrent
from comporta.nn.state import State, detach
from comporta.nn.streaming import Stream

__all__ = [
    "CRF",
    "GRU",
    "LSTM",
    "RNN",
    "Attention",
    "AttentionPooling",
    "LockedDropout",
    "Memory",
    "Recurrent",
    "State",
    "Stream",
    "detach",
    "explain",
    "spread_memory",
]
