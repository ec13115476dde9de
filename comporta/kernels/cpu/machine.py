"""The machine: its vector width, and turning LLVM IR into functions, cached on disk."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import threading
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
from llvmlite import ir

from comporta.errors import BackendError
from comporta.kernels.cache import cache_folder, write_whole
from comporta.kernels.cpu.emit import Real
from comporta.kernels.cpu.loop import REST

_DIGEST_BYTES = 32
# COMPORTA_VECTOR_BITS -> how the names of features begin that only wider vectors have.
_WIDER: dict[str, tuple[str, ...]] = {"": (), "512": (), "256": ("avx512",), "128": ("avx", "fma")}
_lock = threading.Lock()
# Compiled code lives as long as the process: functions hold plain addresses into it.
_engines: list[Any] = []


@cache
def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.add_symbol(REST, _rest_address())
    return llvm.Target.from_default_triple()


def _rest_address() -> int:
    """The system's function that lets another thread have the processor."""
    if sys.platform == "win32":
        rest = ctypes.WinDLL("kernel32").SwitchToThread
    else:
        rest = ctypes.CDLL(None).sched_yield
    return ctypes.cast(rest, ctypes.c_void_p).value or 0


@cache
def _host() -> tuple[str, str]:
    """The processor's name and its features, as LLVM writes them.

    COMPORTA_VECTOR_BITS asks for narrower vectors than it has: 256 or 128.
    """
    _target()
    features = llvm.get_host_cpu_features().flatten()
    asked = os.environ.get("COMPORTA_VECTOR_BITS", "")
    if asked not in _WIDER:
        raise BackendError(
            f"COMPORTA_VECTOR_BITS is {asked!r}; it may be {', '.join(filter(None, _WIDER))}, or "
            "not set for the widest vectors there are"
        )
    for prefix in _WIDER[asked]:
        features += "".join(f",-{f[1:]}" for f in features.split(",") if f[1:].startswith(prefix))
    return llvm.get_host_cpu_name(), features


@cache
def vector_bytes() -> int:
    """Bytes in one vector register: 64 with AVX-512, 32 with AVX2, 16 otherwise."""
    there = _features()
    if "avx512f" in there:
        return 64
    return 32 if {"avx2", "fma"} <= there else 16


def _features() -> set[str]:
    """What the processor has and is asked for."""
    features = set(_host()[1].split(","))
    return {f[1:] for f in features if f[0] == "+" and f"-{f[1:]}" not in features}


@cache
def multiplies_pairs() -> bool:
    """Whether the processor multiplies pairs of bfloat16 (AVX512-BF16)."""
    return "avx512bf16" in _features() and vector_bytes() == 64


def real(bits: int) -> Real:
    """The number type of kernels with factors of that many bits on this machine."""
    numbers = max(bits, 32)
    return Real(numbers, 8 * vector_bytes() // numbers, pairs=bits == 16)


@cache
def _sources() -> str:
    """A digest of the code that makes kernels, so that a new version compiles anew."""
    digest = hashlib.sha256(llvmlite.__version__.encode())
    folder = Path(__file__).parent
    for path in sorted([*folder.glob("*.py"), *folder.parent.glob("*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def load(key: str, build: Callable[[], ir.Module], names: Sequence[str]) -> dict[str, int]:
    """The addresses of compiled functions.

    Args:
        key: what the code is, in full; equal keys mean equal code.
        build: makes the LLVM module when no compiled one is in the cache.
        names: the functions wanted.
    """
    digest = hashlib.sha256("\n".join([_sources(), *_host(), key]).encode()).hexdigest()
    path = cache_folder() / f"{digest}.o"
    with _lock:
        engine = _engine()
        code = _read(path)
        if code is None:
            code = _compile(build())
            _write(path, code)
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
        _engines.append(engine)
        addresses = {name: engine.get_function_address(name) for name in names}
        for name, address in addresses.items():
            llvm.add_symbol(name, address)
        return addresses


def _engine() -> Any:
    empty = llvm.parse_assembly("")
    return llvm.create_mcjit_compiler(empty, _machine())


def _machine() -> Any:
    cpu, features = _host()
    return _target().create_target_machine(cpu=cpu, features=features, opt=3, jit=True)


def _compile(module: ir.Module) -> bytes:
    machine = _machine()
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    parsed = llvm.parse_assembly(str(module))
    parsed.verify()
    tuning = llvm.create_pipeline_tuning_options(speed_level=2)
    # Everything is vectors already; the vectorizers would only add time and code.
    tuning.loop_vectorization = False
    tuning.slp_vectorization = False
    tuning.loop_unrolling = False
    passes = llvm.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(parsed, passes)
    code: bytes = machine.emit_object(parsed)
    return code


def _read(path: Path) -> bytes | None:
    """Compiled code from the cache; None if there is none or it is damaged."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    digest, code = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
    return code if _digest(path, code) == digest else None


def _digest(path: Path, code: bytes) -> bytes:
    """The checksum of a file of the cache; a file under another's name does not have it."""
    return hashlib.sha256(path.stem.encode() + code).digest()


def _write(path: Path, code: bytes) -> None:
    """Keep compiled code; a cache that cannot be written costs time, never correctness."""
    try:
        write_whole(path, _digest(path, code) + code)
    except OSError:
        return
