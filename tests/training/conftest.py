"""Provide a small vocabulary and a small model for the tests of training."""

import itertools
import json
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file, save_file

from sineformer.configuration.configuration_sineformer import SineformerConfig
from sineformer.modeling.modeling_sineformer import SineformerForConditionalGeneration
from sineformer.training.data.batches import MappedBatches
from sineformer.training.data.batching import Batching, MicroBatch, Seq2SeqCollator
from sineformer.training.data.bpe import train_tokenizers
from sineformer.training.data.cleaning import CleaningReport
from sineformer.training.data.embedded_task import load_split
from sineformer.training.data.encoding import EncodedPairs, encode_pairs
from sineformer.training.data.parallel_text import ParallelText
from sineformer.training.data.tokenizer import Tokenizers
from sineformer.training.learning.learner import Learner
from sineformer.training.learning.loop import Limits, Trainer
from sineformer.training.learning.optimizer import build_optimizer, build_schedule
from sineformer.training.monitoring.run_log import RunLog, StepReport


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no plots at the end of runs in single tests, which take longer than the runs; runs of a module do."""
    if "sineformer.training.run" in sys.modules:
        monkeypatch.setattr("sineformer.training.run.report", lambda accelerator, settings: None)


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """Limit files to 1,000 bytes, as if the disk were full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def parallel(pairs: list[tuple[str, str]]) -> ParallelText:
    """Return pairs as cleaning does."""
    sources, targets = (list(side) for side in zip(*pairs, strict=True))
    return ParallelText(sources, targets, ["pairs.txt"] * len(pairs), list(range(1, len(pairs) + 1)))


@pytest.fixture(scope="session")
def small_text() -> ParallelText:
    """Return 60 sentence pairs."""
    return parallel(load_split("train", 60, seed=5))


@pytest.fixture(scope="session")
def small_tokenizers(small_text: ParallelText) -> Tokenizers:
    """Return a joint vocabulary for `small_text`."""
    return train_tokenizers(small_text.sources, small_text.targets, vocab_size=400)


@pytest.fixture
def small_model(small_tokenizers: Tokenizers) -> SineformerForConditionalGeneration:
    """Return a new model, the same for every test, without dropout."""
    torch.manual_seed(3)
    config = SineformerConfig(
        vocab_size=len(small_tokenizers.source),
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        dropout=0.0,
    )
    return SineformerForConditionalGeneration(config).eval()


@pytest.fixture
def report() -> CleaningReport:
    """Return an empty report of bad rows."""
    return CleaningReport()


@pytest.fixture
def pairs(small_text: ParallelText, small_tokenizers: Tokenizers, report: CleaningReport) -> EncodedPairs:
    """Return `small_text` as token ids."""
    return encode_pairs(small_text, small_tokenizers, 100, report)


@pytest.fixture
def make_learner() -> Callable[..., Learner]:
    """Return a function that prepares a model for training in this process; settings of the learner may follow."""

    def make(model: Any, learning_rate: float = 0.01, **settings: Any) -> Learner:
        accelerator = Accelerator(cpu=True)
        optimizer = build_optimizer(model, learning_rate)
        schedule = build_schedule(optimizer, warmup_steps=2)
        prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
        prepared.train()
        return Learner(accelerator, prepared, prepared_optimizer, schedule, **settings)

    return make


@pytest.fixture
def make_batches(pairs: EncodedPairs) -> Callable[[list[int]], list[MicroBatch]]:
    """Return a function that makes micro-batches of given sizes, from the first example on."""

    def make(sizes: list[int]) -> list[MicroBatch]:
        indices = iter(range(len(pairs)))
        groups = [list(itertools.islice(indices, size)) for size in sizes]
        return [MicroBatch(group, Seq2SeqCollator(0)([pairs[i] for i in group])) for group in groups]

    return make


@pytest.fixture
def tokens_of() -> Callable[[list[MicroBatch]], int]:
    """Return a function that counts the real target tokens of micro-batches."""
    return lambda batches: sum(int((batch.inputs["labels"] != -100).sum()) for batch in batches)


@pytest.fixture
def take_step(tokens_of: Callable[[list[MicroBatch]], int]) -> Callable[[Learner, list[MicroBatch]], StepReport]:
    """Return a function that takes one optimiser step."""
    return lambda learner, batches: learner.update(batches, tokens_of(batches))


@pytest.fixture
def make_trainer(
    tmp_path: Path, pairs: EncodedPairs, small_tokenizers: Tokenizers, make_learner: Callable[..., Learner]
) -> Callable[..., Trainer]:
    """Return a function that makes a trainer of a model on `pairs`, two batches a step, with a log in `tmp_path`."""

    def make(model: Any, limits: Limits, **settings: Any) -> Trainer:
        learner = make_learner(model, **settings)
        batching = Batching(small_tokenizers, Seq2SeqCollator(0), 200, seed=1)
        batches = MappedBatches(pairs, batching, learner.accelerator, accumulation_steps=2)
        return Trainer(learner, batches, limits, RunLog(learner.accelerator, tmp_path, 1, 100, None))

    return make


@pytest.fixture
def change_config() -> Callable[..., None]:
    """Return a function that changes fields in the config.json of a folder."""

    def change(folder: Path, **changes: Any) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


@pytest.fixture
def change_weights() -> Callable[..., None]:
    """Return a function that changes the weights in the model.safetensors of a folder."""

    def change(folder: Path, do: Callable[[dict[str, torch.Tensor]], object]) -> None:
        weights = load_file(folder / "model.safetensors")
        do(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    return change
