"""Test the demo with a training run of a few steps."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parent.parent.parent / "scripts"
TINY = shlex.split(
    "--max_steps 2 --warmup_steps 1 --eval_steps 2 --train_size 200 --validation_size 4 --test_size 6 --vocab_size 300 "
    "--d_model 16 --encoder_layers 1 --decoder_layers 1 --num_beams 1 --report_to none"
)


@pytest.mark.slow
def test_the_demo_trains_and_shows_translations_of_a_bare_process_with_scores(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "demo.py"), "--output_dir", str(tmp_path / "model"), *TINY]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("without Sineformer ...")[2].strip().splitlines()
    assert re.fullmatch(r"English +German, reference +German, translated", table[0])
    assert len(table[1 : table.index("")]) == 6
    assert re.fullmatch(r"6 held-out sentences: BLEU \d+\.\d, exact match \d+\.\d %", table[-1])
