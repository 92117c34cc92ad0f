"""Test the README: its Python runs, its commands and files exist, and training accepts its recipe."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sineformer import SineformerConfig, SineformerForConditionalGeneration
from sineformer.training.data.bpe import train_tokenizers
from sineformer.training.preflight import read_settings

ROOT = Path(__file__).resolve().parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODEL_DIR = "runs/demo"  # the trained model of the README
EXPORT_DIR = "runs/demo-int8"  # its export
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
    """Make a folder with a tiny untrained model in place of the trained one of the README."""
    folder = tmp_path_factory.mktemp("readme")
    tokenizer = train_tokenizers(SENTENCES, SENTENCES, 300, None).source
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
    SineformerForConditionalGeneration(config).save_pretrained(folder / MODEL_DIR)
    tokenizer.save_pretrained(folder / MODEL_DIR)
    return folder


def run_snippet(snippet: str, folder: Path) -> None:
    caches = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", snippet]
    done = subprocess.run(command, cwd=folder, env=os.environ | caches, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("snippet", [each for each in blocks("python") if "trainer" not in each], ids=last_call)
def test_the_python_snippets_run(snippet: str, folder_with_a_model: Path) -> None:
    run_snippet(snippet, folder_with_a_model)


def test_the_fine_tuning_snippet_leaves_a_complete_folder(folder_with_a_model: Path) -> None:
    (snippet,) = (each for each in blocks("python") if "trainer" in each)
    run_snippet(snippet, folder_with_a_model)
    complete = {path.name for path in (folder_with_a_model / MODEL_DIR).iterdir() if path.is_file()}
    assert complete <= {path.name for path in (folder_with_a_model / "runs" / "tuned").iterdir()}


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_programs_and_files_of_the_commands_exist(words: list[str]) -> None:
    assert shutil.which(words[0], path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    ours = [word for word in words[1:] if word.split("/")[0] in ("scripts", "training")]
    assert [word for word in ours if not (ROOT / word).is_file()] == []


@pytest.mark.parametrize("target", [words[1] for words in commands() if words[0] == "make"])
def test_make_knows_the_targets(target: str) -> None:
    assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True).returncode == 0


@pytest.mark.parametrize("words", [words for words in commands() if "--config" in words], ids=" ".join)
def test_training_accepts_the_flags(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    flags = words[words.index("--config") :]
    flags[flags.index("--output_dir") + 1] = str(tmp_path / "new")
    read_settings(flags)


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


def test_training_accepts_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (recipe,) = blocks("yaml")
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    for name in ("train.en", "train.de", "validation.en", "validation.de"):
        (Path("data") / name).write_text("one sentence\n", encoding="utf-8")
    Path("recipe.yaml").write_text(recipe, encoding="utf-8")
    settings = read_settings(["--config", "recipe.yaml"])
    assert settings.data.files_of("train") == [Path("data/train.en"), Path("data/train.de")]


@pytest.mark.parametrize("target", [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link])
def test_links_lead_to_files(target: str) -> None:
    assert (ROOT / target).exists()


def test_the_attention_equation_is_two_hops_away() -> None:
    # README "Map" -> contents list of the modeling file -> first function of the first file in it.
    contents = (ROOT / "modeling" / "modeling_sineformer.py").read_text(encoding="utf-8").split('"""')[1]
    listed = re.findall(r"^ +(\w+\.py) ", contents, re.MULTILINE)
    assert listed[0] == "attention.py"
    first_function = (ROOT / "modeling" / listed[0]).read_text(encoding="utf-8").split("\ndef ")[1]
    assert first_function.startswith("scaled_dot_product_attention(")
