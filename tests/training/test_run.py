"""Test tiny complete runs, in this process."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, GenerationConfig

from sineformer.training.data.embedded_task import load_split
from sineformer.training.data.tokenizer import load_tokenizers
from sineformer.training.evaluation.scores import score_translations
from sineformer.training.preflight import read_settings
from sineformer.training.pretrained.translation import translate_lines
from sineformer.training.run import run
from sineformer.training.train import main

ROOT = Path(__file__).resolve().parent.parent.parent

SMALL = [
    *("--d_model", "16", "--encoder_layers", "1", "--decoder_layers", "1", "--encoder_attention_heads", "2"),
    *("--decoder_attention_heads", "2", "--encoder_ffn_dim", "16", "--decoder_ffn_dim", "16", "--vocab_size", "400"),
    *("--max_tokens", "400", "--warmup_steps", "4", "--max_steps", "4", "--eval_steps", "2", "--logging_steps", "1"),
    *("--num_beams", "2", "--use_cpu", "--gradient_accumulation_steps", "2"),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return parallel text files; the source of the training files is compressed, and one training pair is unusable."""
    folder = tmp_path_factory.mktemp("corpus")
    for split, size in {"train": 80, "validation": 9, "test": 7}.items():
        pairs = load_split(split, size, seed=1) + ([("", "Leer.")] if split == "train" else [])
        english, german = ("".join(f"{text}\n" for text in side) for side in zip(*pairs, strict=True))
        with gzip.open(folder / f"{split}.en.gz", "wt", encoding="utf-8") as file:
            file.write(english)
        (folder / f"{split}.de").write_text(german, encoding="utf-8")
    return folder


