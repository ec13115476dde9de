"""How long functions take beside one another."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence


def interleaved(
    functions: Sequence[Callable[[], object]],
    seconds: float,
    *,
    calls: int = 1,
    settle: float = 0.0,
) -> list[float]:
    """Median milliseconds of functions called in turn, for about so long.

    Args:
        functions: each is called once before.
        seconds: at least five rounds are made in any case.
        calls: so many times at once, where one is too short for the clock.
        settle: seconds of untimed calls before each timed one, so that threads of the function
            before it, which go on spinning for a while, have come to rest.
    """
    for function in functions:
        function()
    times: list[list[float]] = [[] for _ in functions]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for function, found in zip(functions, times, strict=True):
            start = time.perf_counter()
            while time.perf_counter() < start + settle:
                function()
            start = time.perf_counter()
            for _ in range(calls):
                function()
            found.append(1e3 * (time.perf_counter() - start) / calls)
    return list(map(statistics.median, times))


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios."""
    return math.exp(sum(map(math.log, values)) / len(values))
