"""Test the README: its Python runs, its commands and files exist, and training accepts its recipe."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from sineformer import SineformerConfig, SineformerForConditionalGeneration
from sineformer.modeling.code_files import CODE_FILES
from sineformer.training.data.bpe import train_tokenizers
from sineformer.training.preflight import read_settings

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL_DIR = "runs/demo"  # the output of `make demo`
SHIPPED = "pretrained/sineformer-tiny-multi30k-en-de"
BOTH_DIR = "runs/both"  # a model of both directions
EXPORT_DIR = "runs/int8"  # an export of the shipped model
SENTENCES = ["The dog is sleeping.", "Der Hund schläft.", "Where is my book?", "Wo ist mein Buch?"]


def blocks(language: str) -> list[str]:
    """Return the code blocks of the README in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Return the command lines of the README, split as by the shell."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def last_call(snippet: str) -> str:
    """Return the arguments of the last call of a snippet, as the name of its test."""
    return snippet.splitlines()[-1].split("(")[1].split(")")[0]


@pytest.fixture(scope="module")
def folder_with_a_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the models of the README: the shipped one, and untrained ones in place of others."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / SHIPPED, folder / SHIPPED)
    save_untrained(folder / MODEL_DIR)
    save_untrained(folder / BOTH_DIR, "en", "de")
    return folder


def save_untrained(folder: Path, *languages: str) -> None:
    tokenizer = train_tokenizers(SENTENCES, SENTENCES, 300, languages=languages).source
    ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = SineformerConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        max_position_embeddings=32,  # an untrained model generates up to the limit
        decoder_start_token_id=tokenizer.bos_token_id,
        **sizes,
        **ids,
    )
    SineformerForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture
def folder_with_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with the recipes of the project and the data files that the README names."""
    monkeypatch.chdir(tmp_path)
    Path("training").symlink_to(ROOT / "training")
    Path("data").mkdir()
    for name in ("train.en", "train.de", "validation.en", "validation.de"):
        (Path("data") / name).write_text("one sentence\n", encoding="utf-8")
    return tmp_path


def run_snippet(snippet: str, folder: Path) -> None:
    caches = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", snippet]
    done = subprocess.run(command, cwd=folder, env=os.environ | caches, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", [each for each in blocks("python") if "trainer" not in each], ids=last_call)
def test_the_python_snippets_run(snippet: str, folder_with_a_model: Path) -> None:
    run_snippet(snippet, folder_with_a_model)


def loss_of(folder: Path, source: str, target: str) -> float:
    """Return the loss of the model in a folder on one pair."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(source, text_target=target, return_tensors="pt")
    with torch.no_grad():
        return float(AutoModelForSeq2SeqLM.from_pretrained(folder).eval()(**batch).loss)


def test_the_fine_tuning_snippet_improves_the_loss_and_leaves_a_complete_folder(folder_with_a_model: Path) -> None:
    (snippet,) = (each for each in blocks("python") if "trainer" in each)
    run_snippet(snippet, folder_with_a_model)
    base, tuned = folder_with_a_model / SHIPPED, folder_with_a_model / "runs" / "tuned"
    complete = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", *CODE_FILES}
    assert complete <= {path.name for path in tuned.iterdir()}
    (source,), (target,) = (re.findall(rf'"{side}": \["(.*?)"\]', snippet) for side in ("en", "de"))
    assert loss_of(tuned, source, target) < loss_of(base, source, target)


