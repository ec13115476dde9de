"""Memory for kernels: buffers that are used again.

Fresh memory costs as much as the arithmetic (the system hands it out page by page), so buffers
that nobody refers to any more are kept for the next call.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

# Enough for the buffers of a few layers; beyond it the oldest are let go.
_KEPT_BYTES = 512 << 20
# A lease may be dropped by the garbage collector while this very thread holds the lock.
_lock = threading.RLock()
_free: OrderedDict[tuple[int, torch.dtype], list[Tensor]] = OrderedDict()
_free_bytes = 0


class Lease:
    """Buffers in use by one call; they go back when the lease is dropped."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype
        self._taken: list[Tensor] = []

    def take(self, shape: Sequence[int]) -> Tensor:
        """An uninitialized buffer of that shape."""
        global _free_bytes
        count = math.prod(shape)
        with _lock:
            waiting = _free.get((count, self._dtype))
            flat = waiting.pop() if waiting else None
            if flat is not None:
                _free_bytes -= flat.nbytes
        if flat is None:
            flat = torch.empty(count, dtype=self._dtype)
        self._taken.append(flat)
        return flat.view(tuple(shape))

    def __del__(self) -> None:
        with _lock:
            for flat in self._taken:
                _give_back(flat)


def _give_back(flat: Tensor) -> None:
    global _free_bytes
    key = flat.numel(), flat.dtype
    _free.setdefault(key, []).append(flat)
    _free.move_to_end(key)
    _free_bytes += flat.nbytes
    while _free_bytes > _KEPT_BYTES:
        oldest = next(iter(_free))
        if _free[oldest]:
            _free_bytes -= _free[oldest].pop().nbytes
        else:
            del _free[oldest]
