"""Test the last lines of a run."""

from pathlib import Path
from typing import Any

import pytest

from sineformer.training.data.corpus import EvaluationSet
from sineformer.training.data.encoding import encode_pairs
from sineformer.training.data.tokenizer import Tokenizers, save_tokenizers
from sineformer.training.evaluation.scores import Scores
from sineformer.training.monitoring.summary import summarize_run


def test_the_summary_names_model_and_scores_and_ends_with_code_that_translates(
    tmp_path: Path,
    small_model: Any,
    small_tokenizers: Tokenizers,
    small_text: Any,
    report: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / 'a "run"'
    small_model.save_pretrained(folder)
    save_tokenizers(small_tokenizers, folder)
    held_out = EvaluationSet("test", small_text, encode_pairs(small_text, small_tokenizers, 1000, report))
    shown = summarize_run(folder, 80, held_out, Scores(1.0, {"bleu": 50.0}, {}, 60, 4)).splitlines()
    assert shown[0] == f"Model:   {folder} (best model of the run, step 80)"
    assert shown[1] == "Scores:  loss 1.000, perplexity 2.72, BLEU 50.00 (test, 60 sentences, beams: 4)"
    exec("\n".join(line.strip() for line in shown[-2:]), {})
    assert "translation_text" in capsys.readouterr().out
