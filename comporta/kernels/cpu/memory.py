"""Memory for kernels: buffers that are used again.

Fresh memory costs as much as the arithmetic (the system hands it out page by page), so buffers
that nobody refers to any more are kept for the next call.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

# Enough for the buffers of a few layers; beyond it the oldest are let go.
_KEPT_BYTES = 512 << 20
# A lease may be dropped by the garbage collector while this very thread holds the lock.
_lock = threading.RLock()
_free: OrderedDict[tuple[int, torch.dtype], list[Held]] = OrderedDict()
_free_bytes = 0
_CPU = torch.device("cpu")


def fresh(shape: Sequence[int], dtype: torch.dtype, *, zeros: bool = False) -> Tensor:
    """New memory, whatever device torch would choose by itself."""
    # Given one by one sizes are read faster than from a sequence.
    return (torch.zeros if zeros else torch.empty)(*shape, dtype=dtype, device=_CPU)


class Held:
    """A buffer that somebody holds.

    Attributes:
        numbers: the buffer, flat.
        address: where it stands.
        bytes: its size.
        kind: how many numbers, and of which type.
    """

    def __init__(self, numbers: Tensor) -> None:
        self.numbers, self.address = numbers, numbers.data_ptr()
        self.bytes, self.kind = numbers.nbytes, (numbers.numel(), numbers.dtype)


class Lease:
    """A buffer in use; it goes back when the lease is dropped.

    Attributes:
        numbers: the buffer, flat, of `count` numbers or some more; its content is arbitrary.
        address: where it stands.
    """

    def __init__(self, count: int, dtype: torch.dtype) -> None:
        global _free_bytes
        with _lock:
            found = _waiting(count, dtype)
            if found is not None:
                _free_bytes -= found.bytes
        self._held = Held(fresh((count,), dtype)) if found is None else found
        self.numbers, self.address = self._held.numbers, self._held.address

    def __del__(self) -> None:
        # Where there was not enough memory there is nothing to give back.
        if hasattr(self, "_held"):
            with _lock:
                _give_back(self._held)


def _waiting(count: int, dtype: torch.dtype) -> Held | None:
    """A free buffer of that size, or the smallest that is not twice as large."""
    same = _free.get((count, dtype))
    if same:
        return same.pop()
    sizes = [
        size for (size, kind), waiting in _free.items()
        if waiting and kind == dtype and count < size < 2 * count
    ]  # fmt: skip
    return _free[min(sizes), dtype].pop() if sizes else None


def _give_back(held: Held) -> None:
    global _free_bytes
    _free.setdefault(held.kind, []).append(held)
    _free.move_to_end(held.kind)
    _free_bytes += held.bytes
    while _free_bytes > _KEPT_BYTES:
        oldest = next(iter(_free))
        if _free[oldest]:
            _free_bytes -= _free[oldest].pop().bytes
        else:
            del _free[oldest]
