"""Test thousands of generated bad inputs: each gives rows, rows counted as bad, or an error that names the
file or the key; never in another exception, and never in none at all.

Every input is a function of `SEED`, its kind and its number, which a failure shows: `read_case("tsv", 17, folder)`
makes that one again.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import json
import lzma
import random
import signal
import string
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from sineformer.training.data.cleaning import CONTROL_CHARACTER, Limits, clean
from sineformer.training.data.readers.arrow_tables import read_hub
from sineformer.training.data.readers.rows import ColumnNames, Row, is_unicode
from sineformer.training.data.readers.sources import read_files
from sineformer.training.preflight import read_settings
from sineformer.training.settings.arguments import CONCERNS
from sineformer.training.settings.recipe import RecipeError
from sineformer.training.train import main

SEED = 1
READ_SECONDS, RUN_SECONDS = 30, 240  # a busy machine is slow, and a hang is longer
READER_CASES = {"parallel": 450, "tsv": 300, "csv": 350, "jsonl": 350, "parquet": 350, "hub": 15}
RECIPE_CASES = {"recipe": 300, "command line": 300}
RUNS = 8
EN_DE = ColumnNames("en", "de")
KEYS = [key for concern in CONCERNS.values() for key in concern.__dataclass_fields__]

PAIRS = [
    ("A dog runs.", "Ein Hund läuft."),
    ('He says "yes", or no.', "Er sagt „ja“, oder nein."),
    ("Line\u2028separator inside.", "Zeilentrenner 💥 darin."),
    *((f"Number {number} sleeps.", f"Nummer {number} schläft.") for number in range(40)),
]
NASTY = [
    *(b"\0", b"\r", b"\n", b"\r\n", b"\n\n\n", b"\t", b",", b'"', b'""', b"'", b"\\", b"\x1a", b"\x1b[2J", b"\x7f"),
    *(b"\xff", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"),
    b"\x80" * 9,
    *(b"\xe2\x80\xa8", b"\xe2\x80\xae", b"\xc2\x85", "e\u0301\u200d🏳️".encode(), b"</s>", b"<unk>", b"NaN", b"null"),
    *(b'{"en":', b"}", b"[" * 3000, b'{"a":' * 2000, b'"\\ud800"', b"1" * 5000, b"1e999", b"x" * 150_000, b" " * 3000),
    *(b"\x1f\x8b\x08", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"PAR1", b"PK\x03\x04", b"\0" * 4096),
]
VALUES = [
    *("", "~", "null", "no", "off", "yes", "true", "-1", "0", "1", "2", "1e-3", "1e999", "-1e999", "nan", ".nan"),
    "inf",
    *(".inf", "0x10", "0o17", "017", "1_000", "1:30", "2024-01-01", "9" * 30, "9" * 5000, "1.0", "1,5", "٣", "½"),
    *("en", "de", "files", "embedded", "linear", "bf16", "fp16", "sdpa", "eager", "gelu", "../..", "/dev/null", "a b"),
    *("{}", "[]", "[1, 2]", "{a: 1}", "&a x", "*a", "!!int 3", "!!python/object:os.system x", "'", '"', "|", ">", "%"),
    *("- 1", "? x", "<<", "\0", "\x1b", "\u2028", "\ud800", "\ufeff", "x" * 3000, "'\\0'", '"\\0"', '"\\ud800"'),
    *("@", "`"),
]


class Hang(BaseException):
    """An input took too long; no code may catch this."""


@contextlib.contextmanager
def no_hang(seconds: float = READ_SECONDS) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": partial(lzma.compress, preset=0),  # others clear memory for megabytes of text, a hundred times as long
    ".zst": partial(pyarrow.compress, codec="zstd", asbytes=True),
}


def parquet_bytes(rng: random.Random | None = None) -> bytes:
    """Return the pairs as Parquet; with `rng`, a few cells hold something else."""
    columns = {name: [pair[side].encode() for pair in PAIRS] for side, name in enumerate(EN_DE)}
    for _ in range(0 if rng is None else 5):
        rng.choice(list(columns.values()))[rng.randrange(len(PAIRS))] = rng.choice([*NASTY, None])
    arrays = {name: pyarrow.array(cells, pyarrow.binary()).view(pyarrow.string()) for name, cells in columns.items()}
    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(arrays), stream, row_group_size=20)
    return stream.getvalue()


VALID = {
    ".en": "".join(f"{source}\n" for source, _ in PAIRS).encode(),
    ".de": "".join(f"{target}\n" for _, target in PAIRS).encode(),
    ".tsv": ("en\tde\n" + "".join(f"{source}\t{target}\n" for source, target in PAIRS)).encode(),
    ".csv": ("en,de\n" + "".join('"{}","{}"\n'.format(*(x.replace('"', '""') for x in p)) for p in PAIRS)).encode(),
    ".jsonl": "".join(json.dumps({"en": s, "de": t}) + "\n" for s, t in PAIRS).encode(),
    ".parquet": parquet_bytes(),
}


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Return valid bytes with a few faults."""
    fault = rng.choice((with_a_fault, with_a_bad_line))
    for _ in range(rng.choice((1, 1, 2, 3, 6))):
        data = fault(data, rng)
    return data


