"""Summarise a finished run for the terminal: its model, the scores, and how to use it."""

from __future__ import annotations

from pathlib import Path

from ..data.corpus import EvaluationSet
from ..evaluation.scores import Scores, log_line
from ..pretrained.card import python_literal
from ..system.output_folder import CARD, REPORT_FILE


def summarize_run(folder: Path, step: int, held_out: EvaluationSet, scores: Scores) -> str:
    """Return the last lines of a run, ending with two lines of Python that translate a sentence.

    Args:
        folder: output folder of the run.
        step: of the best model.
        held_out: evaluation set of the scores.
        scores: of the best model.
    """
    model, sentence = python_literal(str(folder)), python_literal(held_out.text.sources[0])
    return "\n".join(
        [
            f"Model:   {folder} (best model of the run, step {step})",
            f"Scores:  {log_line(scores)} ({held_out.name}, {scores.sentences} sentences, beams: {scores.num_beams})",
            f"Reports: {folder / CARD}, {folder / REPORT_FILE}",
            "Translate with it:",
            "    from transformers import pipeline",
            f'    print(pipeline("translation", model={model}, trust_remote_code=True)({sentence}))',
        ]
    )
