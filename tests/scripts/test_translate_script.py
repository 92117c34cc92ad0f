"""Test `scripts/translate.py`: files, streams, compressed input, and error messages."""

import bz2
import gzip
import importlib
import io
import lzma
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow
import pytest
import torch

from sineformer.configuration.configuration_sineformer import SineformerConfig
from sineformer.modeling.modeling_sineformer import SineformerForConditionalGeneration
from sineformer.training.data.bpe import train_tokenizers
from sineformer.training.data.tokenizer import save_tokenizers
from sineformer.training.pretrained.translator import read_lines

SCRIPT = Path(__file__).parents[2] / "scripts" / "translate.py"
TEXT = ["a man is riding a horse", "the dog sleeps", "ein Mann reitet auf einem Pferd", "der Hund schläft"]

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": partial(pyarrow.compress, codec="zstd", asbytes=True),
}


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an untrained model, whose translations are always the same."""
    folder = tmp_path_factory.mktemp("model")
    tokenizers = train_tokenizers(TEXT[:2], TEXT[2:], vocab_size=300)
    torch.manual_seed(0)
    sizes: dict[str, Any] = dict.fromkeys(("encoder_layers", "decoder_layers"), 1)
    sizes |= dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2)
    config = SineformerConfig(vocab_size=len(tokenizers.source), d_model=16, **sizes)
    SineformerForConditionalGeneration(config).save_pretrained(folder)
    save_tokenizers(tokenizers, folder)
    return folder


@pytest.fixture
def script() -> ModuleType:
    return importlib.import_module("sineformer.scripts.translate")


def call(script: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["translate.py", *map(str, arguments)])
    return int(script.main())


def test_a_file_gives_one_line_per_line_whatever_the_batches(
    script: ModuleType, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_bytes("a man\r\n\n   \nder Hund schläft auf dem Pferd\na man".encode())
    texts = []
    for max_tokens in ("1", "2048"):
        arguments = ["--model", model_dir, "--input", source, "--output", target, "--max_tokens", max_tokens]
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
        (["--model", "{model}", "--input", "{tmp}/none.txt"], "{tmp}/none.txt cannot be read ([Errno 2] No such file"),
        (["--model", "{model}", "--input", "{tmp}"], "{tmp} cannot be read ([Errno 21] Is a directory"),
        (["--model", "{model}", "--input", "{tmp}/latin.txt"], "{tmp}/latin.txt:2 is not UTF-8; convert or correct it"),
        (["--model", "{model}", "--input", "{tmp}/latin.gz"], "{tmp}/latin.gz cannot be read (Not a gzipped file"),
        (
            ["--model", "{model}", "gr\udcfc\udcdfe"],
            r"sentence 1, 'gr\udcfc\udcdfe', is not UTF-8; set the terminal to UTF-8",
        ),
        # The output is checked first: before the missing model.
        (
            ["--model", "{tmp}/none", "x", "--output", "{tmp}/no/out.txt"],
            "{tmp}/no/out.txt cannot be written: there is no",
        ),
        (["--model", "{tmp}/none", "x", "--output", "{tmp}"], "{tmp} is a folder; name a file in it"),
        (
            ["--model", "{tmp}/none", "x", "--output", "{tmp}/latin.txt/out"],
            "{tmp}/latin.txt/out cannot be written: there is no folder {tmp}/latin.txt; make it",
        ),
        (["--model", "{model}", "x", "--device", "toaster"], "device 'toaster' cannot be used"),
        (["--model", "{tmp}/bert", "x"], "{tmp}/bert is a model of type 'bert'; this needs one of type 'sineformer'"),
        (["--model", "{tmp}/untold", "x"], "the model cannot be loaded: {tmp}/untold holds no tokenizer.json"),
    ],
)
def test_wrong_arguments_are_an_error_of_one_line(
    script: ModuleType,
    model_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: tuple[list[str], str],
) -> None:
    arguments, message = case
    for name in ("latin.txt", "latin.gz"):
        (tmp_path / name).write_bytes("fine\ngr\xfc\xdfe\n".encode("latin-1"))
    for name, kind in (("bert", "bert"), ("untold", "sineformer")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(f'{{"model_type": "{kind}"}}')
    names = {"tmp": tmp_path, "model": model_dir}
    before = sorted(tmp_path.iterdir())
    assert call(script, monkeypatch, *(argument.format(**names) for argument in arguments)) == 1
    error = capsys.readouterr().err
    assert f"error: {message.format(**names)}" in error
    assert error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_text_is_translated_like_plain_text(
    script: ModuleType, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    text = "a man\n\nder Hund schläft".encode()
    (tmp_path / "in.txt").write_bytes(text)
    (tmp_path / f"in.txt{suffix}").write_bytes(COMPRESS[suffix](text))
    for name in ("in.txt", f"in.txt{suffix}"):
        arguments = ["--input", tmp_path / name, "--output", tmp_path / f"{name}.out", "--device", "cpu"]
        assert call(script, monkeypatch, "--model", model_dir, *arguments) == 0
    assert (tmp_path / f"in.txt{suffix}.out").read_bytes() == (tmp_path / "in.txt.out").read_bytes()


def test_a_tilde_is_the_home_folder_in_every_path(
    script: ModuleType, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").symlink_to(model_dir)
    (tmp_path / "in.txt").write_text("a man\n")
    arguments = ["--model=~/model", "--input=~/in.txt", "--output=~/out.txt", "--device", "cpu"]
    assert call(script, monkeypatch, *arguments) == 0
    assert (tmp_path / "out.txt").read_text(encoding="utf-8").count("\n") == 1


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("stdin", "standard input is closed; give sentences, a file with --input, or a pipe"),
        ("stdout", "standard output is closed; name a file with --output"),
    ],
)
def test_a_closed_stream_is_an_error_of_one_line(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stream: str, message: str
) -> None:
    monkeypatch.setattr(sys, stream, None)  # as in Python after `<&-` or `>&-`
    assert call(script, monkeypatch, "--model", "not looked for") == 1
    assert capsys.readouterr().err == f"error: {message}\n"


def test_a_full_disk_is_an_error_of_one_line(
    script: ModuleType, model_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(script, monkeypatch, "--model", model_dir, "x", "--output", "/dev/full", "--device", "cpu") == 1
    assert "error: /dev/full cannot be written: No space left on device" in capsys.readouterr().err


def test_a_failure_does_not_change_an_earlier_output(
    script: ModuleType, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.txt"
    output.write_text("of last week\n")

    def fail(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(script, "open_translator", fail)
    with pytest.raises(KeyboardInterrupt):
        call(script, monkeypatch, "--model", model_dir, "x", "--output", output)
    assert output.read_text() == "of last week\n"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]


@pytest.mark.parametrize(
    "arguments", [["--max_tokens", "0"], ["--num_beams", "none"], ["--input", "y", "--model", "m"]]
)
def test_wrong_usage_has_status_2(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        call(script, monkeypatch, "--model", "m", "x", *arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_standard_input_is_read_as_utf_8(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\ufeffgrüße\n\n".encode())))
    assert read_lines(None) == ["grüße", ""]


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


@pytest.mark.slow
def test_a_closed_pipe_ends_it_without_output(model_dir: Path) -> None:
    command = f"'{sys.executable}' '{SCRIPT}' --model '{model_dir}' 'a man' | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGPIPE, b"", b"")


@pytest.mark.slow
def test_a_signal_leaves_no_temporary_file(model_dir: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--model", str(model_dir), "--output", str(tmp_path / "out.txt")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        while not list(tmp_path.iterdir()) and program.poll() is None:
            time.sleep(0.05)
        program.send_signal(signal.SIGTERM)  # while it waits for standard input
        program.wait()
        assert program.stderr is not None
        assert (program.returncode, program.stderr.read()) == (-signal.SIGTERM, b"")
    assert not list(tmp_path.iterdir())
