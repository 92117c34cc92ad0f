"""Test the trained model of the repository: complete, with today's code, and it translates as its card says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import sacrebleu
import torch
from safetensors import safe_open
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

from sineformer.modeling.code_files import write_code
from sineformer.training.pretrained.model_folder import folder_problems

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "pretrained" / "sineformer-tiny-multi30k-en-de"
CORPUS = ROOT.parent / "shared" / "data" / "multi30k"
KNOWN = {
    "Two dogs are playing in the snow.": "Zwei Hunde spielen im Schnee.",
    "A man is riding a bike.": "Ein Mann fährt auf einem Fahrrad.",
    "The dog is biting the man.": "Der Hund beißt den Mann.",
    "The man is biting the dog.": "Der Mann beißt den Hund.",
}


def test_the_folder_holds_todays_code(tmp_path: Path) -> None:
    write_code(tmp_path)
    written = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    shipped = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.py")}
    fix = "from sineformer.modeling.code_files import write_code"
    assert shipped == written, f"{fix}; write_code('pretrained/{FOLDER.name}')"


def test_the_folder_may_be_published() -> None:
    assert folder_problems(FOLDER) == []


def test_it_is_small_and_has_half_precision_on_disk_alone() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 12e6
    with safe_open(FOLDER / "model.safetensors", framework="pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.offset_keys()} == {torch.float16}
    model = AutoModelForSeq2SeqLM.from_pretrained(FOLDER, trust_remote_code=True)
    assert model.dtype == torch.float32
    assert model.num_parameters() <= 5_000_000


def test_nothing_names_a_place_on_a_machine() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir() if path.suffix != ".safetensors"}
    assert [name for name, text in texts.items() if "/root/" in text or "/home/" in text or "/work/" in text] == []
    assert json.loads(texts["config.json"])["source_language"] == "en"


def test_known_sentences_keep_their_translations() -> None:
    translate = pipeline("translation", model=str(FOLDER), trust_remote_code=True)
    found = translate(list(KNOWN))
    assert {source: each["translation_text"] for source, each in zip(KNOWN, found, strict=True)} == KNOWN


@pytest.mark.skipif(not CORPUS.is_dir(), reason="needs the files of Multi30k, which are not part of the project")
def test_bleu_of_validation_sentences() -> None:
    sources, references = (
        gzip.decompress((CORPUS / f"val.{language}.gz").read_bytes()).decode().splitlines()[:100]
        for language in ("en", "de")
    )
    tokenizer = AutoTokenizer.from_pretrained(FOLDER, trust_remote_code=True)
    model = AutoModelForSeq2SeqLM.from_pretrained(FOLDER, trust_remote_code=True)
    output = model.generate(**tokenizer(sources, return_tensors="pt", padding=True), num_beams=1)
    found = tokenizer.batch_decode(output, skip_special_tokens=True)
    assert sacrebleu.corpus_bleu(found, [references]).score > 35