def flags_of(corpus: Path, output_dir: Path) -> list[str]:
    files = [
        word
        for split in ("train", "validation", "test")
        for word in (f"--{split}_files", f"{split}.en.gz", f"{split}.de")
    ]
    languages = ["--source_language", "en", "--target_language", "de"]
    return ["--data_dir", str(corpus), *files, *languages, "--output_dir", str(output_dir), *SMALL]


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the output folder of a run."""
    output_dir = tmp_path_factory.mktemp("runs") / "first"
    assert main(flags_of(corpus, output_dir)) == 0
    return output_dir


def metrics(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
        line.pop("tokens_per_second", None)
    return [line for line in lines if line["kind"] in (kinds or ("train", "validation", "test"))]


def test_a_run_writes_a_complete_model_folder_and_nothing_else(finished: Path) -> None:
    code = {path.name for path in (ROOT / "modeling").glob("*.py")} - {"__init__.py"} | {"configuration_sineformer.py"}
    model = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    record = {"README.md", "metrics.jsonl", "training_args.yaml", "versions.json", "tensorboard"}
    record |= {"report.html", "report.png"}
    assert {path.name for path in finished.iterdir()} == code | model | record
    assert list((finished / "tensorboard").rglob("events.*"))


def test_the_record_covers_steps_evaluations_and_the_test_of_the_best_model(finished: Path) -> None:
    assert [line["step"] for line in metrics(finished, "train")] == [1, 2, 3, 4]
    assert [line["step"] for line in metrics(finished, "validation")] == [2, 4]
    (test,) = metrics(finished, "test")
    assert (test["sentences"], test["num_beams"]) == (7, 2)
    card = ModelCard.load(finished / "README.md")
    assert {result.metric_value for result in card.data.eval_results} == {
        round(test["bleu"], 2),
        round(test["chrf"], 2),
        round(test["chrf_plus_plus"], 2),
    }
    assert json.loads((finished / "versions.json").read_text())["torch"] == torch.__version__


def test_the_folder_loads_as_the_model_that_was_measured(finished: Path, corpus: Path) -> None:
    import sineformer  # noqa: F401 - registers the Auto classes

    model = AutoModelForSeq2SeqLM.from_pretrained(finished)
    with gzip.open(corpus / "test.en.gz", "rt", encoding="utf-8") as file:
        sources = file.read().splitlines()
    references = (corpus / "test.de").read_text(encoding="utf-8").splitlines()
    translations = translate_lines(model, load_tokenizers(finished), sources)
    (test,) = metrics(finished, "test")
    assert score_translations(translations, references)["chrf"] == test["chrf"]


def test_generation_parameters_are_in_the_generation_config_and_do_not_truncate(finished: Path) -> None:
    generation = GenerationConfig.from_pretrained(finished)
    assert (generation.num_beams, generation.max_length, generation.decoder_start_token_id) == (2, 1025, 2)
    assert generation.max_tokens_beyond_source == 50
    config = json.loads((finished / "config.json").read_text())
    assert not {"num_beams", "max_length", "length_penalty"} & config.keys()


def test_the_saved_settings_repeat_the_run_bit_for_bit(
    finished: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    assert (
        main(["--config", str(finished / "training_args.yaml"), "--data_dir", str(corpus), "--output_dir", str(again)])
        == 0
    )
    results, notes = capsys.readouterr()
    assert results.startswith(f"Model:   {again} (best model of the run, step ")
    assert notes.startswith("train: 81 sentence pairs read")
    assert results.count("\n") == 6
    assert metrics(again) == metrics(finished)
    first, second = (load_file(folder / "model.safetensors") for folder in (finished, again))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (again / "tokenizer.json").read_bytes() == (finished / "tokenizer.json").read_bytes()


def test_no_file_of_a_run_holds_an_absolute_path_of_its_settings(finished: Path, corpus: Path, tmp_path: Path) -> None:
    pairs = [str(corpus / "train.en.gz"), str(corpus / "train.de")]
    flags = ["--dataset", "files", "--train_files", *pairs, "--validation_files", *pairs, "--warmup_steps", "1"]
    flags += ["--model_name_or_path", str(finished), "--lora_r", "2", "--max_steps", "1", "--use_cpu"]
    assert main([*flags, "--cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path / "tuned")]) == 0
    folders = [str(folder).encode() for folder in (corpus, finished, tmp_path)]
    for folder in (finished, tmp_path / "tuned"):
        # PEFT loads the base of an adapter from where the adapter says it is.
        for file in (path for path in folder.rglob("*") if path.is_file() and path.name != "adapter_config.json"):
            assert not [path for path in folders if path in file.read_bytes()], file


def test_the_best_checkpoint_is_the_one_published(corpus: Path, tmp_path: Path) -> None:
    # With so high a learning rate the loss gets worse after the first evaluation.
    flags = [*flags_of(corpus, tmp_path / "out"), "--learning_rate", "3", "--best_metric", "loss", "--patience", "1"]
    settings = read_settings(flags)
    settings.optimisation.max_steps = 40
    run(settings)
    losses = {line["step"]: line["loss"] for line in metrics(tmp_path / "out", "validation")}
    best = min(losses, key=lambda step: losses[step])
    (test,) = metrics(tmp_path / "out", "test")
    assert test["step"] == best
    assert max(losses) < 40, "patience 1 ends training at the first evaluation that is no better"
    assert max(losses) == best + 2


def test_separate_vocabularies_and_no_test_set(corpus: Path, tmp_path: Path) -> None:
    flags = flags_of(corpus, tmp_path / "out")
    start = flags.index("--test_files")
    assert main([*flags[:start], *flags[start + 3 :], "--target_vocab_size", "380", "--report_to", "none"]) == 0
    tokenizers = load_tokenizers(tmp_path / "out")
    assert (len(tokenizers.source), len(tokenizers.target)) == (400, 380)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["decoder_vocab_size"] == 380
    assert [line["step"] for line in metrics(tmp_path / "out", "validation")][-1] in (2, 4)
    assert not (tmp_path / "out" / "tensorboard").exists()


def test_bad_rows_are_reported_with_their_location(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*flags_of(corpus, tmp_path / "out"), "--on_bad_rows", "refuse"]) == 1
    error = capsys.readouterr().err
    assert "bad rows are refused here" in error
    assert "empty source side: 1" in error
    assert "train.en.gz:81" in error
    assert not (tmp_path / "out").exists()


def test_wrong_settings_end_with_status_2_and_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--d_modl", "8", "--output_dir", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: 3 problems in the settings:\n")
    assert "did you mean 'd_model'?" in error
    assert not (tmp_path / "out").exists()


def test_too_few_pairs_for_a_step_are_an_error_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [
        "--dataset",
        "embedded",
        "--train_size",
        "5",
        "--validation_size",
        "3",
        "--test_size",
        "3",
        "--vocab_size",
        "320",
        "--use_cpu",
    ]
    model = ["--d_model", "16", "--encoder_layers", "1", "--decoder_layers", "1", "--encoder_attention_heads", "2"]
    step = ["--decoder_attention_heads", "2", "--gradient_accumulation_steps", "9", "--max_steps", "1"]
    assert main([*sizes, *model, *step, "--report_to", "none", "--output_dir", str(tmp_path / "out")]) == 1
    assert "error: training data: 5 examples cannot fill 9 batches" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_loss_that_is_not_finite_ends_with_status_1(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harmful = ["--learning_rate", "1e38", "--max_grad_norm", "1", "--max_skipped_steps", "0"]
    flags = [*flags_of(corpus, tmp_path / "out"), *harmful]
    assert main(flags) == 1
    assert "error: step 2: the loss is" in capsys.readouterr().err
    saved = yaml.safe_load((tmp_path / "out" / "training_args.yaml").read_text())
    assert saved["learning_rate"] == 1e38
