"""Transcribing sound that the tests make themselves: each letter is a tone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import Call
from reporters import Quiet

from benchmarks.tasks.fsdd_strings import write_strings
from comporta.data import read_audio
from comporta.errors import ConfigurationError, DataError
from comporta.models.ctc import prefix_beam
from comporta.tasks import kind, load
from comporta.tasks.trained_transcriber import TrainedTranscriber
from comporta.training import RunFolder

RATE = 8000
TONES = {"a": 400.0, "b": 800.0, "c": 1600.0, " ": 2800.0}
TEXTS = ["ab c", "b ca", "cab", "a cb", "bb a", "ca ac", "b aa", "c bc", "abc", "acca", "b b", "a"]


def sound(text: str, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Each letter a tone of 80 to 120 ms, a pause of 40 to 60 ms after it, some noise on all."""
    random = np.random.default_rng(seed)
    parts = [np.zeros(int(0.03 * rate))]
    for letter in text:
        time = np.arange(int(random.uniform(0.08, 0.12) * rate)) / rate
        parts += [0.3 * np.sin(2 * np.pi * TONES[letter] * time)]
        parts += [np.zeros(int(random.uniform(0.04, 0.06) * rate))]
    samples = np.concatenate(parts)
    return samples + 0.003 * random.standard_normal(len(samples))


