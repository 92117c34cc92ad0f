"""Test fine-tuning of a model from a folder, from the Hub, and of a converted one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import load_file
from transformers import AutoTokenizer

from sineformer import SineformerConfig
from sineformer.training.checkpoints.checkpoint import save_model
from sineformer.training.data.cleaning import CleaningReport
from sineformer.training.data.encoding import encode_pairs
from sineformer.training.data.parallel_text import ParallelText
from sineformer.training.data.tokenizer import load_tokenizers
from sineformer.training.preflight import read_settings
from sineformer.training.pretrained.conversion.marian import convert_marian
from sineformer.training.pretrained.loading import load_model
from sineformer.training.settings.recipe import RecipeError
from sineformer.training.train import main

SIZES = {
    **{"d_model": "16", "encoder_layers": "1", "decoder_layers": "1", "encoder_attention_heads": "2"},
    **{"decoder_attention_heads": "2", "encoder_ffn_dim": "16", "decoder_ffn_dim": "16", "vocab_size": "400"},
}
RUN = {
    "dataset": "embedded",
    **{"train_size": "200", "validation_size": "6", "test_size": "4", "max_length": "40", "max_tokens": "400"},
    # Many sentences of the task are longer.
    "max_unusable_share": "0.3",
    **{"warmup_steps": "4", "max_steps": "8", "eval_steps": "4", "best_metric": "loss", "logging_steps": "1"},
    **{"learning_rate": "0.01", "use_cpu": "true", "report_to": "none"},
}
SIZES_OF_BASE = {"dropout": "0.2", "num_beams": "3", "length_penalty": "0.8", "max_position_embeddings": "64"}


def train(folder: Path, settings: dict[str, str], *flags: str) -> int:
    """Train with these settings, overridden by `flags`."""
    given = {flag.removeprefix("--") for flag in flags}
    kept = [word for key, value in settings.items() if key not in given for word in (f"--{key}", value)]
    return main([*kept, "--output_dir", str(folder), *flags])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a briefly trained model."""
    folder = tmp_path_factory.mktemp("base") / "base.model"
    assert train(folder, SIZES | RUN | SIZES_OF_BASE) == 0
    return folder


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that fine-tuned it."""
    folder = tmp_path_factory.mktemp("tuned") / "tuned"
    assert train(folder, RUN, "--model_name_or_path", str(base)) == 0
    return folder


def losses(folder: Path, kind: str) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == kind]


def recipe_of(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "training_args.yaml").read_text())


def problems(*flags: str) -> list[str]:
    """Return the problems of fine-tuning with these flags."""
    with pytest.raises(RecipeError) as caught:
        read_settings(["--dataset", "embedded", "--output_dir", "unused", "--max_steps", "1", *flags])
    return caught.value.problems


def test_fine_tuning_starts_from_the_base_model(base: Path, tuned: Path) -> None:
    assert losses(tuned, "train")[0] < losses(base, "train")[0] - 0.5
    assert losses(tuned, "validation")[-1] < losses(base, "validation")[-1]
    (before,) = losses(tuned, "validation_base")
    assert before == pytest.approx(losses(base, "validation")[-1])
    before_and_after = [f"| {before:.3f} |", f"| {min(losses(tuned, 'validation')):.3f} |"]
    rows = [line for line in (tuned / "README.md").read_text().splitlines() if line.startswith("| validation")]
    assert [row.split(" | ")[0] for row in rows] == ["| validation, base model", "| validation"]
    assert all(loss in row for loss, row in zip(before_and_after, rows, strict=True))
    config = SineformerConfig.from_pretrained(tuned)
    assert config.to_dict() == SineformerConfig.from_pretrained(base).to_dict()


def test_the_tokenizer_and_the_generation_parameters_stay_as_they_are(base: Path, tuned: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tuned / name).read_bytes() == (base / name).read_bytes()
    assert json.loads((tuned / "generation_config.json").read_text())["num_beams"] == 3


def test_the_record_has_the_settings_of_the_model_and_repeats_the_run(base: Path, tuned: Path, tmp_path) -> None:
    recipe = recipe_of(tuned)
    taken_over = {"d_model": 16, "dropout": 0.2, "vocab_size": 400, "num_beams": 3, "length_penalty": 0.8}
    assert {key: recipe[key] for key in taken_over} == taken_over
    assert recipe["model_name_or_path"] == base.name
    assert "base_model" in json.loads((tuned / "versions.json").read_text())["data_sha256"]
    flags = ["--model_name_or_path", str(base), "--output_dir", str(tmp_path / "again")]
    assert main(["--config", str(tuned / "training_args.yaml"), *flags]) == 0
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tuned / "model.safetensors").read_bytes()


def test_the_card_names_a_local_model_without_an_id(base: Path, tuned: Path) -> None:
    card = ModelCard.load(tuned / "README.md")
    assert "Fine-tuned from the local model `base.model`, with its tokenizer." in card.text
    assert card.data.get("base_model") is None
    assert "Fine-tuned" not in (base / "README.md").read_text()


def test_only_keys_that_contradict_the_model_are_errors(base: Path) -> None:
    same = [word for key, value in SIZES.items() for word in (f"--{key}", value)]
    flags = ["--model_name_or_path", str(base)]
    read_settings(["--dataset", "embedded", "--output_dir", "unused", "--max_steps", "1", *flags, *same])
    found = problems(*flags, "--d_model", "32", "--vocab_size", "8000", "--target_vocab_size", "400")
    assert found == [
        f"d_model: {base} has 16, got 32; remove it, the model decides",
        f"vocab_size: {base} has 400, got 8000; remove it, the model decides",
        f"target_vocab_size: {base} has none, got 400; remove it, the model decides",
    ]


def test_languages_are_those_of_the_model_unless_others_are_given(base: Path, tuned: Path, tmp_path: Path) -> None:
    for folder in (base, tuned):
        config = SineformerConfig.from_pretrained(folder)
        assert (config.source_language, config.target_language) == ("en", "de")
    (tmp_path / "a.tsv").write_text("One.\tUn.\n")
    files = [word for split in ("train", "validation") for word in (f"--{split}_files", str(tmp_path / "a.tsv"))]
    flags = [*files, "--model_name_or_path", str(base), "--output_dir", "unused", "--max_steps", "1"]
    data = read_settings(flags).data
    assert (data.dataset, data.source_language, data.target_language) == ("files", "en", "de")
    assert read_settings([*flags, "--target_language", "fr"]).data.target_language == "fr"


def test_dropout_and_search_may_differ(base: Path, tmp_path: Path) -> None:
    flags = [
        "--dropout",
        "0",
        "--attention_dropout",
        "0.3",
        "--num_beams",
        "1",
        "--max_steps",
        "2",
        "--warmup_steps",
        "1",
    ]
    assert train(tmp_path / "out", RUN, "--model_name_or_path", str(base), *flags) == 0
    config = SineformerConfig.from_pretrained(tmp_path / "out")
    assert (config.dropout, config.attention_dropout, config.d_model) == (0, 0.3, 16)
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (generation["num_beams"], generation.get("early_stopping"), generation["length_penalty"]) == (1, None, 1.0)


def test_separate_vocabularies_stay_separate(base: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "base", SIZES | RUN, "--target_vocab_size", "380", "--max_steps", "4") == 0
    assert (
        train(
            tmp_path / "out",
            RUN,
            "--model_name_or_path",
            str(tmp_path / "base"),
            "--max_steps",
            "2",
            "--warmup_steps",
            "1",
        )
        == 0
    )
    for name in ("tokenizer.json", "target_tokenizer/tokenizer.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "base" / name).read_bytes()
    assert recipe_of(tmp_path / "out")["target_vocab_size"] == 380
    assert losses(tmp_path / "out", "train")[0] < losses(tmp_path / "base", "train")[0]


@pytest.mark.parametrize("separate", [False, True])
def test_a_converted_marian_model_is_fine_tuned_with_its_own_tokenizer(
    make_marian: Callable[..., Path], marian_text: dict[str, list[str]], tmp_path: Path, separate: bool
) -> None:
    folder, data = tmp_path / "converted", tmp_path / "data"
    convert_marian(str(make_marian(share_encoder_decoder_embeddings=not separate)), folder)
    data.mkdir()
    for side, lines in marian_text.items():
        (data / side).write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = [w for split in ("train", "validation") for w in (f"--{split}_files", "source", "target")]
    flags = [
        "--dataset",
        "files",
        "--data_dir",
        str(data),
        *files,
        "--source_language",
        "en",
        "--target_language",
        "de",
        "--model_name_or_path",
        str(folder),
    ]
    assert train(tmp_path / "out", RUN, *flags, "--max_steps", "4") == 0
    assert losses(tmp_path / "out", "validation")[-1] < losses(tmp_path / "out", "train")[0] - 0.3
    names = {"source.spm", "target.spm", "vocab.json", "tokenizer_config.json"}
    assert ("target_vocab.json" in {path.name for path in (tmp_path / "out").iterdir()}) == separate
    for name in names | ({"target_vocab.json"} if separate else set()):
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
    assert not (tmp_path / "out" / "tokenizer.json").exists()
    assert "bad_words_ids" in json.loads((tmp_path / "out" / "generation_config.json").read_text())


def test_the_target_of_a_converted_model_is_encoded_as_a_target(
    make_marian: Callable[..., Path], marian_text: dict[str, list[str]], tmp_path: Path
) -> None:
    convert_marian(str(make_marian()), tmp_path / "converted")
    sources, targets = marian_text["source"], marian_text["target"]
    text = ParallelText(sources, targets, ["text"] * 3, [1, 2, 3])
    pairs = encode_pairs(text, load_tokenizers(tmp_path / "converted"), 100, CleaningReport())
    expected = AutoTokenizer.from_pretrained(tmp_path / "converted")(sources, text_target=targets)
    assert [pairs[index]["input_ids"].tolist() for index in range(3)] == expected["input_ids"]
    assert [pairs[index]["labels"].tolist() for index in range(3)] == expected["labels"]


def test_a_model_of_the_hub_is_recorded_with_its_commit(base: Path, hub_client: Any, tmp_path: Path) -> None:
    api = HfApi(endpoint=hub_client.endpoint, token=hub_client.token)
    api.create_repo("user/to-tune", exist_ok=True)
    commit = api.upload_folder(repo_id="user/to-tune", folder_path=base, ignore_patterns=["*.jsonl"]).oid
    flags = ["--model_name_or_path", "user/to-tune"]
    assert train(tmp_path / "out", RUN, *flags, "--max_steps", "2", "--warmup_steps", "2") == 0
    assert losses(tmp_path / "out", "train")[0] < losses(base, "train")[0] - 0.5
    assert recipe_of(tmp_path / "out")["model_revision"] == commit
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.get("base_model") == "user/to-tune"
    assert f"[user/to-tune](https://huggingface.co/user/to-tune) at commit `{commit}`" in card.text
    (found,) = problems(*flags, "--model_revision", "elsewhere")
    assert found.startswith("model_name_or_path: user/to-tune is not a folder, and cannot be downloaded from the Hub:")


def test_a_model_that_is_not_a_sineformer_is_one_clear_error(base: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "marian"}')
    cases = {
        str(tmp_path): "is a model of type 'marian'; this needs one of type 'sineformer'",
        str(tmp_path.parent): "holds no config.json; give the output folder of a finished training",
        "a/b/c": "is neither a folder nor the id of a model on the Hub",
    }
    for name, expected in cases.items():
        assert problems("--model_name_or_path", name) == [f"model_name_or_path: {name} {expected}"]
    (found,) = problems("--model_name_or_path", str(base), "--model_revision", "main")
    assert found == f"model_revision: only models on the Hub have revisions, and {base} is a folder; remove it"


def test_without_a_network_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    (found,) = problems("--model_name_or_path", "user/none")
    assert found.startswith("model_name_or_path: user/none is not a folder, and cannot be downloaded from the Hub:")


@pytest.mark.parametrize("harm", ["cut off", "without the decoder", "without a tokenizer"])
def test_damaged_models_end_the_run_before_it_writes_anything(
    base: Path, tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(base, tmp_path / "base")
    weights = tmp_path / "base" / "model.safetensors"
    if harm == "cut off":
        weights.write_bytes(weights.read_bytes()[:-8])
    elif harm == "without a tokenizer":
        (tmp_path / "base" / "tokenizer.json").unlink()
    else:
        from safetensors.torch import save_file

        kept = {name: value for name, value in load_file(weights).items() if "decoder.layers" not in name}
        save_file(kept, weights, metadata={"format": "pt"})
    assert train(tmp_path / "out", RUN, "--model_name_or_path", str(tmp_path / "base")) == 1
    error = capsys.readouterr().err
    assert "error: model_name_or_path: " in error
    assert not (tmp_path / "out").exists()


def test_a_run_does_not_write_over_the_model_it_begins_from(base: Path) -> None:
    flags = ["--model_name_or_path", str(base), "--overwrite_output_dir", "--output_dir", str(base.parent)]
    with pytest.raises(RecipeError, match="holds the model of model_name_or_path; choose another folder"):
        read_settings(["--dataset", "embedded", "--max_steps", "1", *flags])


def test_keys_of_fine_tuning_need_a_model() -> None:
    found = problems("--freeze", "encoder", "--model_revision", "main")
    assert found == [f"{key}: only for fine-tuning; set model_name_or_path" for key in ("model_revision", "freeze")]


@pytest.mark.parametrize("flags", [("--freeze", "encoder"), ("--lora_r", "2")])
def test_freezing_and_adapters_are_refused_with_fsdp(
    base: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, str]
) -> None:
    for variable, value in {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(variable, value)
    found = problems("--model_name_or_path", str(base), *flags)
    assert [each.startswith("freeze, lora_r: do not work with FSDP") for each in found] == [True]


def test_weights_in_half_precision_are_trained_in_fp32(base: Path, tmp_path: Path) -> None:
    model, tokenizers = load_model(base, torch.bfloat16)
    save_model(tmp_path / "half", model, tokenizers)
    assert {value.dtype for value in load_file(tmp_path / "half" / "model.safetensors").values()} == {torch.bfloat16}
    assert (
        train(
            tmp_path / "out",
            RUN,
            "--model_name_or_path",
            str(tmp_path / "half"),
            "--max_steps",
            "1",
            "--warmup_steps",
            "1",
        )
        == 0
    )
    assert {value.dtype for value in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.float32}
