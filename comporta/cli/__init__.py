"""The command line: one file a command."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys

from comporta.errors import ComportaError


def main() -> None:
    """Run the command line; what the user can mend is one paragraph and status 2."""
    for stream in (sys.stdout, sys.stderr):
        # A text may hold what the terminal's encoding has no place for; that is no reason to stop.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # What the library has to say of its work is said like everything else.
    logging.basicConfig(format="comporta: %(message)s", stream=sys.stderr, force=True)
    from comporta.cli.app import app

    try:
        try:
            app(prog_name="comporta")
        finally:
            # Here, and not when Python ends: what cannot be written is to be said.
            if sys.stdout is not None:
                sys.stdout.flush()
    except ComportaError as error:
        print(f"comporta: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        _discard_output()
        # Whoever read the output has read enough: no reason to say anything.
        if isinstance(error, BrokenPipeError):
            sys.exit(1)
        what = error.filename or "the output"
        print(f"comporta: the system refuses {what}: {error.strerror}; mend that", file=sys.stderr)
        sys.exit(2)


def _discard_output() -> None:
    """Let what could not be written go, or Python would try again when it ends."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