def write(folder: Path, texts: Sequence[str], name: str = "all.tsv", seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, text in enumerate(texts):
        soundfile.write(folder / f"{name}{number}.wav", sound(text, seed=seed + number), RATE)
        lines.append(f"{name}{number}.wav\t{text}\n")
    (folder / name).write_text("".join(lines))
    return folder / name


SETTINGS: dict[str, object] = {
    "hidden": 24, "layers": 1, "dropout": 0.0, "stack": 2, "batch_size": 12, "lr": 0.02,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on tones, in `run`, with the sound beside it."""
    folder = tmp_path_factory.mktemp("tones")
    train = write(folder, TEXTS * 3, "train.tsv")
    validation = write(folder, TEXTS, "validation.tsv", seed=100)
    write(folder, ["cc ba", "a bca", "b"], "test.tsv", seed=200)
    files = {"files": (str(train),), "validation": str(validation)}
    options = {"epochs": 50, "validate_every": 50}
    log = Quiet()
    kind("transcriber").start(SETTINGS | files | options, RunFolder(folder / "run"), log)
    assert log.report["training recordings"] == 36
    assert log.report["samples a second"] == RATE
    assert log.report["unknown in validation"] == "0.00%"
    return folder


@pytest.fixture
def model(folder: Path) -> TrainedTranscriber:
    return load(folder / "run")  # type: ignore[no-any-return]


def test_it_writes_down_what_it_has_not_heard(folder: Path, model: TrainedTranscriber) -> None:
    assert model.evaluate_files([folder / "test.tsv"]) == {"wer": 0, "cer": 0, "recordings": 3}
    paths = model.read_inputs(folder / "test.tsv")
    for beam in (1, 8):
        found = model.predict(paths, beam=beam)
        assert [each.text for each in found] == ["cc ba", "a bca", "b"]
        assert [each.file for each in found] == paths


def test_the_command_line_says_the_same(folder: Path, call: Call) -> None:
    run, wav = folder / "run", folder / "test.tsv0.wav"
    status, out, _ = call("predict", run, wav, "--json")
    assert (status, json.loads(out)) == (0, [{"text": "cc ba", "file": str(wav)}])
    assert call("predict", run, "--file", folder / "test.tsv", "--beam", 1)[1].split("\n")[1] == (
        "a bca"
    )
    status, out, _ = call("evaluate", run, folder / "test.tsv", "--json")
    assert (status, json.loads(out)["wer"]) == (0, 0)


def pieces(samples: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    cuts = np.sort(random.integers(len(samples) + 1, size=random.integers(1, 30)))
    return iter(np.split(samples, cuts))


@pytest.mark.parametrize("seed", range(4))
def test_a_stream_in_any_pieces_gives_the_text_of_the_whole(
    folder: Path, model: TrainedTranscriber, seed: int
) -> None:
    path = folder / f"test.tsv{seed % 3}.wav"
    stream = model.stream()
    texts = [stream.feed(piece) for piece in pieces(read_audio(path, RATE).samples, seed)]
    assert "".join([*texts, stream.finish()]) == model.predict([path], beam=1)[0].text
    # Text comes while there is more to hear.
    assert len("".join(texts)) > 0


def test_a_stream_has_the_probabilities_of_the_whole(
    folder: Path, model: TrainedTranscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = read_audio(folder / "test.tsv1.wav", RATE).samples
    steps = torch.from_numpy(model.inputs.features(samples)).unsqueeze(0)
    rows = []
    advance = model.model.advance

    def spied(*arguments: object) -> object:
        rows.append(advance(*arguments))  # type: ignore[arg-type]
        return rows[-1]

    monkeypatch.setattr(model.model, "advance", spied)
    stream = model.stream()
    for piece in pieces(samples, 7):
        stream.feed(piece)
    stream.finish()
    found = torch.cat([row[0] for row, _ in rows])
    torch.testing.assert_close(found, model.model(steps, [steps.shape[1]])[0])


@pytest.mark.parametrize(
    ("level", "text"), [("bpe", "→ é"), ("word", "(ab, c). a!"), ("char", "ab c")]
)
def test_what_a_stream_has_written_never_changes(tmp_path: Path, level: str, text: str) -> None:
    """Byte pairs may cut a character, and words are joined to the marks around them."""
    train = write(tmp_path, ["a" * 9] * 4)
    train.write_text(train.read_text().replace("a" * 9, text))
    size = 256 if level == "bpe" else None
    settings = SETTINGS | {"level": level, "vocab_size": size, "files": (str(train),), "steps": 1}
    kind("transcriber").start(settings, RunFolder(tmp_path / "run"), Quiet())
    model = load(tmp_path / "run")
    tokens = model.vocabulary.encode(text).ids.tolist()
    stream, whole = model.stream(), model.vocabulary.decode(tokens)
    assert len(tokens) > 3
    stream._greedy.feed = lambda rows: [tokens.pop(0)] if tokens else []
    found = [stream.feed(np.zeros(400, np.float32)) for _ in range(12)]
    assert not tokens
    assert "".join(found) == whole
    assert " ".join(whole.split()) == text
    assert "\ufffd" not in "".join(found)


def test_a_language_model_decides_where_two_texts_may_be_heard(
    folder: Path, model: TrainedTranscriber, tmp_path: Path, call: Call
) -> None:
    wav, advisor = tmp_path / "a.wav", tmp_path / "lm"
    soundfile.write(wav, 0.5 * (sound("cabc") + sound("cacc")), RATE)
    steps = torch.from_numpy(model.inputs.features(read_audio(wav, RATE).samples)).unsqueeze(0)
    rows = model.model(steps, [steps.shape[1]])[0]
    best = prefix_beam(rows, width=8, blank=model.model.blank)
    heard, other = (model.vocabulary.decode(each.tokens) for each in best[:2])
    # A language model that knows nothing but the second best.
    (tmp_path / "words.txt").write_text(f"{other}\n" * 100)
    line = ["train", "language-model", tmp_path / "words.txt", "--hidden", 16, "--window", 20]
    assert call(*line, "--steps", 60, "--lr", 0.03, "--out", advisor)[0] == 0
    language, run = load(advisor), folder / "run"
    assert model.predict([wav])[0].text == heard
    assert model.predict([wav], language_model=language, weight=0.0)[0].text == heard
    assert model.predict([wav], language_model=language, weight=4.0)[0].text == other
    arguments = ["--language-model", advisor, "--weight", 4, "--bonus", 0.1, "--beam", 9]
    assert call("predict", run, wav, *arguments)[:2] == (0, f"{other}\n")
    (tmp_path / "test.tsv").write_text(f"a.wav\t{other}\n")
    assert model.evaluate_files([tmp_path / "test.tsv"])["wer"] > 0
    status, out, _ = call("evaluate", run, tmp_path / "test.tsv", *arguments, "--json")
    assert (status, json.loads(out)["wer"]) == (0, 0)
    status, _, err = call("predict", advisor, "a", "--beam", 3)
    assert (status, "predicts nothing" in err) == (2, True)


def test_a_run_interrupted_and_resumed_has_the_same_bits(folder: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"files": (str(folder / "test.tsv"),), "hold_out": 0.4, "steps": 4}
    settings |= {"dropout": 0.3, "level": "word", "validate_every": 2, "batch_size": 1}
    whole, broken = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "broken")
    transcriber = kind("transcriber")
    assert transcriber.start(settings, whole, Quiet()).finished
    assert not transcriber.start(settings, broken, Quiet(stop_at=1)).finished
    assert transcriber.resume({}, broken, Quiet()).finished
    last, expected = broken.last(), whole.last()
    assert last is not None
    assert expected is not None
    assert last.model.keys() == expected.model.keys()
    for name, value in expected.model.items():
        assert torch.equal(last.model[name], value), name
    (folder / "test.tsv").write_text((folder / "test.tsv").read_text().replace("cc ba", "cc bb"))
    with pytest.raises(DataError, match="the data has changed"):
        transcriber.resume({}, broken, Quiet())
    (folder / "test.tsv").write_text((folder / "test.tsv").read_text().replace("cc bb", "cc ba"))


def test_another_rate_is_resampled_and_said_once(folder: Path, call: Call, tmp_path: Path) -> None:
    wavs = [tmp_path / "x.wav", tmp_path / "y.flac"]
    for wav, text in zip(wavs, ("abc", "c b"), strict=True):
        soundfile.write(wav, sound(text, rate=16000), 16000)
    status, out, err = call("predict", folder / "run", *wavs)
    assert (status, out) == (0, "abc\nc b\n")
    assert err.count("were resampled") == 1
    assert "x.wav has 16000" in err


def spoil(folder: Path, case: str) -> Path:
    manifest = write(folder, ["ab", "c a", "b"])
    lines = manifest.read_text().splitlines()
    match case:
        case "broken":
            (folder / "all.tsv1.wav").write_bytes(b"RIFF....WAVE")
        case "missing":
            (folder / "all.tsv1.wav").unlink()
        case "long":
            lines[1] = f"all.tsv1.wav\t{'ab' * 60}"
        case "empty":
            lines[1] = "all.tsv1.wav\t "
        case "one":
            lines = lines[:1]
        case "short":
            soundfile.write(folder / "all.tsv1.wav", np.zeros(50), RATE)
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


BAD = {
    "broken": ["all.tsv1.wav", "cannot be read as sound"],
    "missing": ["all.tsv, line 2", "no such file"],
    "long": ["all.tsv, line 2", "longer than CTC can align", "120 tokens", "need 120 steps"],
    "empty": ["all.tsv, line 2", "is empty"],
    "one": ["there are 1 examples"],
    "short": ["all.tsv1.wav", "shorter than one window"],
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data_is_refused_before_anything_is_written(
    tmp_path: Path, call: Call, case: str
) -> None:
    manifest, out = spoil(tmp_path / "data", case), tmp_path / "run"
    status, shown, err = call("train", "transcriber", manifest, "--steps", 1, "--out", out)
    assert (status, shown) == (2, "")
    told = " ".join(err.split())
    assert [part for part in BAD[case] if part not in told] == []
    assert not out.exists()


def test_equal_letters_need_a_step_between_them(tmp_path: Path) -> None:
    """The recording has room for the letters alone and for no blanks."""
    manifest = write(tmp_path, ["a", "b", "a"])
    task = kind("transcriber").parts.recipe(
        SETTINGS | {"files": (str(manifest),), "steps": 1, "stack": 1}
    )
    steps = int(kind("transcriber").prepare(task, None)._sounds.lengths[0])  # type: ignore[attr-defined]
    for text, fits in (("ab" * (steps // 2), True), ("a" * (steps // 2 + 1 + steps % 2), False)):
        lines = manifest.read_text().splitlines()
        manifest.write_text("\n".join([f"all.tsv0.wav\t{text}", *lines[1:]]) + "\n")
        if fits:
            kind("transcriber").prepare(task, None)
        else:
            with pytest.raises(DataError, match="line 1: the transcript is longer"):
                kind("transcriber").prepare(task, None)


def test_a_folder_of_recordings_and_transcripts(folder: Path, tmp_path: Path) -> None:
    inner = tmp_path / "speech" / "7" / "1"
    inner.mkdir(parents=True)
    lines = []
    for number, text in enumerate(("ab", "c a", "cab")):
        soundfile.write(inner / f"7-1-{number}.flac", sound(text), RATE)
        lines.append(f"7-1-{number} {text}\n")
    (inner / "7-1.trans.txt").write_text("".join(lines))
    model = load(folder / "run")
    assert model.evaluate_files([tmp_path / "speech"])["wer"] == 0
    assert [Path(name).name for name in model.read_inputs(tmp_path / "speech")] == [
        f"7-1-{number}.flac" for number in range(3)
    ]


def test_what_does_not_fit_together_is_refused(
    folder: Path, tmp_path: Path, call: Call, model: TrainedTranscriber
) -> None:
    (tmp_path / "words.txt").write_text("a b c\n" * 40)
    line = ["train", "language-model", tmp_path / "words.txt", "--level", "word", "--window", 5]
    advisor = tmp_path / "lm"
    assert call(*line, "--hidden", 4, "--steps", 1, "--out", advisor)[0] == 0
    status, _, err = call(
        "predict", folder / "run", folder / "test.tsv0.wav", "--language-model", advisor
    )
    assert status == 2
    assert "both must be char, or both word" in " ".join(err.split())
    (tmp_path / "two.txt").write_text("x a b\ny c d\nx a\ny d\n" * 3)
    other = tmp_path / "classifier"
    assert call("train", "classifier", tmp_path / "two.txt", "--steps", 1, "--out", other)[0] == 0
    for command, what in (("predict", "a"), ("evaluate", tmp_path / "two.txt")):
        status, _, err = call(command, other, what, "--language-model", advisor)
        assert status == 2
        assert "--language-model is of no use to the model" in " ".join(err.split())
    with pytest.raises(ConfigurationError, match="width is 0"):
        model.predict([folder / "test.tsv0.wav"], beam=0)
    with pytest.raises(ConfigurationError, match="no files to train on"):
        kind("transcriber").parts.recipe({"steps": 1})


def test_two_directions_learn_and_cannot_stream(folder: Path, tmp_path: Path) -> None:
    settings = SETTINGS | {"files": (str(folder / "test.tsv"),), "steps": 1, "bidirectional": True}
    kind("transcriber").start(settings, RunFolder(tmp_path / "run"), Quiet())
    model = load(tmp_path / "run")
    assert len(model.predict([folder / "test.tsv0.wav"])) == 1
    with pytest.raises(ConfigurationError, match="needs the whole recording"):
        model.stream()


def test_strings_of_spoken_digits(data_folder: Path, tmp_path: Path) -> None:
    """A few seconds are too short to learn ten digits, and long enough to learn something."""
    recordings = data_folder / "fsdd"
    train, validation = (
        write_strings(recordings, tmp_path / f"{seed}.tsv", count=count, numbers=numbers, seed=seed)
        for seed, (count, numbers) in enumerate([(96, range(5, 8)), (12, range(8, 10))])
    )
    settings = SETTINGS | {"files": (str(train),), "validation": str(validation), "level": "word"}
    settings |= {"stack": 6, "batch_size": 8, "hidden": 48, "bidirectional": True, "epochs": 20}
    folder = RunFolder(tmp_path / "run")
    progress = kind("transcriber").start(
        settings | {"lr": 0.01, "validate_every": 80}, folder, Quiet()
    )
    assert progress.best is not None
    assert progress.best.figures["wer"] < 0.85
    found = load(folder.path).evaluate_files([validation])
    assert found["wer"] < 0.85
    assert found["recordings"] == 12
