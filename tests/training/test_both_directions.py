"""A model of both directions: trained, published, fine-tuned to one, and what strangers get from its folder."""

from __future__ import annotations

import importlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from transformers import AutoTokenizer, pipeline

from sineformer import SineformerConfig
from sineformer.training.data.embedded_task import load_split
from sineformer.training.monitoring.run_log import RunLog
from sineformer.training.pretrained.engines import ModelChoice
from sineformer.training.pretrained.text_translation import TextTranslator
from sineformer.training.pretrained.translation import Hypothesis, Search
from sineformer.training.system.signals import STOPPED
from sineformer.training.train import main

SIZES = {
    **{"d_model": "16", "encoder_layers": "1", "decoder_layers": "1", "encoder_attention_heads": "2"},
    **{"decoder_attention_heads": "2", "encoder_ffn_dim": "16", "decoder_ffn_dim": "16", "vocab_size": "400"},
}
RUN = {
    **{"max_length": "40", "max_tokens": "400", "max_unusable_share": "0.3", "max_steps": "6", "eval_steps": "3"},
    **{"train_files": "train.tsv", "validation_files": "validation.tsv", "best_metric": "loss", "warmup_steps": "2"},
    **{"source_language": "en", "target_language": "de", "use_cpu": "true", "report_to": "none"},
}
EN, DE = 398, 399  # token ids of the tags


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with training data, also the other way round."""
    folder = tmp_path_factory.mktemp("both")
    for split, size in (("train", 150), ("validation", 8)):
        pairs = load_split(split, size, seed=5)
        (folder / f"{split}.tsv").write_text("".join(f"{en}\t{de}\n" for en, de in pairs), encoding="utf-8")
        (folder / f"{split}.swapped.tsv").write_text("".join(f"{de}\t{en}\n" for en, de in pairs), encoding="utf-8")
    return folder


def train(folder: Path, name: str, settings: dict[str, str], *flags: str) -> int:
    """Train with these settings, overridden by `flags`, into a folder with this name."""
    given = {flag.removeprefix("--") for flag in flags}
    kept = [word for key, value in settings.items() if key not in given for word in (f"--{key}", value)]
    return main([*kept, "--data_dir", str(folder), "--output_dir", str(folder / name), *flags])


@pytest.fixture(scope="module")
def both(folder: Path) -> Path:
    """Return a briefly trained model of both directions."""
    assert train(folder, "both.model", SIZES | RUN, "--both_directions", "true") == 0
    return folder / "both.model"


def first_ids(model: Path, texts: list[str], **languages: str) -> list[int]:
    """Return the first token that reaches the model for each text, in a pipeline of a stranger."""
    translate: Any = pipeline("translation", model=str(model), trust_remote_code=True)
    seen: list[int] = []
    generate = translate.model.generate

    def spy(input_ids: Any, **given: Any) -> Any:
        seen.append(input_ids[0, 0].item())
        return generate(input_ids=input_ids, **given)

    translate.model.generate = spy
    for each in translate(texts, max_new_tokens=3, **languages):
        assert not {">>en<<", ">>de<<"} & set(each["translation_text"].split())
    return seen


def test_the_published_folder_translates_both_ways(both: Path) -> None:
    assert first_ids(both, ["A dog.", ">>en<< Ein Hund."]) == [DE, EN]
    assert first_ids(both, ["Ein Hund.", ">>de<< A dog."], src_lang="de", tgt_lang="en") == [EN, DE]
    config = SineformerConfig.from_pretrained(both)
    assert (config.source_language, config.target_language, config.vocab_size) == ("en", "de", 400)
    assert AutoTokenizer.from_pretrained(both)("A dog.")["input_ids"][0] == DE


def test_the_card_says_how_to_choose_the_direction(both: Path, folder: Path) -> None:
    card = (both / "README.md").read_text(encoding="utf-8")
    assert "Translates en to de, and de to en." in card
    assert 'tokenizer.tgt_lang = "en"' in card
    assert 'translate(text, src_lang="de", tgt_lang="en")' in card
    (block,) = [line for line in card.splitlines() if line.startswith("tokenizer.tgt_lang")]
    tokenizer: Any = AutoTokenizer.from_pretrained(both, trust_remote_code=True)
    exec(block, {"tokenizer": tokenizer})
    assert tokenizer("Ein Hund.")["input_ids"][0] == EN


def test_a_resumed_run_is_that_of_one_go(both: Path, folder: Path) -> None:
    log_step, flags = RunLog.step, ("--both_directions", "true")

    def step_with_signal(self: RunLog, number: int, *rest: Any) -> None:
        if number == 4:
            signal.raise_signal(signal.SIGTERM)
        log_step(self, number, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunLog, "step", step_with_signal)
        assert train(folder, "resumed", SIZES | RUN, *flags) == STOPPED
    assert train(folder, "resumed", SIZES | RUN, *flags, "--resume") == 0
    weights = [load_file(name / "model.safetensors") for name in (both, folder / "resumed")]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_a_second_stage_keeps_the_tokenizer_and_its_direction(both: Path, folder: Path) -> None:
    assert train(folder, "second", RUN, "--model_name_or_path", str(both)) == 0
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (folder / "second" / name).read_bytes() == (both / name).read_bytes()
    assert first_ids(folder / "second", ["A dog."]) == [DE]
    assert "de to en" not in (folder / "second" / "README.md").read_text(encoding="utf-8")


def test_a_second_stage_may_take_the_other_direction(both: Path, folder: Path) -> None:
    files = ("--train_files", "train.swapped.tsv", "--validation_files", "validation.swapped.tsv")
    flags = (*files, "--source_language", "de", "--target_language", "en", "--model_name_or_path", str(both))
    assert train(folder, "swapped", RUN, *flags) == 0
    assert first_ids(folder / "swapped", ["Ein Hund."]) == [EN]
    assert AutoTokenizer.from_pretrained(folder / "swapped")("Ein Hund.")["input_ids"][0] == EN


def call(script: str, *arguments: str | Path) -> int:
    """Run a script with these arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *map(str, arguments)])
        return int(importlib.import_module(f"sineformer.scripts.{script}").main())


