"""Two minutes of training, then what came of it: the `comporta` commands on the embedded text.

    make demo        or        python -m examples.demo [--minutes 2] [--out runs/demo]

Trains a GRU on the source of the Python standard library, compares how well it predicts the tenth
held out with gzip and with a 5-gram, lets it write, and asks it which of two lines is Python.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import shlex
import subprocess
import sys

from rich.console import Console
from rich.markup import escape
from rich.rule import Rule
from rich.table import Table

from benchmarks.ngram import KneserNey
from comporta.data import Vocabulary, embedded_corpus, split

ORDER = 5
SAMPLED_CHARACTERS = 400
LINES = ("    if value is not None:", "    if value not is None:")

console = Console(highlight=False, soft_wrap=True)


def comporta(*arguments: str, capture: bool = False) -> str:
    """Run a command of comporta, shown as one would type it; its standard output if captured."""
    console.print(f"[bold]$ comporta {escape(shlex.join(arguments))}[/bold]")
    done = subprocess.run(
        [sys.executable, "-m", "comporta", *arguments],
        stdout=subprocess.PIPE if capture else None,
        text=True,
    )
    if done.returncode:
        sys.exit(done.returncode)
    return done.stdout or ""


def heading(title: str, explanation: str) -> None:
    """Announce a part of the demo."""
    console.print()
    console.print(Rule(title, align="left"))
    console.print(f"{explanation}\n", style="dim")


def gzip_bits(text: str) -> int:
    """The size of a text compressed as far as gzip can."""
    return 8 * len(gzip.compress(text.encode(), compresslevel=9))


def ngram_bits(train: str, validation: str) -> float:
    """Bits that an n-gram model of the characters needs for the held-out text."""
    vocabulary = Vocabulary.learn(train)
    model = KneserNey(vocabulary.encode(train).ids.numpy(), vocabulary=len(vocabulary), order=ORDER)
    return model.nats(vocabulary.encode(validation).ids.numpy()) / math.log(2)


def compare(model_bits: float, train: str, validation: str) -> None:
    """Print bits a character of the held-out text: all of them for the same characters.

    Args:
        model_bits: bits a character of the trained model.
        train: the part of the text that all may learn from.
        validation: the part that is predicted.
    """
    table = Table("model", "bits a character", "what it is")
    for name, bits, what in (
        ("gzip", gzip_bits(validation), "level 9, the held-out text alone"),
        (
            "gzip, primed",
            gzip_bits(train + validation) - gzip_bits(train),
            "what the held-out text adds to the compressed training text",
        ),
        (f"{ORDER}-gram", ngram_bits(train, validation), "modified Kneser-Ney on characters"),
        ("GRU", model_bits * len(validation), "one layer of 256, the model just trained"),
    ):
        table.add_row(name, f"{bits / len(validation):.3f}", what)
    console.print(table)


def main() -> None:
    """Train, compare, sample, score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--minutes", type=float, default=2.0, help="how long to train (%(default)s)"
    )
    parser.add_argument("--out", default="runs/demo", help="folder of the model (%(default)s)")
    options = parser.parse_args()
    train, validation = split(embedded_corpus())
    heading(
        "1. Train",
        f"A GRU reads {len(train):,} characters of the Python standard library, one after the "
        f"other, and learns to predict the next; {len(validation):,} more are held out.",
    )
    length = ("--minutes", f"{options.minutes:g}")
    trained = json.loads(
        comporta(
            *("train", "language-model", "--out", options.out, *length, "--overwrite", "--json"),
            capture=True,
        )
    )
    heading(
        "2. Compare",
        "Bits needed for each held-out character. Fewer is better: who predicts well has little "
        "left to say. Untrained it would be about 7.",
    )
    compare(trained["validation"]["bits_per_character"], train, validation)
    heading("3. Sample", "The model goes on from 'def ', one character at a time.")
    sampling = ("--length", f"{SAMPLED_CHARACTERS}", "--temperature", "0.7", "--seed", "1")
    comporta("generate", options.out, "--prime", "def ", *sampling)
    heading(
        "4. Score",
        "How probable are two lines? The same characters, but only the first is Python; the "
        "log-probability nearer to 0 is the more probable.",
    )
    comporta("score", options.out, *LINES)
    console.print(
        "\nYour own text: [bold]comporta train language-model FILE.txt --out runs/mine[/bold]"
        "   (all commands: comporta --help)"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
