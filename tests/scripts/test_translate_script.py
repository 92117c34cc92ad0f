import importlib.util
import io
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from sineformer.configuration.configuration_sineformer import SineformerConfig
from sineformer.modeling.modeling_sineformer import SineformerForConditionalGeneration
from sineformer.training.tokenizer import save_tokenizers, train_tokenizers

SCRIPT = Path(__file__).parents[2] / "scripts" / "translate.py"
TEXT = ["a man is riding a horse", "the dog sleeps", "ein Mann reitet auf einem Pferd", "der Hund schläft"]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model: what it says is nonsense, but always the same."""
    folder = tmp_path_factory.mktemp("model")
    tokenizers = train_tokenizers(TEXT[:2], TEXT[2:], vocab_size=300)
    torch.manual_seed(0)
    sizes: dict[str, Any] = dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
    sizes |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    config = SineformerConfig(vocab_size=len(tokenizers.source), d_model=16, **sizes)
    SineformerForConditionalGeneration(config).save_pretrained(folder)
    save_tokenizers(tokenizers, folder)
    return folder


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("translate_script", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["translate.py", *map(str, arguments)])
    return int(script.main())


def test_a_file_gives_one_line_per_line_whatever_the_batches(
    script: ModuleType, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_bytes("a man\r\n\n   \nder Hund schläft auf dem Pferd\na man".encode())
    texts = []
    for batch_size in ("1", "64"):
        arguments = ["--model", model_dir, "--input", source, "--output", target, "--batch_size", batch_size]
        assert call(script, monkeypatch, *arguments, "--device", "cpu") == 0
        texts.append(target.read_text(encoding="utf-8"))
    assert texts[0] == texts[1]
    lines = texts[0].split("\n")
    assert lines.pop() == ""
    assert len(lines) == 5
    assert lines[1] == lines[2] == ""
    assert lines[0] == lines[4] != ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.txt", "out.txt"]


@pytest.mark.parametrize(
    "case",
    [
        (["--model", "{tmp}/none", "x"], "{tmp}/none is neither a folder nor the id of a model on the Hub"),
        (["--model", "{tmp}", "x"], "{tmp} holds no config.json"),
        (["--model", "{model}", "--input", "{tmp}/none.txt"], "{tmp}/none.txt cannot be read: No such file"),
        (["--model", "{model}", "--input", "{tmp}/latin.txt"], "{tmp}/latin.txt:2 is not UTF-8"),
        (["--model", "{model}", "x", "--output", "{tmp}/no/out.txt"], "{tmp}/no/out.txt cannot be written"),
        (["--model", "{model}", "x", "--device", "toaster"], "device 'toaster' cannot be used"),
        (["--model", "{tmp}/bert", "x"], "{tmp}/bert is a model of type 'bert'; this needs one of type 'sineformer'"),
        (["--model", "{tmp}/untold", "x"], "the model cannot be loaded: {tmp}/untold holds no tokenizer.json"),
    ],
)
def test_what_cannot_work_is_one_clear_line(
    script: ModuleType,
    model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[list[str], str],
) -> None:
    arguments, message = case
    (tmp_path / "latin.txt").write_bytes("fine\ngr\xfc\xdfe\n".encode("latin-1"))
    for name, kind in (("bert", "bert"), ("untold", "sineformer")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"model_type": "{kind}"}}')
    names = {"tmp": tmp_path, "model": model_dir}
    assert call(script, monkeypatch, *(argument.format(**names) for argument in arguments)) == 1
    error = capsys.readouterr().err
    assert f"error: {message.format(**names)}" in error
    assert error.count("\n") == 1


def test_a_failure_leaves_an_earlier_output_alone(
    script: ModuleType, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.txt"
    output.write_text("of last week\n")

    def fail(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "translate_lines", fail)
    with pytest.raises(KeyboardInterrupt):
        call(script, monkeypatch, "--model", model_dir, "x", "--output", output)
    assert output.read_text() == "of last week\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


@pytest.mark.parametrize(
    "arguments", [["--batch_size", "0"], ["--num_beams", "none"], ["--input", "y", "--model", "m"]]
)
def test_wrong_usage_has_status_2(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        call(script, monkeypatch, "--model", "m", "x", *arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_standard_input_is_read_as_utf_8(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffgrüße\n\n".encode())))
    assert script.read_lines(None) == ["grüße", ""]


@pytest.mark.slow
def test_sentences_and_standard_input_go_to_standard_output(model_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--model", model_dir, "--num_beams", "2", "--dtype", "bfloat16"]
    said = subprocess.run([*command, "a man", "", "der Hund schläft"], cwd=tmp_path, capture_output=True, check=True)
    piped = subprocess.run(
        command, input="a man\n\nder Hund schläft\n".encode(), cwd=tmp_path, capture_output=True, check=True
    )
    assert said.stdout == piped.stdout
    assert said.stdout.decode("utf-8").count("\n") == 3
    assert said.stdout.split(b"\n")[1] == b""
    assert said.stderr == b""
