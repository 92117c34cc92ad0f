"""Measure memory and time from text files to batches, for corpora of growing size.

    python scripts/benchmark.py corpora [--pairs 100000 1000000 10000000] [--mode mapped streaming] [--folder DIR]

Generates pairs of about five words per side, with word frequencies by Zipf's law, and prepares them in a new process as
a run does: read, clean, train a vocabulary on a sample of 20,000 pairs, tokenise, cache, plan an epoch and make
batches: 200 from each window of a mapped corpus, all of a stream. Prints a Markdown table.

`peak memory` is the maximum of anonymous memory (RssAnon), which the system cannot drop. Pages of mapped files are kept
in addition while memory is free; `with pages` is the maximum of both together.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from sineformer.training.system.command_line import needs_extra, path

from .turns import describe_machine

with needs_extra("train"):
    from accelerate import Accelerator

    from sineformer.training.data.batches import StreamedBatches
    from sineformer.training.data.batching import Batching, Seq2SeqCollator, TokenBudgetBatchSampler
    from sineformer.training.data.loading import load_data
    from sineformer.training.preflight import read_settings

WORDS = 50_000
SYLLABLES = [first + last for first in "bdfgklmnprstvz" for last in ("a", "e", "i", "o", "u", "en", "er", "al")]
GENERATED_AT_ONCE = 100_000
BATCHES_OF_A_WINDOW = 200
MAX_TOKENS = 4096
VOCABULARY = ["--vocab_size", "8000", "--tokenizer_sample", "20000"]


def words(generator: np.random.Generator) -> list[str]:
    """Return distinct words in order of frequency, short ones first."""
    drawn = generator.integers(len(SYLLABLES), size=(WORDS, 3)).tolist()
    lengths = (1 + (number > 100) + (number > 5_000) for number in range(WORDS))
    spelled = ("".join(SYLLABLES[each] for each in row[:length]) for row, length in zip(drawn, lengths, strict=True))
    return list(dict.fromkeys(spelled))


def generate(folder: Path, pairs: int) -> None:
    """Write train.en and train.de, and small files validation.en and validation.de."""
    generator = np.random.default_rng(pairs)
    for side in ("en", "de"):
        vocabulary = np.array(words(generator), dtype=object)
        frequencies = 1 / np.arange(1, len(vocabulary) + 1)
        cumulated = np.cumsum(frequencies / frequencies.sum())
        for split, count in (("train", pairs), ("validation", 100)):
            with (folder / f"{split}.{side}").open("w", encoding="utf-8") as file:
                for start in range(0, count, GENERATED_AT_ONCE):
                    lengths = generator.integers(3, 8, min(GENERATED_AT_ONCE, count - start))
                    drawn = np.searchsorted(cumulated, generator.random(int(lengths.sum())))
                    ends = np.cumsum(lengths)
                    chosen = vocabulary[np.minimum(drawn, len(vocabulary) - 1)]
                    places = zip(ends - lengths, ends, strict=True)
                    file.writelines(" ".join(chosen[start:end]) + ".\n" for start, end in places)


class Memory(threading.Thread):
    """Record the peak memory of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.anonymous, self.all = 0, 0
        self.start()

    def run(self) -> None:
        """Read the memory 50 times per second."""
        while True:
            status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            self.anonymous = max(self.anonymous, int(status["RssAnon"].split()[0]))
            self.all = max(self.all, int(status["VmRSS"].split()[0]))
            time.sleep(0.02)


