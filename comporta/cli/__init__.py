"""The command line: one file a command."""

from __future__ import annotations

import io
import sys

from comporta.errors import ComportaError


def main() -> None:
    """Run the command line; a mistake that the user can mend is one paragraph and status 2."""
    for stream in (sys.stdout, sys.stderr):
        # A text may hold what the terminal's encoding has no place for; that is no reason to stop.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    from comporta.cli.app import app

    try:
        app(prog_name="comporta")
    except ComportaError as error:
        print(f"comporta: {error}", file=sys.stderr)
        sys.exit(2)
