"""Compiled code on disk: made once, read by the next process, never trusted, never needed."""

from __future__ import annotations

import ctypes
import gc
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import problems
import pytest
import torch
from llvmlite import ir

from comporta.kernels.cache import cache_folder
from comporta.kernels.cpu import engine, machine, memory
from comporta.kernels.cpu.emit import POINTER, Emitter
from comporta.kernels.cpu.memory import Lease

# What one process compiles: products, the driver of work, and a cell forward and backward.
MODULES = 4


# A run of a layer forward and backward; what it prints is the same in every process.
SCRIPT = """
import warnings
warnings.simplefilter("error")
import torch
from comporta.cells import get
from comporta.kernels import compile_cell, run
from comporta.kernels.cpu import machine

compiled = []
genuine = machine._compile
machine._compile = lambda module: compiled.append(module.name) or genuine(module)
torch.manual_seed(0)
program = compile_cell(get("{cell}"))
sizes = dict(D=3, H=5)
weights = {{name: torch.randn([sizes[letter] for letter in shape], requires_grad=True)
           for name, shape in program.parameters}}
output, _ = run(program, torch.randn(2, 4, 3), [torch.randn(2, 5)] * len(program.states), weights)
output.sum().backward()
total = sum(weight.grad.double().sum() for weight in weights.values())
print(output.double().sum().item().hex(), total.item().hex(), len(compiled))
"""


def process(folder: Path, *, cell: str = "gru", **environment: str) -> tuple[str, int]:
    """(what a fresh process computed, how many modules it had to compile)."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(cell=cell)],
        env={**os.environ, "COMPORTA_CACHE": str(folder), **environment},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr[-2000:]}"
    *values, compiled = done.stdout.split()
    return " ".join(values), int(compiled)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache that one process has filled, and what that process computed."""
    folder = tmp_path_factory.mktemp("cache") / "not" / "yet" / "there"
    values, compiled = process(folder)
    assert compiled == len(list(folder.iterdir())) == MODULES
    return folder, values


def copy(folder: Path, to: Path) -> list[Path]:
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return sorted(to.iterdir())


def test_a_second_process_compiles_nothing(filled: tuple[Path, str]) -> None:
    folder, values = filled
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert process(folder) == (values, 0)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_another_cell_shares_what_knows_no_cell(filled: tuple[Path, str], tmp_path: Path) -> None:
    copy(filled[0], tmp_path)
    _, compiled = process(tmp_path, cell="rnn")
    assert compiled == 2
    assert len(list(tmp_path.iterdir())) == MODULES + 2


def double(name: str) -> ir.Module:
    """A module with one small function, which doubles the vector at an address."""
    real = machine.real(32)
    module = ir.Module(name)
    e = Emitter(module, name, real, [POINTER])
    value = e.load(e.arguments[0])
    e.store(e.builder.fadd(value, value), e.arguments[0])
    e.finish()
    return module


def call(name: str) -> tuple[list[float], int]:
    """What the function makes of 3s, and how often it had to be built."""
    built: list[str] = []

    def build() -> ir.Module:
        built.append(name)
        return double(name)

    address = machine.load(f"test {name}", build, [name])[name]
    numbers = torch.full((machine.real(32).lanes,), 3.0)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(numbers.data_ptr())
    return numbers.tolist(), len(built)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda code: b"",
    "a byte short": lambda code: code[:-1],
    "half": lambda code: code[: len(code) // 2],
    "a byte long": lambda code: code + b"\0",
    "noise": lambda code: bytes(range(256)) * 16,
    "zeros": lambda code: bytes(len(code)),
    "a bit flipped": lambda code: bytes([*code[:200], code[200] ^ 4, *code[201:]]),
    "a bit flipped at the end": lambda code: bytes([*code[:-1], code[-1] ^ 128]),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setenv("COMPORTA_CACHE", str(tmp_path))
    name, right = f"double_{list(DAMAGES).index(damage)}", [6.0] * machine.real(32).lanes
    assert call(name) == (right, 1)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(DAMAGES[damage](whole))
    assert path.read_bytes() != whole
    assert call(name) == (right, 1)
    assert path.read_bytes() == whole
    assert call(name) == (right, 0)


def test_files_that_were_exchanged_are_made_anew(filled: tuple[Path, str], tmp_path: Path) -> None:
    paths = copy(filled[0], tmp_path)
    whole = [path.read_bytes() for path in paths]
    for path, other in zip(paths, [*whole[1:], whole[0]], strict=True):
        path.write_bytes(other)
    assert process(tmp_path) == (filled[1], MODULES)


def test_a_folder_that_cannot_be_written(filled: tuple[Path, str], tmp_path: Path) -> None:
    """A file stands where the folder would be: even an administrator cannot write there."""
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert process(blocked / "below") == (filled[1], MODULES)
    assert blocked.read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="an administrator may write everywhere")
