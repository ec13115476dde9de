"""Layers beside one another: several threads with models of their own, workers of a DataLoader; and
sequences of a million steps."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from comporta.nn import GRU, LSTM, RNN, Recurrent, Stream

STEPS = 5


def trained(seed: int) -> list[Tensor]:
    """The parameters of a small model after a few steps, and what it serves before each."""
    generator = torch.Generator().manual_seed(seed)
    kinds = [RNN, GRU, LSTM]
    layers: list[nn.Module] = [
        kinds[seed % 3](6, 20 + seed, num_layers=2, batch_first=True),
        Recurrent(["mgu", "sru", "indrnn"][seed % 3], 6, 20 + seed, bidirectional=seed % 2 == 0),
    ]
    seen = []
    for layer in layers:
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.uniform_(-0.3, 0.3, generator=generator)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.01)
        for _ in range(STEPS):
            x = torch.randn(5 + seed, 30, 6, generator=generator)
            with torch.no_grad():
                seen.append(layer(x[:2])[0])
            optimizer.zero_grad()
            layer(x)[0].square().mean().backward()
            optimizer.step()
        seen += [parameter.detach() for parameter in layer.parameters()]
    return seen


def test_models_trained_and_served_in_several_threads() -> None:
    """Each gets the bits that it would get alone."""
    seeds = list(range(6))
    alone = [trained(seed) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(trained, seeds * 2))
    for seed, found in zip(seeds * 2, together, strict=True):
        assert all(map(torch.equal, found, alone[seed]))


_WORKERS = """
import sys
import torch
from torch.utils.data import DataLoader, Dataset
from comporta.nn import GRU

class Encoded(Dataset):
    def __init__(self):
        torch.manual_seed(0)
        self.layer, self.x = GRU(3, 40, batch_first=True), torch.randn(6, 50, 3)
    def __len__(self):
        return len(self.x)
    def __getitem__(self, index):
        with torch.no_grad():
            return self.layer(self.x[index:index + 1])[0][0]

if __name__ == "__main__":
    torch.set_num_threads(2)
    data = Encoded()
    # The threads of this process have run before its workers are started.
    expected = data.layer(data.x.repeat(20, 1, 1))[0][:6].detach()
    loader = DataLoader(data, batch_size=3, num_workers=2, multiprocessing_context=sys.argv[1])
    found = torch.cat(list(loader))
    assert torch.equal(found, expected)
    assert torch.equal(data.layer(data.x)[0].detach(), expected)
"""


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_data_loader(start: str, tmp_path: Path) -> None:
    if start == "fork" and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    script = tmp_path / "workers.py"
    script.write_text(_WORKERS, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script), start],
        timeout=200,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_million_steps() -> None:
    """Forward in one piece, in two and as a stream; gradients as of the last steps alone."""
    torch.manual_seed(0)
    layer = Recurrent("gru", 1, 3)
    x = torch.randn(1, 1_000_000, 1)
    cut, last = 600_001, 500
    with torch.no_grad():
        whole, after = layer(x)
        first, between = layer(x[:, :cut])
        second, end = layer(x[:, cut:], between)
    assert torch.equal(torch.cat([first, second], 1), whole)
    assert torch.equal(end[0].h, after[0].h)
    stream = Stream(layer, state=between)
    assert torch.equal(stream(x[:, cut]), whole[:, cut])
    x.requires_grad_()
    (d_x,) = torch.autograd.grad(layer(x)[0][:, -last:].sum(), [x])
    state = tuple(type(after[0])(whole[:, -last - 1].clone()) for _ in range(1))
    tail = x[:, -last:].detach().requires_grad_()
    (d_tail,) = torch.autograd.grad(layer(tail, state)[0].sum(), [tail])
    assert torch.equal(d_x[:, -last:], d_tail)
    assert torch.isfinite(d_x).all()
    assert d_x[:, : -last - 200].abs().max() < d_tail.abs().max()
