"""More than 2^31 numbers in an output: right to the last bit, beyond what 32-bit offsets reach.

    python benchmarks/large.py

It takes about 10 GiB of memory.
"""

from __future__ import annotations

import sys
import time

import torch
from machine import write_page

from comporta.nn import RNN

BATCH, HIDDEN = 8, 64
TIME = 2**31 // (BATCH * HIDDEN) + 1000
LAST = 500


def main() -> None:
    """Run it, and compare the last steps with a run of them alone."""
    layer = RNN(1, HIDDEN, batch_first=True).eval()
    x = torch.randn(BATCH, TIME, 1)
    with torch.no_grad():
        start = time.perf_counter()
        output, last = layer(x)
        seconds = time.perf_counter() - start
        begins = output[:, -LAST - 1].unsqueeze(0).contiguous()
        tail, _ = layer(x[:, -LAST:].contiguous(), begins)
    if not torch.equal(output[:, -LAST:], tail) or not torch.equal(last[0], output[:, -1]):
        sys.exit("the last steps of a long run are not those of a short one")
    lines = [
        f"rnn, B, T, H = {BATCH}, {TIME:,}, {HIDDEN}: an output of {output.numel():,} numbers "
        f"({output.numel() / 2**31:.3f} times 2^31) in {seconds:.1f} s.",
        f"Its last {LAST} steps, those of the last row beyond 2^31, have the bits of a run of "
        "these steps alone.",
    ]
    print("\n".join(lines))
    write_page("large", "Beyond 2^31 numbers", "python benchmarks/large.py", lines)


if __name__ == "__main__":
    main()