def measure(folder: Path, mode: str) -> dict[str, float]:
    """Prepare the data in this process; return kilobytes and seconds."""
    memory = Memory()
    time.sleep(0.1)
    libraries = memory.anonymous
    files = [word for split in ("train", "validation") for word in (f"--{split}_files", f"{split}.en", f"{split}.de")]
    folders = ["--data_dir", str(folder), "--output_dir", str(folder / "run"), "--use_cpu", "--max_steps", "1"]
    storage = ["--cache_dir", str(folder / "cache")] if mode == "mapped" else ["--streaming", "true"]
    settings = read_settings(
        ["--source_language", "en", "--target_language", "de", *files, *folders, *storage, *VOCABULARY]
    )
    started = time.monotonic()
    data = load_data(settings, Accelerator(cpu=True))
    loaded = time.monotonic()
    again = loaded
    if mode == "mapped":
        data = load_data(settings, Accelerator(cpu=True))
        again = time.monotonic()
    pairs = batch_windows(data) if mode == "mapped" else batch_stream(settings, data)
    return {
        "libraries": libraries,
        "anonymous": memory.anonymous,
        "all": memory.all,
        "load": loaded - started,
        "again": again - loaded,
        "batches": time.monotonic() - again,
        "pairs": pairs,
    }


def batch_windows(data: Any) -> int:
    """Plan an epoch and make some batches of each window; return the number of planned pairs."""
    pairs, collate, planned = data.train.pairs, Seq2SeqCollator(0), 0
    sampler = TokenBudgetBatchSampler(pairs.lengths_on_demand, MAX_TOKENS, seed=1)
    for window in range(len(sampler.plan.windows)):
        batches = sampler.plan.batches(window)
        planned += sum(map(len, batches))
        for batch in itertools.islice(batches, BATCHES_OF_A_WINDOW):
            collate([pairs[index] for index in batch])
    return planned


def batch_stream(settings: Any, data: Any) -> int:
    """Make all batches of an epoch; return the number of their pairs."""
    batching = Batching(data.tokenizers, Seq2SeqCollator(0), MAX_TOKENS, seed=1)
    batches = StreamedBatches(data.train, batching, Accelerator(cpu=True), accumulation_steps=1)
    epoch = itertools.takewhile(lambda batch: batch.examples, batches)
    return sum(len(batch.examples) for batch in epoch)


def measure_in_new_process(folder: Path, mode: str) -> dict[str, float]:
    """Return the result of `measure` in a new process."""
    program = [sys.executable, "-m", "sineformer.scripts.benchmark", "corpora"]
    done = subprocess.run([*program, "--measure", mode, "--folder", str(folder)], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(1)  # the process has printed its error
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def print_row(mode: str, pairs: int, result: dict[str, float]) -> None:
    """Print a row of the table."""
    speed = pairs / (result["load"] + (result["batches"] if mode == "streaming" else 0))
    sizes = " | ".join(f"{result[key] / 1024:,.0f} MiB" for key in ("libraries", "anonymous", "all"))
    times = f"{result['load']:.0f} s | {result['again']:.1f} s | {result['batches']:.0f} s"
    print(f"| {mode} | {pairs:,} | {sizes} | {times} | {speed:,.0f} |", flush=True)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--pairs", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--mode", nargs="+", default=["mapped", "streaming"], choices=["mapped", "streaming"])
    parser.add_argument("--folder", type=path, help="folder for text and cache, which are removed at the end")
    parser.add_argument("--measure", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="1,000 pairs")


def run(options: argparse.Namespace) -> int:
    """Print a row for each number of pairs and mode; return the exit status."""
    if options.measure is not None:
        print(json.dumps(measure(options.folder, options.measure)))
        return 0
    if options.folder is not None and not os.access(options.folder, os.W_OK | os.X_OK):
        print(f"error: --folder: {options.folder} is not a writable folder; make it first", file=sys.stderr)
        return 1
    print(f"{describe_machine()}\n")
    print("| mode | pairs | libraries | peak memory | with pages | first load | from cache | batches | "
          "pairs/s |\n|---|---|---|---|---|---|---|---|---|", flush=True)  # fmt: skip
    for pairs in [1000] if options.quick else options.pairs:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            generate(Path(folder), pairs)
            for mode in options.mode:
                result = measure_in_new_process(Path(folder), mode)
                assert result["pairs"] == pairs, f"{pairs} pairs were written, {result['pairs']} are in batches"
                print_row(mode, pairs, result)
    return 0
