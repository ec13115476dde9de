"""Run one data set by name, keep its results, and make docs/results.md anew."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from benchmarks.tasks.result import write_results

NAMES = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if path.stem not in ("__init__", "__main__", "result")
)


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*NAMES, "page"], help="a data set; page: the page alone")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    options = parser.parse_args()
    if options.name != "page":
        for result in importlib.import_module(f"benchmarks.tasks.{options.name}").run(options.data):
            result.keep()
            print(f"{result.task}: {result.ours:.4g} {result.metric} ({result.bar or 'no bar'})")
    write_results()


if __name__ == "__main__":
    main()
