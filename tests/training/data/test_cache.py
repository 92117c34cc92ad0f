"""Training data in a cache on disk: the same as in memory, written once and atomically."""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate import Accelerator

from sineformer.training.data import cache as corpus_cache
from sineformer.training.data import corpus as corpus_module
from sineformer.training.data.bpe import draw_sample, train_vocabulary
from sineformer.training.data.embedded_task import load_split
from sineformer.training.data.encoding import EncodedPairs
from sineformer.training.data.loading import Data, DataError, data_digests, load_data
from sineformer.training.data.overlap import REPEATED
from sineformer.training.data.tokenizer import save_tokenizers
from sineformer.training.preflight import read_settings
from sineformer.training.settings.arguments import Settings
from sineformer.training.settings.data_arguments import TokenizerArguments

ARRAYS = ("source_ids", "source_offsets", "target_ids", "target_offsets")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with two files of training data, some rows bad, and validation data."""
    pairs = load_split("train", 90, seed=5)
    rows = [f"{source}\t{target}" for source, target in pairs]
    (tmp_path / "first.tsv").write_text("\n".join([*rows[:50], "no column"]) + "\n")
    (tmp_path / "second.tsv").write_text("\n".join(["\tempty", *rows[50:80]]) + "\n")
    (tmp_path / "validation.tsv").write_text("\n".join(rows[80:]) + "\n")
    return tmp_path


SETTINGS = {
    **{
        "source_language": ["en"],
        "target_language": ["de"],
        "train_files": ["first.tsv", "second.tsv"],
        "validation_files": ["validation.tsv"],
    },
    **{"vocab_size": ["400"], "max_length": ["30"], "max_tokens": ["200"], "max_steps": ["1"]},
    "max_unusable_share": ["0.9"],
}


def test_several_pairs_of_files_are_the_same_in_memory_and_in_the_cache(files: Path) -> None:
    for name in ("first", "second"):
        rows = [line.split("\t") for line in (files / f"{name}.tsv").read_text().splitlines() if line.count("\t") == 1]
        for side, language in enumerate(("en", "de")):
            (files / f"{name}.{language}").write_text("".join(f"{row[side]}\n" for row in rows))
    names = ["first.en", "first.de", "second.en", "second.de", "second.en", "second.de"]
    plain, written, read = (load(files, "--train_files", *names, cache=cache) for cache in (None, "cache", "cache"))
    assert plain.train.report.read == 50 + 2 * 31, "the second pair of files twice"
    for other in (written, read):
        assert data_digests(other) == data_digests(plain)
        assert [other.train.location(row) for row in range(other.train.size)] == [
            Path(plain.train.location(row)).name for row in range(plain.train.size)
        ]


def settings_of(files: Path, *flags: str) -> Settings:
    given = {flag.removeprefix("--") for flag in flags}
    kept = [word for key, values in SETTINGS.items() if key not in given for word in (f"--{key}", *values)]
    return read_settings([*kept, "--data_dir", str(files), "--output_dir", str(files / "run"), *flags])


def load(files: Path, *flags: str, cache: str | None = "cache") -> Data:
    location = [] if cache is None else ["--cache_dir", str(files / cache)]
    return load_data(settings_of(files, *location, *flags), Accelerator(cpu=True))


def names(files: Path) -> set[str]:
    return {path.name for path in (files / "cache").iterdir() if path.is_dir()}


@pytest.fixture
def encodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by the number of pairs whenever pairs are encoded for the cache."""
    sizes: list[int] = []
    encode = corpus_cache.encode_usable

    def noted(text: Any, *rest: Any) -> EncodedPairs:
        sizes.append(len(text))
        return encode(text, *rest)

    monkeypatch.setattr(corpus_cache, "encode_usable", noted)
    return sizes


