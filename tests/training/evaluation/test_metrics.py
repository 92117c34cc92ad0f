import os
import subprocess
import sys
from pathlib import Path

import pytest
from sacrebleu.metrics import BLEU, CHRF, TER

from sineformer.training import evaluation
from sineformer.training.evaluation.published_scores import corpus_scores
from sineformer.training.evaluation.scores import score_translations

MODULES = Path(evaluation.__file__).parent / "metrics"
TRANSLATIONS = ["Der Hund läuft im Park .", "Eine Frau liest ein Buch.", "Zwei Kinder spielen."]
REFERENCES = ["Der Hund rennt im Park.", "Eine Frau liest ein Buch.", "Zwei Kinder spielen Ball."]

OFFLINE_PROGRAM = """
import socket
import sys

def refuse(*args, **kwargs):
    raise AssertionError("the network was used")

socket.socket.connect = refuse
socket.getaddrinfo = refuse
import evaluate

for name in ("bleu", "chrf", "ter"):
    metric = evaluate.load(f"{sys.argv[1]}/{name}")
    result = metric.compute(predictions=["ein guter Tag heute"], references=["ein guter Tag heute"])
    print(name, round(result["score"], 6), result["signature"])
"""


def without_bootstrap(signature: str) -> str:
    """Return a signature without the fields of bootstrap resampling."""
    return "|".join(part for part in signature.split("|") if part.partition(":")[0] not in ("bs", "seed"))


def test_scores_and_signatures_are_those_of_sacrebleu() -> None:
    scores = score_translations(TRANSLATIONS, REFERENCES)
    assert scores["bleu"] == BLEU().corpus_score(TRANSLATIONS, [REFERENCES]).score
    assert scores["chrf_plus_plus"] == CHRF(word_order=2).corpus_score(TRANSLATIONS, [REFERENCES]).score
    assert "|nw:2|" in scores["chrf_plus_plus_signature"]
    assert scores["chrf"] == CHRF().corpus_score(TRANSLATIONS, [REFERENCES]).score
    assert scores["bleu_signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    assert scores["chrf_signature"].startswith("nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no|version:")


def test_the_tokenizer_of_bleu_can_be_chosen_and_the_signature_says_which() -> None:
    translations, references = ["小狗昨天在公园睡觉。"], ["小猫昨天在公园睡觉。"]
    scores = score_translations(translations, references, "zh")
    assert scores["bleu"] == BLEU(tokenize="zh").corpus_score(translations, [references]).score > 60
    assert "|tok:zh|" in scores["bleu_signature"]
    assert score_translations(translations, references)["bleu"] == 0


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_the_evaluate_modules_give_the_scores_of_the_trainer(name: str) -> None:
    import evaluate

    found = evaluate.load(str(MODULES / name), keep_in_memory=True).compute(
        predictions=TRANSLATIONS, references=REFERENCES
    )
    scores = score_translations(TRANSLATIONS, REFERENCES)
    assert found == {"score": scores[name], "signature": scores[f"{name}_signature"]}


def test_exact_matches_are_a_percentage_of_all() -> None:
    assert score_translations(TRANSLATIONS, REFERENCES)["exact_match"] == pytest.approx(100 / 3)


def test_the_metrics_accept_the_options_of_sacrebleu() -> None:
    import evaluate

    upper = [text.upper() for text in REFERENCES]
    bleu = evaluate.load(str(MODULES / "bleu"), keep_in_memory=True)
    assert bleu.compute(predictions=upper, references=REFERENCES, lowercase=True)["score"] == pytest.approx(100)
    assert "tok:char" in bleu.compute(predictions=upper, references=REFERENCES, tokenize="char")["signature"]
    chrf = evaluate.load(str(MODULES / "chrf"), keep_in_memory=True)
    assert "nw:2" in chrf.compute(predictions=upper, references=REFERENCES, word_order=2)["signature"]
    ter = evaluate.load(str(MODULES / "ter"), keep_in_memory=True)
    assert ter.compute(predictions=upper, references=REFERENCES)["score"] == 0
    assert ter.compute(predictions=upper, references=REFERENCES, case_sensitive=True)["score"] == 100
    chinese = {"predictions": ["小狗睡觉"], "references": ["小猫睡觉"], "normalized": True}
    assert ter.compute(**chinese)["score"] == 100
    assert ter.compute(**chinese, asian_support=True)["score"] == 25
    assert "norm:yes" in ter.compute(predictions=upper, references=REFERENCES, normalized=True)["signature"]


def test_ter_is_that_of_sacrebleu_and_of_the_evaluation() -> None:
    import evaluate

    ter = evaluate.load(str(MODULES / "ter"), keep_in_memory=True)
    found = ter.compute(predictions=TRANSLATIONS, references=REFERENCES)
    assert found["score"] == TER().corpus_score(TRANSLATIONS, [REFERENCES]).score
    reported = corpus_scores(TRANSLATIONS, REFERENCES, "de")["ter"]
    assert (found["score"], found["signature"]) == (reported["score"], without_bootstrap(reported["signature"]))


@pytest.mark.slow
def test_the_metrics_load_from_their_files_with_an_empty_cache_and_no_network(tmp_path: Path) -> None:
    environment = os.environ | {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    command = [sys.executable, "-c", OFFLINE_PROGRAM, str(MODULES)]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    scores = dict(line.split()[:2] for line in done.stdout.splitlines())
    assert scores == {"bleu": "100.0", "chrf": "100.0", "ter": "0.0"}