@pytest.mark.slow
def test_the_fine_tuning_command_improves_the_model_and_reports_the_scores_before_and_after(
    folder_with_a_model: Path, tmp_path: Path
) -> None:
    (words,) = (words for words in commands() if words[0] == "python" and "--model_name_or_path" in words)
    shutil.copytree(folder_with_a_model / MODEL_DIR, tmp_path / words[words.index("--model_name_or_path") + 1])
    (tmp_path / "data").mkdir()
    for split, repeated in {"more": 500, "validation": 1}.items():
        for language, sentences in {"en": SENTENCES[::2], "de": SENTENCES[1::2]}.items():
            text = "".join(f"{sentence}\n" for sentence in sentences * repeated)
            (tmp_path / "data" / f"{split}.{language}").write_text(text, encoding="utf-8")
    command = [sys.executable, str(ROOT / words[1]), *words[2:], "--use_cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    output = tmp_path / words[words.index("--output_dir") + 1]
    lines = [json.loads(line) for line in (output / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    before, after = ([line for line in lines if line["kind"] == kind] for kind in ("validation_base", "validation"))
    assert [line["step"] for line in before] == [0]
    assert after[-1]["loss"] < before[0]["loss"]
    card = (output / "README.md").read_text(encoding="utf-8")
    assert "| validation, base model |" in card
    assert "| validation |" in card


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_programs_and_files_of_the_commands_exist(words: list[str]) -> None:
    assert shutil.which(words[0], path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    ours = [word for word in words[1:] if word.split("/")[0] in ("scripts", "training")]
    assert [word for word in ours if not (ROOT / word).is_file()] == []


@pytest.mark.parametrize("target", [words[1] for words in commands() if words[0] == "make"])
def test_make_knows_the_targets(target: str) -> None:
    assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize("words", [words for words in commands() if "--config" in words], ids=" ".join)
def test_training_accepts_the_flags(words: list[str], folder_with_data: Path) -> None:
    read_settings(words[words.index("--config") :])


def run_script(words: list[str], folder: Path) -> None:
    command = [sys.executable, str(ROOT / words[1]), *words[2:]]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    [words for words in commands() if "scripts/translate.py" in words and EXPORT_DIR not in words],
    ids=" ".join,
)
def test_translating_works_as_shown(words: list[str], folder_with_a_model: Path) -> None:
    (folder_with_a_model / "english.txt").write_text("The dog is sleeping.\n\n", encoding="utf-8")
    run_script(words, folder_with_a_model)


def test_exporting_works_as_shown(folder_with_a_model: Path) -> None:
    pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed; `make test-slow` does it")
    exporting = [words for words in commands() if EXPORT_DIR in words]
    assert [Path(words[1]).stem for words in exporting] == ["export", "translate"]
    for words in exporting:
        run_script(words, folder_with_a_model)


def test_training_accepts_the_recipe(folder_with_data: Path) -> None:
    (recipe,) = blocks("yaml")
    Path("recipe.yaml").write_text(recipe, encoding="utf-8")
    settings = read_settings(["--config", "recipe.yaml"])
    assert settings.data.files_of("train") == [Path("data/train.en"), Path("data/train.de")]


def test_the_table_of_sizes_has_the_parameters_of_the_recipes(folder_with_data: Path) -> None:
    rows = re.findall(r"\(training/recipes/(\w+\.yaml)\).*?\| (\S+) M \|", README)
    assert [name for name, _ in rows] == ["tiny.yaml", "small.yaml", "base.yaml", "big.yaml"]
    data = ["--data_dir", "data", "--train_files", "train.en", "train.de", "--validation_size", "1"]
    for name, millions in rows:
        settings = read_settings(["--config", f"training/recipes/{name}", *data, "--output_dir", "new"])
        config = SineformerConfig(vocab_size=settings.tokenizer.vocab_size, **settings.model.config_fields())
        with torch.device("meta"):
            size = SineformerForConditionalGeneration(config).num_parameters()
        assert f"{size / 1e6:.{len(millions.partition('.')[2])}f}" == millions


LINKS = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]


@pytest.mark.parametrize("target", LINKS)
def test_links_lead_to_files_and_sections(target: str) -> None:
    path, _, section = target.partition("#")
    assert (ROOT / path).exists()
    assert not section or re.search(rf"^#+ {section.replace('-', ' ')}$", README, re.MULTILINE | re.IGNORECASE)


def test_the_attention_equation_is_two_hops_away() -> None:
    # README "Map" -> contents list of the modeling file -> first function of the first file in it.
    contents = (ROOT / "modeling" / "modeling_sineformer.py").read_text(encoding="utf-8").split('"""')[1]
    listed = re.findall(r"^ +(\w+\.py) ", contents, re.MULTILINE)
    assert listed[0] == "attention.py"
    first_function = (ROOT / "modeling" / listed[0]).read_text(encoding="utf-8").split("\ndef ")[1]
    assert first_function.startswith("scaled_dot_product_attention(")