def test_the_command_translates_into_the_language_of_its_option(
    both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentences = [de for _, de in load_split("test", 30, seed=5)]
    found = []
    for tag, option in ((">>en<< ", ()), ("", ("--target_language", "en")), ("", ())):
        (tmp_path / "in.txt").write_text("".join(f"{tag}{sentence}\n" for sentence in sentences), encoding="utf-8")
        where = ("--model", both, "--input", tmp_path / "in.txt", "--device", "cpu")
        assert call("translate", *where, "--scores", *option) == 0
        found.append([line.split("\t")[-2:] for line in capsys.readouterr().out.splitlines()])
    assert found[0] == found[1]
    assert found[0] != found[2]
    # Several processes share the tokenizers of the first one.
    assert ModelChoice(str(both), target_language="en").load_tokenizers().source("x")["input_ids"][0] == EN


def translations_of(
    both: Path, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], *flags: str
) -> list[str]:
    """Return the lines that `scripts/translate.py` prints."""
    (tmp_path / "in.txt").write_text(text, encoding="utf-8")
    assert call("translate", "--model", both, "--input", tmp_path / "in.txt", "--device", "cpu", *flags) == 0
    return capsys.readouterr().out.splitlines()


def test_a_line_of_nothing_but_a_tag_has_an_empty_translation(
    both: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert translations_of(both, ">>en<<\n  >>de<< \n", tmp_path, capsys) == ["", ""]
    translate: Any = pipeline("translation", model=str(both), trust_remote_code=True)
    assert [each["translation_text"] for each in translate([">>en<<", ">>de<< "], tgt_lang="de")] == ["", ""]


def test_every_sentence_of_a_line_gets_its_tag(both: Path) -> None:
    seen: list[list[str]] = []
    tokenizers = ModelChoice(str(both)).load_tokenizers()

    def search(batches: Any) -> Any:
        for batch in batches:
            seen.append([tokenizers.source.decode(ids) for ids in batch.ids])
            yield [[Hypothesis("x")] for _ in batch.ids]

    translator = TextTranslator(
        tokenizers, Search(), 1000, lambda line: [f"{each.strip()}." for each in line.split(".")], search
    )
    list(translator.translate([[">>en<< Ein Hund rennt.Er ist braun", "A dog"]]))
    assert sorted(seen[0]) == [">>de<< A dog.</s>", ">>en<< Ein Hund rennt.</s>", ">>en<< Er ist braun.</s>"]


def test_the_command_refuses_a_language_that_the_model_lacks(
    both: Path, make_model_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for model, problem in ((both, "between en and de, not 'fr'"), (make_model_folder(tmp_path), "one direction only")):
        assert call("translate", "--model", model, "--device", "cpu", "--target_language", "fr", "Un chien.") == 1
        assert problem in capsys.readouterr().err


def loss_of(model: Path, data: Path, *flags: str) -> float:
    """Return the loss that `scripts/evaluate_model.py` measures."""
    report = data.with_suffix(".report")
    where = ("--model", model, "--data", data, "--output_dir", report, "--device", "cpu")
    assert call("evaluate_model", *where, *flags) == 0
    loss: float = json.loads((report / "evaluation.json").read_text())["sets"][0]["loss"]
    return loss


def test_evaluation_takes_the_direction_of_the_references(both: Path, folder: Path, tmp_path: Path) -> None:
    english = folder / "validation.swapped.tsv"
    tokenizer: Any = AutoTokenizer.from_pretrained(both, trust_remote_code=True)
    tagged = tmp_path / "tagged.tsv"
    tagged.write_text("".join(f">>en<< {line}\n" for line in english.read_text().splitlines()), encoding="utf-8")
    assert loss_of(both, english, "--target_language", "en") == loss_of(both, tagged) != loss_of(both, english)
    assert tokenizer.tgt_lang == "de"


def test_what_the_base_model_lacks_is_said_before_training(
    both: Path, folder: Path, make_model_folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    french = ("--model_name_or_path", str(both), "--target_language", "fr")
    assert train(folder, "unused", RUN, *french) == 1
    assert "translates between en and de, got en and fr" in capsys.readouterr().err
    plain = ("--model_name_or_path", str(make_model_folder(tmp_path)), "--both_directions", "true")
    assert train(folder, "unused", RUN, *plain) == 1
    assert "both_directions: the tokenizer of model_name_or_path has no tags" in capsys.readouterr().err
