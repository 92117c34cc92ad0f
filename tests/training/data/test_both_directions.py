"""Training pairs in both directions: every pair and its reverse, once each, with the tag of its target's language."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from sineformer.training.data import batches as batches_module
from sineformer.training.data.batches import Batches, open_batches
from sineformer.training.data.batching import MicroBatch, Seq2SeqCollator
from sineformer.training.data.both_directions import BothDirections
from sineformer.training.data.bpe import normalise
from sineformer.training.data.embedded_task import load_split
from sineformer.training.data.loading import Data, load_data
from sineformer.training.data.tokenizer import load_tokenizers, save_tokenizers
from sineformer.training.preflight import read_settings
from sineformer.training.settings.arguments import Settings
from sineformer.training.settings.recipe import RecipeError

PAIRS = [(normalise(source), normalise(target)) for source, target in dict.fromkeys(load_split("train", 90, seed=5))]
TRAIN, VALIDATION = PAIRS[:70], PAIRS[70:]
FILES = ["a.en.gz", "a.de.gz", "b.en", "b.de"]
FLAGS = {
    **{"train_files": FILES, "validation_files": ["val.en", "val.de"]},
    **{"source_language": ["en"], "target_language": ["de"], "both_directions": ["true"]},
    **{"vocab_size": ["400"], "max_length": ["99"], "max_tokens": ["200"], "max_steps": ["1"], "use_cpu": ["true"]},
}
STREAM = ("--streaming", "true", "--tokenizer_sample", "1000", "--shuffle_buffer", "20")
KINDS = {"memory": (), "cache": ("--cache_dir", "CACHE"), "stream": STREAM, "dropout": ("--bpe_dropout", "0.3")}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a folder with two pairs of training files, one of them compressed, and one for validation."""
    for name, pairs in (("a", TRAIN[:40]), ("b", TRAIN[40:]), ("val", VALIDATION)):
        for side, language in enumerate(("en", "de")):
            text = "".join(f"{pair[side]}\n" for pair in pairs).encode()
            (tmp_path / f"{name}.{language}").write_bytes(text)
            (tmp_path / f"{name}.{language}.gz").write_bytes(gzip.compress(text))
    return tmp_path


def settings_of(files: Path, *flags: str) -> Settings:
    words = [word.replace("CACHE", str(files / "cache")) for word in flags]
    given = {word.removeprefix("--") for word in words}
    kept = [word for key, values in FLAGS.items() if key not in given for word in (f"--{key}", *values)]
    return read_settings([*kept, "--data_dir", str(files), "--output_dir", str(files / "run"), *words])


def load(files: Path, *flags: str) -> Data:
    return load_data(settings_of(files, *flags), Accelerator(cpu=True))


def open_all(files: Path, data: Data, *flags: str, rank: int = 0, world: int = 1, multiple: int = 1) -> Batches:
    settings = settings_of(files, *flags)
    process: Any = SimpleNamespace(
        process_index=rank, num_processes=world, device=torch.device("cpu"), print=print, is_main_process=True
    )
    return open_batches(settings, data, Seq2SeqCollator(data.tokenizers.source.pad_token_id, multiple), process)


def epoch_of(batches: Batches, epoch: int = 0, start: int = 0) -> Iterator[MicroBatch]:
    """Yield the batches of an epoch that have examples."""
    batches.set_epoch(epoch, start)
    for batch in batches:
        if not batch.examples:  # a stream is over
            return
        yield batch


def texts_of(batch: MicroBatch, data: Data) -> Iterator[tuple[str, str]]:
    """Yield source, with its tag, and target of each example."""
    tokenizer: Any = data.tokenizers.source
    for source, target in zip(batch.inputs["input_ids"].tolist(), batch.inputs["labels"].tolist(), strict=True):
        source, target = ([id for id in ids if id not in (-100, tokenizer.pad_token_id)] for ids in (source, target))
        assert source[-1] == target[-1] == tokenizer.eos_token_id
        yield tokenizer.decode(source[:-1]), tokenizer.decode(target[:-1])


