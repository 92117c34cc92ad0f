"""Compare the time from the start of Python to the first translated sentence: Sineformer and MarianMTModel.

    python scripts/benchmark.py startup [--size base]

Each round starts a new process for each model, which loads a folder as a user does: `AutoModelForSeq2SeqLM` and
`AutoTokenizer`, for ours with the code of the folder. Both have the same tokenizer, and random weights.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

from sineformer.training.system.command_line import positive

from .peers import SIZES, marian, sineformer
from .turns import Program, describe_machine, ratio, spread, take_turns

PROGRAM = """
import sys
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=True)
model = AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1], trust_remote_code=True)
output = model.generate(**tokenizer("three words here", return_tensors="pt"), num_beams=1, max_new_tokens=10)
print(len(tokenizer.batch_decode(output)))
"""
VOCABULARY = 8000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--size", default="tiny", choices=SIZES)
    parser.add_argument("--rounds", type=positive, default=5, help="rounds after the first (default: 5)")
    parser.add_argument("--quick", action="store_true", help="one round")


def run(options: argparse.Namespace) -> None:
    """Print the seconds of each model."""
    disable_progress_bar()
    special = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    words = {word: number for number, word in enumerate([*special.values(), *map(str, range(VOCABULARY - 4))])}
    core = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, model_input_names=["input_ids", "attention_mask"], **special
    )
    with tempfile.TemporaryDirectory() as folder:
        programs = {}
        for name, make in (("Sineformer", sineformer), ("MarianMTModel", marian)):
            target = Path(folder) / name
            make(VOCABULARY, options.size).save_pretrained(target)
            tokenizer.save_pretrained(target)
            programs[name] = _start(target)
        seconds = take_turns(programs, 1 if options.quick else options.rounds)
    print(f"{describe_machine()}; size {options.size}, vocabulary {VOCABULARY:,}\n")
    print("| model | seconds, median (min to max) | Sineformer is faster by |\n|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {spread(taken, 2)} | {ratio(taken, seconds['Sineformer']):.2f}x |")


def _start(folder: Path) -> Program:
    def start() -> None:
        done = subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)

    return start