@pytest.mark.parametrize("part", [10_000, 7])
def test_the_cache_holds_what_memory_would(files: Path, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    monkeypatch.setattr(corpus_module, "ENCODING_CHUNK", part)
    plain, mapped = load(files, cache=None), load(files)
    assert isinstance(mapped.train.pairs.source_ids, np.memmap)
    for name in ARRAYS:
        assert np.array_equal(getattr(mapped.train.pairs, name), getattr(plain.train.pairs, name)), name
    assert np.array_equal(mapped.train.pairs.lengths_on_demand[:], plain.train.pairs.lengths)
    assert 0 < len(mapped.train.pairs) < 80, "some are longer than 30 tokens"
    for index in range(len(mapped.train.pairs)):
        assert plain.train.location(index).endswith(mapped.train.location(index))
    assert mapped.train.location(0).startswith("first.tsv:")
    assert mapped.train.location(len(mapped.train.pairs) - 1).startswith("second.tsv:")
    assert mapped.train.report.reasons == plain.train.report.reasons
    assert (mapped.train.report.read, mapped.train.report.kept) == (82, plain.train.report.kept)
    assert data_digests(mapped) == data_digests(plain)


def test_repeated_pairs_are_reported_as_without_a_cache(files: Path) -> None:
    text = (files / "second.tsv").read_text()
    (files / "second.tsv").write_text(text + (files / "first.tsv").read_text().splitlines()[2] + "\n")
    plain, mapped = (load(files, cache=cache).train.report.notes[REPEATED] for cache in (None, "cache"))
    assert (mapped.count, mapped.places) == (plain.count, ["second.tsv:32"])


def test_a_cache_made_when_more_bad_rows_were_allowed_is_checked_again(files: Path, encodings: list[int]) -> None:
    load(files)
    made = names(files)
    message = r"train data: \d+ of 82 rows .* cannot be used, and max_unusable_share allows 20\.0%"
    with pytest.raises(DataError, match=message):
        load(files, "--max_unusable_share", "0.2")
    assert (names(files), sum(encodings)) == (made, 80), "and it is not made again"


def test_mostly_bad_rows_leave_no_cache(files: Path) -> None:
    (files / "first.tsv").write_text("no column\n" * 99)
    message = (
        r"train data: 100 of 130 rows \(76\.9%\) cannot be used(.|\n)*wrong number of columns: 99 \(.*first\.tsv:1,"
    )
    with pytest.raises(DataError, match=message):
        load(files, "--max_length", "100", "--max_unusable_share", "0.5")
    assert names(files) == set()


def test_a_cache_that_is_there_is_only_read(files: Path) -> None:
    load(files)
    for lock in (files / "cache").glob("*.lock"):
        lock.unlink()
    load(files)
    assert not list((files / "cache").glob("*.lock")), "it may be on a disk that takes no files"


def test_a_cache_of_another_version_is_not_used(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(files)
    before = names(files)
    monkeypatch.setattr(corpus_module, "FORMAT", corpus_module.FORMAT + 1)
    load(files)
    assert len(names(files) - before) == len(before)


def test_a_second_run_tokenises_nothing(files: Path, encodings: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    first = load(files)
    shown = capsys.readouterr().err
    assert sum(encodings) == 80
    second = load(files)
    assert sum(encodings) == 80
    assert capsys.readouterr().err == shown != "", "the report of bad rows is printed again"
    assert data_digests(second) == data_digests(first)


def test_a_vocabulary_of_the_cache_is_saved_as_any_other(files: Path) -> None:
    saved = []
    for cache in (None, "cache"):
        folder = files / f"saved with {cache}"
        folder.mkdir()
        save_tokenizers(load(files, cache=cache).tokenizers, folder)
        saved.append({file.name: file.read_bytes() for file in folder.glob("*.json")})
    assert saved[0] == saved[1]
    assert saved[0].keys() == {"tokenizer.json", "tokenizer_config.json"}


def test_the_same_content_elsewhere_is_found_too(files: Path, encodings: list[int]) -> None:
    load(files)
    for name in ("first.tsv", "second.tsv"):
        (files / "moved").mkdir(exist_ok=True)
        (files / name).rename(files / "moved" / name)
    moved = load(files, "--train_files", "moved/first.tsv", "moved/second.tsv")
    assert sum(encodings) == 80
    assert moved.train.location(0).startswith("first.tsv:")


@pytest.mark.parametrize(
    "change",
    [
        *(["--max_length", "20"], ["--max_characters", "50"], ["--max_length_ratio", "1.2"]),
        *(["--vocab_size", "350"], ["--tokenizer_sample", "20"], None),
    ],
    ids=["max_length", "max_characters", "max_length_ratio", "vocab_size", "tokenizer_sample", "content"],
)
def test_whatever_changes_the_pairs_makes_them_again(files: Path, change: list[str] | None) -> None:
    load(files)
    before = names(files)
    if change is None:
        text = (files / "first.tsv").read_text()
        (files / "first.tsv").write_text(text.replace("a", "e", 1))
    changed, plain = load(files, *(change or [])), load(files, *(change or []), cache=None)
    assert names(files) > before
    assert data_digests(changed) == data_digests(plain)
    assert np.array_equal(changed.train.pairs.source_ids, plain.train.pairs.source_ids)


def test_bpe_dropout_needs_no_other_cache(files: Path) -> None:
    load(files)
    before = names(files)
    load(files, "--bpe_dropout", "0.1")
    assert names(files) == before


def in_a_fork(call: Callable[[], Any]) -> int:
    """Return the exit status of a process that makes this call."""
    child = os.fork()
    if child == 0:
        try:
            call()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_kill_while_it_is_written_leaves_no_usable_folder(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus_module, "ENCODING_CHUNK", 30)
    load(files)
    expected = load(files).train
    tokenizers = next(name for name in names(files) if name.startswith("tokenizers"))
    corpus = next(name for name in names(files) if name.startswith("pairs"))
    (files / "cache" / corpus).rename(files / "elsewhere")
    encode = corpus_cache.encode_usable

    def killed_at_the_second(text: Any, *rest: Any) -> EncodedPairs:
        if text.files[0].endswith("second.tsv") or text.files[-1].endswith("second.tsv"):
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(text, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(corpus_cache, "encode_usable", killed_at_the_second)
        assert in_a_fork(lambda: load(files)) == -signal.SIGKILL
    assert names(files) == {tokenizers, f"{corpus}.writing"}
    again = load(files).train
    assert names(files) == {tokenizers, corpus}
    assert np.array_equal(again.pairs.source_ids, expected.pairs.source_ids)


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_a_damaged_cache_is_made_again(files: Path, capsys: pytest.CaptureFixture[str], damage: str) -> None:
    expected = np.array(load(files).train.pairs.source_ids)
    file = next((files / "cache").glob("pairs-*/source_ids.int32"))
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-4] if damage == "truncated" else content[:-1] + bytes([content[-1] ^ 1]))
    assert np.array_equal(load(files).train.pairs.source_ids, expected)
    shown = capsys.readouterr().err
    assert f"warning: {file.parent}: source_ids.int32" in shown
    assert "writing it again" in shown
    assert file.read_bytes() == content


def test_processes_that_start_together_make_it_once(files: Path) -> None:
    notes = files / "notes"
    encode = corpus_cache.encode_usable

    def noted(text: Any, *rest: Any) -> EncodedPairs:
        with notes.open("a") as lines:
            lines.write("encoded\n")
        time.sleep(1)  # meanwhile the others wait
        return encode(text, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(corpus_cache, "encode_usable", noted)
        children = []
        for _ in range(3):
            child = os.fork()
            if child == 0:
                try:
                    load(files)
                except BaseException:
                    os._exit(1)
                os._exit(0)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert notes.read_text().splitlines() == ["encoded"]


def test_refused_rows_are_refused_and_leave_no_cache(files: Path) -> None:
    with pytest.raises(DataError, match=r"^(?!.*cannot write).*bad rows are refused here"):
        load(files, "--on_bad_rows", "refuse")
    assert not any(name.startswith("pairs") for name in names(files))


def test_a_full_disk_is_an_error_with_the_fix(files: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, limits[1]))
    try:
        with pytest.raises(DataError, match=r"cannot write the cache .*choose another cache_dir"):
            load(files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [name for name in names(files) if not name.endswith(".lock")]


def test_a_sample_is_the_same_each_time_and_no_larger_than_asked() -> None:
    pairs = [(str(number), str(-number)) for number in range(5_000)]
    sample = draw_sample(iter(pairs), 500)
    assert sample == draw_sample(iter(pairs), 500)
    assert len(set(sample)) == 500
    assert set(sample) <= set(pairs)
    assert sum(int(source) for source, _ in sample) / 500 == pytest.approx(2500, rel=0.1), "not the first ones"
    assert draw_sample(iter(pairs[:300]), 500) == pairs[:300]


@pytest.mark.parametrize("separate", [None, 350])
def test_a_vocabulary_needs_no_list_of_the_text(small_text: Any, separate: int | None) -> None:
    def stream() -> Iterator[tuple[str, str]]:
        yield from small_text.pairs()

    sizes = TokenizerArguments(vocab_size=400, target_vocab_size=separate)
    streamed, listed = train_vocabulary(sizes, stream), train_vocabulary(sizes, lambda: iter(list(small_text.pairs())))
    assert streamed.digest() == listed.digest()
    assert streamed.joint is (separate is None)
    sample = train_vocabulary(TokenizerArguments(vocab_size=400, tokenizer_sample=sys.maxsize), stream)
    assert sample.joint
    assert separate is not None or sample.digest() == listed.digest()
