"""The fused CPU backend (placeholder until the engine lands)."""

from comporta.kernels.reference import run as run


def obstacle(program, x, state, weights):  # type: ignore
    return "the engine is not built yet"


def machine() -> str:
    return "cpu"