def test_a_read_only_folder(filled: tuple[Path, str], tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert process(tmp_path) == (filled[1], MODULES)
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_folder_in_place_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPORTA_CACHE", str(tmp_path))
    _, built = call("double_folder")
    (path,) = tmp_path.iterdir()
    path.unlink()
    path.mkdir()
    assert call("double_folder") == ([6.0] * machine.real(32).lanes, built)


def test_processes_that_start_together(filled: tuple[Path, str], tmp_path: Path) -> None:
    results: list[tuple[str, int]] = []
    crowd = [threading.Thread(target=lambda: results.append(process(tmp_path))) for _ in range(2)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert [values for values, _ in results] == [filled[1]] * 2
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in filled[0].iterdir())


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COMPORTA_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("COMPORTA_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "comporta"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "comporta"


HEAVY = ("llvmlite", "accelerate", "tokenizers", "numba", "triton", "typer", "rich", "transformers")


def test_importing_is_light() -> None:
    """Neither a compiler nor torch is loaded before it is needed."""
    assert not loaded("import comporta; comporta.cells.get('gru')") & {*HEAVY, "torch"}


def test_importing_layers_loads_no_tools_of_training() -> None:
    assert not loaded("import comporta.nn", after="import torch") & {*HEAVY} - {"llvmlite"}


def loaded(statement: str, *, after: str = "pass") -> set[str]:
    """The packages that a statement loads in a fresh process, after another one."""
    code = (
        f"import sys; {after}; before = set(sys.modules); {statement}; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_vectors_are_as_wide_as_the_machine_says() -> None:
    assert machine.vector_bytes() in (16, 32, 64)
    for bits in (32, 64):
        real = machine.real(bits)
        assert real.lanes * real.bytes == machine.vector_bytes()
        assert engine.products(bits) is engine.products(bits)


def test_buffers_come_back_and_are_used_again() -> None:
    first, second = Lease(3711, torch.float32), Lease(3711, torch.float32)
    assert all(3711 <= lease.numbers.numel() < 2 * 3711 for lease in (first, second))
    places = {first.address, second.address}
    assert len(places) == 2
    del first, second
    other = Lease(3711, torch.float64)
    again = [Lease(3711, torch.float32) for _ in range(2)]
    assert {lease.address for lease in again} == places
    assert other.address not in places


def test_a_buffer_serves_a_smaller_need_that_is_not_too_small() -> None:
    free = {size for size, dtype in memory._free if dtype == torch.float64}
    count = 2 * max(free, default=1000)
    large = Lease(count, torch.float64)
    place = large.address
    del large
    half = Lease(count // 2, torch.float64)
    assert half.address != place
    most = Lease(count - 1, torch.float64)
    assert most.address == place
    assert most.numbers.numel() == count


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_too_large_a_buffer_leaves_nothing_behind() -> None:
    before = memory._free_bytes
    with pytest.raises(RuntimeError):
        Lease(1 << 60, torch.float32)
    gc.collect()
    assert memory._free_bytes == before


def test_a_lease_may_die_while_another_one_takes() -> None:
    """The collector may run at any allocation, also inside the lock."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", _DYING], timeout=100, check=False)
    assert done.returncode == 0


_DYING = """
import gc, torch
from comporta.kernels.cpu.memory import Lease
gc.set_threshold(1)
for i in range(3000):
    lease = Lease(i % 7 * 16 + 16, torch.float32)
    cycle = [lease]
    cycle.append(cycle)
    del lease, cycle
    Lease(i % 5 * 16 + 16, torch.float32)
"""


def test_memory_that_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buffers of ever new sizes do not pile up."""
    monkeypatch.setattr(memory, "_KEPT_BYTES", 100_000)
    for size in range(1, 300):
        Lease(size * 101, torch.float64)
    gc.collect()
    waiting = [held.numbers for all_held in memory._free.values() for held in all_held]
    assert sum(flat.nbytes for flat in waiting) == memory._free_bytes <= 100_000


def test_nothing_depends_on_what_memory_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every buffer is handed out full of NaN, and nothing that was not written is ever read."""
    genuine = Lease.__init__

    def poisoned(self: Lease, count: int, dtype: torch.dtype) -> None:
        genuine(self, count, dtype)
        self.numbers.fill_(torch.nan)

    clean = {name: problems.solve(problem, "cpu") for name, problem in _samples()}
    monkeypatch.setattr(Lease, "__init__", poisoned)
    for name, problem in _samples():
        problems.assert_same_bits(problems.solve(problem, "cpu"), clean[name])
        with torch.no_grad():
            output, _ = problems.forward(problem, "cpu")
        assert torch.equal(output, clean[name]["output"])


def _samples() -> Iterator[tuple[str, problems.Problem]]:
    for cell in ("gru", "gru-reset-before", "lstm-peephole-output", "minlstm"):
        for hidden in (16, 17):
            for lengths in (None, torch.tensor([4, 0, 2, 1, 3])):
                problem = problems.make(
                    cell, batch=5, time=4, depth=5, hidden=hidden, dtype=torch.float32,
                    lengths=lengths, reverse=hidden == 17,
                )  # fmt: skip
                yield f"{cell} {hidden} {lengths}", problem
