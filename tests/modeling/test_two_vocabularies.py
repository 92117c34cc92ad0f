"""Test a model with separate source and target vocabularies in everything that works with one vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TextStreamer,
    pipeline,
)

from sineformer import SineformerConfig, SineformerForConditionalGeneration, SineformerTokenizer
from sineformer.modeling import compatibility
from sineformer.training.data.bpe import train_tokenizers

PAIRS = [
    (f"The {noun} {verb} {number} times.", f"{Nomen} {Verb} {number} mal.")
    for number in range(1, 7)
    for noun, Nomen in (("dog", "Hund"), ("cat", "Katze"), ("king", "König"))
    for verb, Verb in (("sleeps", "schläft"), ("runs", "rennt"))
]
SOURCES, TARGETS = [list(side) for side in zip(*PAIRS, strict=True)]
SIZES: dict[str, Any] = {
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 1),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
    **{"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "dropout": 0.0},
}


@pytest.fixture(scope="module")
def tokenizer() -> SineformerTokenizer:
    return train_tokenizers(SOURCES, TARGETS, 320, 310).source


@pytest.fixture(scope="module")
def model(tokenizer: Any) -> SineformerForConditionalGeneration:
    """Return a model that has memorised `PAIRS`."""
    torch.manual_seed(0)
    sizes = {"vocab_size": len(tokenizer), "decoder_vocab_size": len(tokenizer.target_tokenizer)}
    config = SineformerConfig(**SIZES, **sizes, share_encoder_decoder_embeddings=False)
    learner: Any = SineformerForConditionalGeneration(config).train()
    batch = tokenizer(SOURCES, text_target=TARGETS, padding=True, return_tensors="pt")
    batch["labels"] = batch["labels"].masked_fill(batch["labels"] == tokenizer.pad_token_id, -100)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=5e-3)
    for _ in range(150):
        learner(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return learner.eval()


@pytest.fixture
def folder(model: Any, tokenizer: Any, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def translations(outputs: list[dict[str, str]]) -> list[str]:
    return [each["translation_text"] for each in outputs]


def test_the_readme_snippet_translates_into_the_target_language(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True)
    batch = tokenizer(SOURCES, return_tensors="pt", padding=True)
    assert tokenizer.batch_decode(model.generate(**batch), skip_special_tokens=True) == TARGETS


def test_a_saved_model_translates_alike_everywhere(folder: Path, bare_python: Any, tmp_path: Path) -> None:
    program = """
import sys
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline
folder, saved, *sources = sys.argv[1:]
AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True).save_pretrained(saved)
AutoTokenizer.from_pretrained(folder, trust_remote_code=True).save_pretrained(saved)
translate = pipeline("translation", model=saved, trust_remote_code=True)
translate.save_pretrained(saved + "-by-pipeline")
for name in (saved, saved + "-by-pipeline"):
    translate = pipeline("translation", model=name, trust_remote_code=True)
    for output in translate(sources, batch_size=4):
        print(output["translation_text"])
"""
    printed = bare_python.run(program, folder, tmp_path / "saved", *SOURCES[:5])
    assert printed.splitlines() == TARGETS[:5] * 2


def test_without_trust_in_its_code_the_folder_is_refused(folder: Path, bare_python: Any) -> None:
    program = """
import sys
from transformers import AutoTokenizer
try:
    print(AutoTokenizer.from_pretrained(sys.argv[1], trust_remote_code=False))
except ValueError as error:
    print(error)