def with_a_bad_line(data: bytes, rng: random.Random) -> bytes:
    """Return the lines, one of them changed."""
    lines = data.split(b"\n")
    line = rng.randrange(len(lines))
    place = rng.randrange(len(lines[line]) + 1)
    nasty = rng.choice(NASTY).replace(b"\n", b"")
    lines[line] = lines[line][:place] + nasty + lines[line][place:]
    return b"\n".join(lines)


def with_a_fault(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 3, 30, 300)))
    head, span, tail = data[:start], data[start:end], data[end:]
    lines = data.splitlines(keepends=True) or [b""]
    line = rng.randrange(len(lines))
    faults: list[Callable[[], bytes]] = [
        lambda: head + bytes([rng.randrange(256)]) + data[start + 1 :],
        lambda: head + bytes(byte ^ 1 << rng.randrange(8) for byte in span) + tail,
        lambda: head,
        lambda: head + tail,
        lambda: head + span + span + tail,
        lambda: head + rng.choice(NASTY) + span + tail,
        lambda: head + rng.randbytes(len(span)) + tail,
        lambda: b"".join(lines[:line] + lines[line + 1 :]),
        lambda: b"".join(lines[:line] + [lines[line]] * rng.choice((2, 50)) + lines[line:]),
        lambda: b"".join(rng.sample(lines, len(lines))),
        lambda: rng.choice((b"", b"\n", rng.choice(NASTY), rng.choice(list(VALID.values())))),
        lambda: data.replace(b"\n", rng.choice((b"\r", b"\r\n", b"\0\n", b"\n\n"))),
    ]
    return rng.choice(faults)()


def bad_file(folder: Path, name: str, suffix: str, rng: random.Random) -> Path:
    """Write a file of one kind, perhaps compressed, with faults in its text, in its archive or in both."""
    compression = "" if suffix == ".parquet" else rng.choice(["", "", *COMPRESS])
    data, where = VALID[suffix], rng.choice(("text", "archive", "both"))
    if where != "archive":
        data = parquet_bytes(rng) if suffix == ".parquet" else mutate(data, rng)
    data = COMPRESS[compression](data)
    path = folder / f"{name}{suffix}{compression}"
    path.write_bytes(data if where == "text" else mutate(data, rng))
    return path


def bad_rows(kind: str, folder: Path, rng: random.Random) -> Iterator[Row]:
    if kind == "hub":
        bad_file(folder, "train", rng.choice((".csv", ".jsonl", ".parquet")), rng)
        return read_hub(str(folder), EN_DE, rng.choice(("train", "train", "train[:9]", "train[x]", "test")))
    suffixes = (".en", ".de") if kind == "parallel" else (f".{kind}",) * rng.choice((1, 1, 2))
    files = [bad_file(folder, f"{number}-bad", suffix, rng) for number, suffix in enumerate(suffixes)]
    return read_files(files, rng.choice((EN_DE, EN_DE, EN_DE, None, ColumnNames("en", "fr"))))


def read_case(kind: str, number: int, folder: Path) -> str:
    """Make and read one input; return the outcome."""
    rng = random.Random(f"{SEED} {kind} {number}")
    folder.mkdir()
    refusal = ""
    with no_hang():
        try:
            text, report = clean(bad_rows(kind, folder, rng), Limits(), "drop")
        except ValueError as error:
            refusal = str(error)
    if refusal:
        assert str(folder) in refusal, f"no file is named: {refusal}"
        assert ";" in refusal, f"no fix is named: {refusal}"
        return "error"
    assert report.read == report.kept + report.bad == len(text) + report.bad
    assert all(found.places and str(folder) in found.places[0] for found in report.reasons.values())
    for sentence in text.sources + text.targets:
        assert sentence.strip()
        assert is_unicode(sentence)
        assert not CONTROL_CHARACTER.search(sentence)
    return "counted" if report.bad else "whole"


def bad_recipe(rng: random.Random) -> bytes:
    """Return a recipe with wrong keys and values in random order, or one with wrong bytes."""
    lines = []
    for _ in range(rng.randrange(8)):
        key = rng.choice(KEYS) if rng.random() < 0.8 else rng.choice(VALUES)
        if rng.random() < 0.2:
            key = key[1:] + rng.choice(string.printable)
        lines.append(f"{key}{rng.choice((':', ': ', ': ', ': ', ' '))}{rng.choice(VALUES)}\n")
    data = "".join(lines).encode("utf-8", "surrogatepass")
    return data if rng.random() < 0.5 else mutate(data + b"dataset: embedded\nmax_steps: 3\n", rng)