def both(pairs: list[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """Return what a model of both directions learns from pairs en, de."""
    forth = [(f">>de<< {english}", german) for english, german in pairs]
    return Counter([*forth, *((f">>en<< {german}", english) for english, german in pairs)])


@pytest.mark.parametrize("kind", KINDS)
def test_every_pair_is_in_both_directions_once(files: Path, kind: str) -> None:
    data = load(files, *KINDS[kind])
    batches = open_all(files, data, *KINDS[kind])
    for epoch in (0, 1):
        taken = list(epoch_of(batches, epoch))
        assert Counter(pair for batch in taken for pair in texts_of(batch, data)) == both(TRAIN)
        assert all(max(batch.inputs[side].numel() for side in ("input_ids", "labels")) <= 200 for batch in taken)
    tokenizer: Any = data.tokenizers.source
    assert len(tokenizer) == 400
    assert tokenizer.convert_tokens_to_ids([">>en<<", ">>de<<"]) == [398, 399]


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_depends_on_the_epoch_alone_and_can_be_resumed_within(files: Path, kind: str) -> None:
    data = load(files, *KINDS[kind])
    batches = open_all(files, data, *KINDS[kind])
    planned = [[batch.inputs["input_ids"].tolist() for batch in epoch_of(batches, epoch)] for epoch in (1, 2)]
    assert planned[0] != planned[1]
    again = open_all(files, load(files, *KINDS[kind]), *KINDS[kind])
    assert [batch.inputs["input_ids"].tolist() for batch in epoch_of(again, 1, start=3)] == planned[0][3:]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_share_the_examples(files: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches_module, "gather_object", lambda values: values)
    data = load(files, *KINDS[kind])
    shares = [list(epoch_of(open_all(files, data, *KINDS[kind], rank=rank, world=2))) for rank in (0, 1)]
    assert all(shares)
    assert Counter(pair for batch in [*shares[0], *shares[1]] for pair in texts_of(batch, data)) == both(TRAIN)


def test_a_text_may_contain_tags(files: Path) -> None:
    flags = KINDS["dropout"]
    for name in ("en", "de"):
        lines = (files / f"b.{name}").read_text(encoding="utf-8").splitlines()
        lines[0] = f"{lines[0]}  >>en<< x>>de<<y >>de<<z"
        (files / f"b.{name}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    data = load(files, *flags)
    tokenizer: Any = data.tokenizers.source
    pairs: Any = data.train.pairs  # type: ignore[union-attr]
    batches: Any = open_all(files, data, *flags)
    original, dropped = (
        tokenizer.decode(each[80]["input_ids"]) for each in (BothDirections(pairs, 398), batches.pairs)
    )
    assert original == dropped
    assert dropped.count(">>en<<") == 1


def test_locations_of_a_stream_are_computed_once_a_buffer(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, calls = BothDirections.rows.fget, []  # type: ignore[attr-defined]
    monkeypatch.setattr(BothDirections, "rows", property(lambda self: (calls.append(1), rows(self))[1]))
    flags = KINDS["stream"]
    taken = list(epoch_of(open_all(files, load(files, *flags), *flags)))
    assert Counter(each for batch in taken for each in batch.examples).most_common()[-1][1] == 2
    assert len(calls) <= -(-len(TRAIN) // 20), "not once for each of many examples"


def test_what_is_encoded_is_what_a_user_writes(files: Path) -> None:
    data = load(files)
    tokenizer: Any = data.tokenizers.source
    pairs: Any = data.train.pairs  # type: ignore[union-attr]
    examples = BothDirections(pairs, tokenizer.convert_tokens_to_ids(">>en<<"))
    assert len(examples) == 2 * len(TRAIN)
    for number, (english, german) in enumerate(TRAIN):
        forth, back = examples[2 * number], examples[2 * number + 1]
        assert forth["input_ids"].tolist() == tokenizer(english)["input_ids"]
        assert forth["labels"].tolist() == tokenizer(text_target=german)["input_ids"]
        assert back["input_ids"].tolist() == tokenizer(f">>en<< {german}")["input_ids"]
        assert back["labels"].tolist() == tokenizer(text_target=english)["input_ids"]
    lengths = [[len(each["input_ids"]), len(each["labels"])] for each in map(examples.__getitem__, range(140))]
    assert examples.lengths.tolist() == lengths
    for some in (slice(3, 8), np.array([5, 2, 139])):
        assert examples.lengths_on_demand[some].tolist() == np.array(lengths)[some].tolist()


@pytest.mark.parametrize("kind", ["memory", "cache"])
def test_an_example_is_named_by_the_line_of_its_pair(files: Path, kind: str) -> None:
    train: Any = load(files, *KINDS[kind]).train
    names = [Path(train.location(example)).name for example in (0, 1, 2, 79, 80, 139)]
    assert names == ["a.en.gz:1", "a.en.gz:1", "a.en.gz:2", "a.en.gz:40", "b.en:1", "b.en:30"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_pairs_are_used_in_both_directions(files: Path, kind: str) -> None:
    flags = (*KINDS[kind], "--max_train_samples", "11")
    data = load(files, *flags)
    taken = epoch_of(open_all(files, data, *flags))
    assert Counter(pair for batch in taken for pair in texts_of(batch, data)) == both(TRAIN[:11])


def test_held_out_sets_keep_the_direction_of_the_recipe(files: Path) -> None:
    data = load(files)
    validation, tokenizer = data.held_out["validation"], data.tokenizers.source
    assert list(validation.text.pairs()) == VALIDATION, "scores are computed on text without tags"
    assert len(validation.pairs) == len(VALIDATION)
    for number, (english, german) in enumerate(VALIDATION):
        pair = validation.pairs[number]
        assert tokenizer.decode(pair["input_ids"]) == f">>de<< {english}</s>"
        assert tokenizer.decode(pair["labels"]) == f"{german}</s>"


def test_reports_count_pairs_and_then_examples(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    again = ["a.en", "a.de", "val.en", "val.de"]
    for kind in ("memory", "cache"):
        data = load(files, *KINDS[kind], "--train_files", *FILES, *again)
        said = capsys.readouterr().err
        count = len(TRAIN) + 40 + len(VALIDATION)
        assert f"train: {count} sentence pairs read, {count} usable, 0 bad" in said
        assert "kept, same pair as an earlier one: 40 (" in said
        assert f"kept, same pair in the training data: {len(VALIDATION)} (" in said
        assert f"in both directions: {2 * count} training pairs" in said
        assert f"{2 * count} pairs; about" in open_all(files, data).describe()


def test_the_same_vocabulary_comes_from_memory_and_cache_and_loads_again(files: Path, tmp_path: Path) -> None:
    plain, cached = (load(files, *KINDS[kind]).tokenizers for kind in ("memory", "cache"))
    assert plain.digest() == cached.digest()
    save_tokenizers(plain, tmp_path / "saved")
    assert load_tokenizers(tmp_path / "saved").digest() == plain.digest()


def test_the_longest_sentence_fits_with_its_tag(files: Path) -> None:
    tokenizer = load(files).tokenizers.source
    longest, german = max((len(tokenizer(text_target=german)["input_ids"]), german) for _, german in TRAIN)
    for flags in ((), ("--bpe_dropout", "0.9")):
        flags += ("--max_length", str(longest), "--max_tokens", str(longest + 1), "--max_unusable_share", "1")
        data = load(files, *flags)
        sources = [source for batch in epoch_of(open_all(files, data, *flags)) for source, _ in texts_of(batch, data)]
        assert f">>en<< {german}" in sources
    budget = -(-(longest + 1) // 8) * 8
    flags = ("--bpe_dropout", "0.9", "--max_length", str(budget + 3), "--max_tokens", str(budget + 4))
    batches: Any = open_all(files, load(files, *flags), *flags, multiple=8)
    for epoch in range(4):
        batches.set_epoch(epoch)
        assert batches.pairs.lengths.max() <= budget, "padding included"
    with pytest.raises(RecipeError, match="max_length tokens and the tag of a language must fit"):
        settings_of(files, "--max_length", "50", "--max_tokens", "50")


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--source_language", "null"], "both_directions: give the codes of both languages as source_language"),
        (["--target_language", "null"], "both_directions: give the codes of both languages as source_language"),
        (["--target_language", "de AT"], "both_directions: the codes of the languages become tags and have no blanks"),
        (["--target_vocab_size", "400"], "both_directions, target_vocab_size: need a joint vocabulary"),
    ],
)
def test_what_tags_need_is_checked_first(files: Path, flags: list[str], problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        settings_of(files, *flags)
    (found,) = caught.value.problems
    assert found.startswith(problem)
