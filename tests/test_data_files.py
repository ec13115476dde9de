"""Folders of classes and manifests: each file with its label, and every gap with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from comporta.data import read_labelled_files
from comporta.errors import DataError

WAV = (".wav", ".flac")


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_subfolder_is_a_class(tmp_path: Path) -> None:
    fill(
        tmp_path, "yes/b.wav", "yes/a.FLAC", "no/deep/c.wav", "no/notes.txt", ".git/x", ".DS_Store"
    )
    found = list(read_labelled_files(tmp_path, WAV))
    assert [(f.path.name, f.label) for f in found] == [
        ("c.wav", "no"),
        ("a.FLAC", "yes"),
        ("b.wav", "yes"),
    ]
    assert found[0].where == str(tmp_path / "no/deep/c.wav")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("all.tsv", "s/a.wav\tyes\n\ns/b c.wav\tno way\n"),
        ("all.tsv", "path\tlabel\ns/a.wav\tyes\ns/b c.wav\tno way\n"),
        ("all.csv", 's/a.wav,yes\n"s/b c.wav","no way"\n'),
        ("all.csv", 'label,length,path\nyes,1,s/a.wav\n"no way",2,"s/b c.wav"\n'),
        (
            "all.jsonl",
            '{"path": "s/a.wav", "label": "yes"}\n{"label": "no way", "path": "s/b c.wav"}\n',
        ),
    ],
)
def test_a_manifest_names_files_beside_it(tmp_path: Path, name: str, text: str) -> None:
    fill(tmp_path, "s/a.wav", "s/b c.wav")
    (tmp_path / name).write_text(text)
    found = list(read_labelled_files(tmp_path / name, WAV))
    assert [(f.path, f.label) for f in found] == [
        (tmp_path / "s/a.wav", "yes"),
        (tmp_path / "s/b c.wav", "no way"),
    ]
    assert found[1].where.startswith(f"{tmp_path / name}, line ")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("all.tsv", "a.wav\tyes\nb.wav\tyes\n", r"all\.tsv, line 2: no such file: .*b\.wav"),
        ("all.tsv", "a.wav\tyes\na.wav\n", r"all\.tsv, line 2: 1 columns"),
        ("all.csv", 'a.wav,yes\na.wav,"yes\n', r"all\.csv, line 2: .*quotes"),
        ("all.csv", "a.wav,yes\na.wav,\n", r"all\.csv, line 2: the label is empty"),
        ("all.jsonl", '{"path": "a.wav"}\n', r"all\.jsonl, line 1: no field 'label'"),
        ("all.txt", "a.wav yes\n", "is no manifest"),
        ("all.tsv", "path\tlabel\n", "give a file with one or more"),
        ("absent.tsv", None, "no such file"),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_line(
    tmp_path: Path, name: str, text: str | None, words: str
) -> None:
    fill(tmp_path, "a.wav")
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=words):
        list(read_labelled_files(tmp_path / name, WAV))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["yes/a.wav", "no/a.txt"], "the class 'no' is empty"),
        (["yes/a.wav", "b.wav"], r"b\.wav has no class"),
        (["a.txt"], r"holds no \.wav or \.flac file"),
    ],
)
def test_a_folder_with_gaps_is_refused(tmp_path: Path, names: list[str], words: str) -> None:
    fill(tmp_path, *names)
    with pytest.raises(DataError, match=words):
        list(read_labelled_files(tmp_path, WAV))