def settings_case(kind: str, number: int, folder: Path) -> str:
    """Make and read the settings of one recipe or command line; return the outcome."""
    rng = random.Random(f"{SEED} {kind} {number}")
    argv = ["--config", str(folder / f"{number}.yaml")] if kind == "recipe" else []
    if kind == "recipe":
        Path(argv[1]).write_bytes(bad_recipe(rng))
    for _ in range(rng.randrange(5)):
        flag = f"--{rng.choice(KEYS)}" if rng.random() < 0.7 else rng.choice(VALUES)
        argv += (
            [f"{flag}={rng.choice(VALUES)}"] if rng.random() < 0.3 else [flag, *rng.sample(VALUES, rng.randrange(3))]
        )
    given = " ".join(argv) + (Path(argv[1]).read_text("utf-8", "replace") if kind == "recipe" else "")
    if "max_steps" not in given and "num_epochs" not in given:
        argv += ["--max_steps", "3"]  # without a limit hardly any input would get past this one error
    problems: list[str] = []
    with no_hang():
        try:
            read_settings([*argv, "--output_dir", str(folder / "out")])
        except RecipeError as error:
            problems = error.problems
    for problem in problems:
        origins = ("command line: ", str(folder), "--config: ")
        known = problem.startswith(origins) or problem.split(":")[0].split(", ")[0] in [*KEYS, "model"]
        assert known, f"no key is named: {problem!r}"
        assert len(problem) < 1200, "a problem fills the screen"
    return "error" if problems else "whole"


def run_case(number: int, folder: Path) -> int:
    """Train on one input for a step, or end before; return the exit status."""
    rng = random.Random(f"{SEED} run {number}")
    folder.mkdir()
    suffix = rng.choice((".tsv", ".csv", ".jsonl", ".parquet", ".en"))
    recipe = {"dataset": "files", "data_dir": str(folder), "max_steps": "1", "vocab_size": "300", "use_cpu": "true"}
    recipe |= dict.fromkeys(("encoder_layers", "decoder_layers", "encoder_attention_heads", "num_beams"), "1")
    recipe |= dict.fromkeys(("d_model", "encoder_ffn_dim", "decoder_ffn_dim", "decoder_attention_heads"), "8")
    recipe |= {"source_language": "en", "target_language": "de"}
    recipe |= {"on_bad_rows": rng.choice(("refuse", "refuse", "drop")), "report_to": "none"}
    if suffix != ".en":
        recipe |= {"source_column": "en", "target_column": "de"}
    for split in ("train", "validation"):
        kinds = (".en", ".de") if suffix == ".en" else (suffix,)
        for kind in kinds:
            (folder / f"{split}{kind}").write_bytes(VALID[kind])
        names = [f"{split}{kind}" for kind in kinds]
        if rng.random() < 0.6:
            names = [bad_file(folder, split, kind, rng).name for kind in kinds]
        recipe[f"{split}_files"] = f"[{', '.join(names)}]"
    text = "".join(f"{key}: {value}\n" for key, value in recipe.items()).encode()
    (folder / "recipe.yaml").write_bytes(text if rng.random() < 0.8 else mutate(text, rng))
    with no_hang(RUN_SECONDS):
        return main(["--config", str(folder / "recipe.yaml"), "--output_dir", str(folder / "out")])


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("kind", READER_CASES)
def test_readers_end_in_rows_counts_or_a_clean_error(tmp_path: Path, kind: str) -> None:
    ends = set()
    for number in range(READER_CASES[kind]):
        try:
            ends.add(read_case(kind, number, tmp_path / str(number)))
        except BaseException as error:
            raise AssertionError(f'read_case("{kind}", {number}, folder) with SEED {SEED}: {error!r}') from error
    assert ends >= {"error", "counted"}


@pytest.mark.parametrize("kind", RECIPE_CASES)
def test_recipes_and_command_lines_end_in_settings_or_in_named_problems(tmp_path: Path, kind: str) -> None:
    ends = set()
    for number in range(RECIPE_CASES[kind]):
        try:
            ends.add(settings_case(kind, number, tmp_path))
        except BaseException as error:
            raise AssertionError(f'settings_case("{kind}", {number}, folder) with SEED {SEED}: {error!r}') from error
    assert "error" in ends
    assert list(tmp_path.glob("out*")) == []


def test_runs_end_with_a_model_or_with_an_error_and_nothing_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    statuses = set()
    for number in range(RUNS):
        folder = tmp_path / str(number)
        try:
            status = run_case(number, folder)
        except BaseException as error:
            raise AssertionError(f"run_case({number}, folder) with SEED {SEED}: {error!r}") from error
        shown = capfd.readouterr().err
        statuses.add(status)
        if status == 0:
            assert (folder / "out" / "model.safetensors").is_file()
        else:
            assert "\nerror: " in f"\n{shown}", f"run_case({number}, folder) with SEED {SEED}: {shown}"
            assert "Traceback" not in shown
            assert not (folder / "out").exists()
    assert statuses >= {0, 1}