"""
    assert "trust_remote_code=True" in bare_python.run(program, folder)


def test_the_fine_tuning_of_the_readme_trains_and_saves_both_sides(folder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, trust_remote_code=True)
    rows = Dataset.from_dict({"en": SOURCES, "de": TARGETS})
    encoded = rows.map(lambda row: tokenizer(row["en"], text_target=row["de"]), remove_columns=rows.column_names)
    read: list[str] = []

    def metrics(prediction: Any) -> dict[str, float]:
        predictions, labels = prediction
        labels[labels == -100] = tokenizer.pad_token_id
        read.extend(tokenizer.batch_decode(labels, skip_special_tokens=True))
        return {"right": float(tokenizer.batch_decode(predictions, skip_special_tokens=True) == TARGETS)}

    trainer = Seq2SeqTrainer(
        model=model,
        args=Seq2SeqTrainingArguments(
            str(tmp_path / "tuned"),
            **{"max_steps": 1, "learning_rate": 1e-6, "predict_with_generate": True, "report_to": "none"},
            **{"use_cpu": True, "disable_tqdm": True, "save_steps": 1},
        ),
        train_dataset=encoded,
        eval_dataset=encoded,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
        compute_metrics=metrics,
    )
    trainer.train()
    assert trainer.evaluate()["eval_right"] == 1
    assert read == TARGETS
    for name in ("tuned/checkpoint-1", "last"):
        if name == "last":
            trainer.save_model(str(tmp_path / "last"))
        translate: Any = pipeline("translation", model=str(tmp_path / name), trust_remote_code=True)
        assert translations(translate(SOURCES[:3])) == TARGETS[:3]


@pytest.mark.parametrize("with_code", [True, False])
def test_a_pipeline_of_objects_writes_the_target_language(folder: Path, with_code: bool) -> None:
    where: Any = {"trust_remote_code": True} if with_code else {}
    tokenizer = AutoTokenizer.from_pretrained(folder, **where)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder, **where)
    translate: Any = pipeline("translation", model=model, tokenizer=tokenizer)
    assert translations(translate(SOURCES, batch_size=5)) == TARGETS


def test_a_pipeline_refuses_a_tokenizer_without_the_target(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    source = AutoTokenizer.from_pretrained(tmp_path / "target_tokenizer")
    with pytest.raises(ValueError, match=r"has 310 target tokens and 320 source tokens.* trust_remote_code=True"):
        pipeline("translation", model=model, tokenizer=source)


def test_a_folder_with_two_separate_tokenizers_still_works_and_is_saved_as_one(
    folder: Path, change_older: Callable[[Path], None], tmp_path: Path
) -> None:
    change_older(folder)
    translate: Any = pipeline("translation", model=str(folder), trust_remote_code=True)
    assert translations(translate(SOURCES[:3])) == TARGETS[:3]
    translate.save_pretrained(tmp_path / "saved")
    again = AutoTokenizer.from_pretrained(tmp_path / "saved", trust_remote_code=True)
    labels = again(text_target=TARGETS[0])["input_ids"]
    assert again.decode(labels, skip_special_tokens=True) == TARGETS[0]


@pytest.fixture
def change_older() -> Callable[[Path], None]:
    """Return a function that changes a folder to one written before there was a tokenizer for both sides."""
    import json

    def change(folder: Path) -> None:
        config = json.loads((folder / "tokenizer_config.json").read_text())
        del config["auto_map"], config["separate_vocabs"]
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        (folder / "tokenizer_config.json").write_text(json.dumps(config))

    return change


def test_streamed_text_is_of_the_target(model: Any, tokenizer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    batch = tokenizer(SOURCES[:1], return_tensors="pt")
    model.generate(**batch, num_beams=1, streamer=TextStreamer(tokenizer, skip_special_tokens=True))
    assert capsys.readouterr().out.strip() == TARGETS[0]


def test_stop_strings_are_searched_in_the_target(model: Any, tokenizer: Any) -> None:
    batch = tokenizer(SOURCES[:1], return_tensors="pt")
    output = model.generate(**batch, num_beams=1, stop_strings=[TARGETS[0].split()[1]], tokenizer=tokenizer)
    assert tokenizer.decode(output[0], skip_special_tokens=True) == " ".join(TARGETS[0].split()[:2])


@pytest.mark.parametrize("release", ["5.17.0", "5.19.2"])
def test_beam_search_of_older_releases_is_refused(model, tokenizer, release, monkeypatch) -> None:
    # Importing a part of transformers may run the package again, which makes two modules of that name.
    monkeypatch.setattr(compatibility.transformers, "__version__", release)
    batch = tokenizer(SOURCES, return_tensors="pt", padding=True)
    with pytest.raises(ValueError, match=f"{release} is wrong. Give `num_beams=1`, or upgrade"):
        model.generate(**batch, num_beams=2, no_repeat_ngram_size=3, max_new_tokens=2)
    assert model.generate(**batch, num_beams=1, no_repeat_ngram_size=3, max_new_tokens=2).shape[0] == len(SOURCES)
    # Without processing of scores, the beams are not those of transformers.
    assert tokenizer.batch_decode(model.generate(**batch, num_beams=2), skip_special_tokens=True) == TARGETS


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("normalize_logits", [True, False])
def test_transition_scores_are_of_target_tokens(
    model: Any, tokenizer: Any, num_beams: int, normalize_logits: bool
) -> None:
    batch = tokenizer(SOURCES[:4], return_tensors="pt", padding=True)
    kept: Any = {"output_scores": True, "return_dict_in_generate": True, "output_logits": True}
    output = model.generate(**batch, num_beams=num_beams, **kept)
    beams = getattr(output, "beam_indices", None)
    scores = model.compute_transition_scores(output.sequences, output.scores, beams, normalize_logits)
    tokens = output.sequences[:, 1:]  # [B, T]
    logits = model(**batch, decoder_input_ids=output.sequences[:, :-1]).logits  # [B, T, V]
    if normalize_logits or num_beams > 1:
        logits = logits.log_softmax(-1)
    expected = logits.gather(2, tokens.unsqueeze(2)).squeeze(2)
    real = tokens != tokenizer.pad_token_id
    assert torch.allclose(scores[real], expected[real], atol=1e-4)
    if num_beams > 1:
        assert not scores[~real].any()


def test_tokens_can_be_added_to_each_side(model: Any, tokenizer: Any, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    more: Any = SineformerForConditionalGeneration.from_pretrained(tmp_path)
    both: Any = SineformerTokenizer.from_pretrained(tmp_path)
    both.add_special_tokens({"additional_special_tokens": ["<2de>"]})
    both.target_tokenizer.add_tokens("<name>")
    more.resize_token_embeddings(len(both))
    more.resize_decoder_token_embeddings(len(both.target_tokenizer))
    loss = more(**both("<2de> The dog", text_target="<name> rennt", return_tensors="pt")).loss
    assert torch.isfinite(loss)
    more.save_pretrained(tmp_path / "more")
    both.save_pretrained(tmp_path / "more")
    translate: Any = pipeline("translation", model=str(tmp_path / "more"), trust_remote_code=True)
    assert translations(translate(SOURCES[:3])) == TARGETS[:3]
