"""Fixtures that several test files share: interpreters that have torch and transformers, and nothing of ours."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
WHAT_A_USER_INSTALLS = ("torch", "transformers")


@dataclass(frozen=True)
class BarePython:
    """An interpreter that can import torch and transformers and cannot import sineformer, accelerate or datasets.

    Attributes:
        executable: the interpreter.
        home: an empty folder: where programs run, and where Hugging Face libraries keep their caches.
    """

    executable: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment that programs run in: offline, caches of its own, none of the caller's settings of these."""
        foreign = ("PYTHON", "HF_", "TRANSFORMERS_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return kept | {"HF_HOME": str(self.home / "hf"), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

    def run(self, program: str, *arguments: str | Path, changes: dict[str, str] | None = None) -> str:
        """Run Python source with `sys.argv[1:]` given; returns what it printed, or fails with its error output.

        Args:
            program: the source.
            arguments: of the program.
            changes: to the environment.
        """
        command = [str(self.executable), "-I", "-c", program, *map(str, arguments)]
        environment = self.environment | (changes or {})
        done = subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"the program exited with {done.returncode}:\n{done.stderr}"
        return done.stdout


def _needed_distributions(names: tuple[str, ...]) -> Iterator[metadata.Distribution]:
    """Every installed distribution that `names` need without extras, each once, themselves included."""
    waiting, seen = list(names), set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        distribution = metadata.distribution(name)
        yield distribution
        requirements = map(Requirement, distribution.requires or [])
        waiting += [each.name for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""})]


def _link_distribution(distribution: metadata.Distribution, site_packages: Path) -> None:
    """Link the top-level files and folders of an installed distribution into another site-packages."""
    for name in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
        link = site_packages / name
        if not link.exists():  # namespace packages such as `nvidia` belong to several distributions
            link.symlink_to(Path(str(distribution.locate_file(name))))


def _interpreter(environment: Path) -> Path:
    return environment / "bin" / "python"


def _link_environment(home: Path, names: tuple[str, ...] = WHAT_A_USER_INSTALLS) -> BarePython:
    venv.create(home / "venv", symlinks=True, with_pip=False)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for distribution in _needed_distributions(names):
        _link_distribution(distribution, home / "venv" / "lib" / version / "site-packages")
    return BarePython(_interpreter(home / "venv"), home)


@pytest.fixture(scope="session")
def link_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., BarePython]:
    """A function that makes an environment like that of `bare_python`, with some packages more, under a name."""

    def link(name: str, *more: str) -> BarePython:
        return _link_environment(tmp_path_factory.mktemp(name), (*WHAT_A_USER_INSTALLS, *more))

    return link


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> BarePython:
    """A virtual environment whose packages are links to the installed torch, transformers and what they need: no more.

    Links instead of an installation make it ready in a second. Nothing else of the running environment is visible
    there, however Sineformer itself is installed.
    """
    return _link_environment(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="session")
def bare_python_with_peft(link_environment: Callable[..., BarePython]) -> BarePython:
    """Like `bare_python`, with PEFT and what that needs, Accelerate among it."""
    return link_environment("bare-peft", "peft")


@pytest.fixture
def own_bare_python(tmp_path: Path) -> BarePython:
    """Like `bare_python`, for this test alone: it may install something there."""
    return _link_environment(tmp_path)


@pytest.fixture(scope="session")
def fresh_python(tmp_path_factory: pytest.TempPathFactory) -> BarePython:
    """A new virtual environment into which pip installed torch and transformers. For slow tests: it takes a minute."""
    home = tmp_path_factory.mktemp("fresh")
    venv.create(home / "venv", symlinks=True, with_pip=True)
    python = str(_interpreter(home / "venv"))
    install = ["install", "-qq", "-c", str(ROOT / "constraints.txt"), *WHAT_A_USER_INSTALLS]
    subprocess.run([python, "-m", "pip", *install], cwd=home, check=True)
    return BarePython(Path(python), home)


@dataclass(frozen=True)
class Hub:
    """A Hub of our own on this machine.

    Attributes:
        endpoint: its address, for HF_ENDPOINT.
        token: of `user`, who may write to `user/...`; `hf_read` is a token of the same user that may only read.
    """

    endpoint: str
    token: str = "hf_write"

    @property
    def environment(self) -> dict[str, str]:
        """What makes the real clients talk to it: large files in plain uploads, online, and with the token."""
        settings = {"HF_ENDPOINT": self.endpoint, "HF_TOKEN": self.token, "HF_HUB_DISABLE_XET": "1"}
        return settings | {"HF_HUB_OFFLINE": "0", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    """A server that speaks the Hub's endpoints, in a process of its own; without any repository at first."""
    program = Path(__file__).parent / "hub_server" / "server.py"
    with subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield Hub(server.stdout.readline().strip())
        server.terminate()


@pytest.fixture
def hub_client(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hub:
    """Make this process a client of `hub`: the libraries have read their settings from the environment long ago."""
    from huggingface_hub import constants

    address_of_file = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, hub.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address_of_file)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    # transformers keeps the client that it made first, which knows the address of that time.
    monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "client-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", hub.token)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return hub


CARD = """---
language: [en, de]
library_name: transformers
pipeline_tag: translation
model-index:
- name: small
  results:
  - task: {type: translation}
    dataset: {type: embedded, name: the embedded task, split: test}
    metrics:
    - {type: bleu, value: 12.5}
---
# A small model
"""


@pytest.fixture(scope="session")
def make_model_folder() -> Callable[[Path, int], Path]:
    """A function that writes a whole model folder: a small model of this seed, its tokenizer and a card."""
    import torch

    from sineformer import SineformerConfig, SineformerForConditionalGeneration
    from sineformer.training.data.bpe import train_tokenizer

    tokenizer = train_tokenizer(["the dog sleeps", "der Hund schläft"], vocab_size=290)
    sizes = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 64}
    layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}

    def make(folder: Path, seed: int = 0) -> Path:
        torch.manual_seed(seed)
        config = SineformerConfig(vocab_size=len(tokenizer), **sizes, **layers)
        SineformerForConditionalGeneration(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(CARD, encoding="utf-8")
        return folder

    return make


@pytest.fixture(scope="session")
def is_defined() -> Callable[[str, str], bool]:
    """Return a function that says whether a file of the project defines a name, such as `Class.method`."""

    def defines(file: str, name: str) -> bool:
        body: list[ast.stmt] = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
        for part in name.split("."):
            found = [each for each in body if getattr(each, "name", None) == part]
            if not found:
                return False
            body = getattr(found[0], "body", [])
        return True

    return defines


MARIAN_SIZES = {
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **{"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 48, "max_position_embeddings": 40},
    **{"activation_function": "swish", "scale_embedding": True, "dropout": 0.0},
}


@pytest.fixture(scope="session")
def marian_text() -> dict[str, list[str]]:
    """What the pieces of `make_marian` were trained on."""
    return {
        "source": ["the dog sleeps in the garden", "a man is riding a horse", "two women walk through the park"],
        "target": ["der Hund schläft im Garten", "ein Mann reitet ein Pferd", "zwei Frauen gehen durch den Park"],
    }


@pytest.fixture(scope="session")
def marian_pieces(tmp_path_factory: pytest.TempPathFactory, marian_text: dict[str, list[str]]) -> dict[str, Path]:
    """A sentencepiece model for each side."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("pieces")
    settings = {"vocab_size": 60, "hard_vocab_limit": False, "minloglevel": 2}
    for side, lines in marian_text.items():
        text, model = folder / f"{side}.txt", folder / side
        text.write_text("\n".join(lines * 30), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(input=str(text), model_prefix=str(model), **settings)
    return {side: folder / f"{side}.model" for side in marian_text}


def _save_marian_tokenizer(folder: Path, pieces: dict[str, Path], separate: bool, size: int | None) -> int:
    """Write a tokenizer with ids as in OPUS-MT: the end first, then codes and pieces, all but one of each side, and
    padding last. The target's own vocabulary has other ids, and one more. Returns the number of source tokens."""
    import sentencepiece

    found: dict[str, None] = {}
    for side, path in pieces.items():
        shutil.copyfile(path, folder / f"{side}.spm")
        processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        found |= dict.fromkeys(processor.id_to_piece(index) for index in range(3, processor.get_piece_size() - 1))
    middle = [">>deu<<", *found, *(f"piece{index}" for index in range((size or 0) - len(found) - 4))]
    vocabularies = {"vocab": ["</s>", "<unk>", *middle, "<pad>"]}
    if separate:
        vocabularies["target_vocab"] = ["</s>", "<unk>", *reversed(middle), "<pad>", "extra"]
    for name, tokens in vocabularies.items():
        ids = {token: index for index, token in enumerate(tokens)}
        (folder / f"{name}.json").write_text(json.dumps(ids), encoding="utf-8")
    settings = {"source_lang": "eng", "target_lang": "deu", "name_or_path": "where/it/was"}
    settings |= {"separate_vocabs": True} if separate else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return len(vocabularies["vocab"])


@pytest.fixture
def make_marian(tmp_path: Path, marian_pieces: dict[str, Path]) -> Callable[..., Path]:
    """A function that writes a random Marian checkpoint, of a vocabulary of some size or the smallest possible."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    def make(size: int | None = None, dtype: torch.dtype = torch.float32, **changes: object) -> Path:
        folder = tmp_path / "marian"
        folder.mkdir()
        separate = not changes.get("share_encoder_decoder_embeddings", True)
        number = _save_marian_tokenizer(folder, marian_pieces, separate, size)
        sizes = {"vocab_size": number, "decoder_vocab_size": number + separate}
        ids = {"pad_token_id": number - 1, "decoder_start_token_id": number - 1, "eos_token_id": 0}
        torch.manual_seed(0)
        model = MarianMTModel(MarianConfig(**{**MARIAN_SIZES, **sizes, **ids, "forced_eos_token_id": 0, **changes}))
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.3 if size is None else 0.03)
        model.final_logits_bias.normal_()
        generation = {"num_beams": 3, "bad_words_ids": [[number - 1]], "max_length": 30, "renormalize_logits": True}
        model.generation_config.update(**generation)
        model.to(dtype).save_pretrained(folder)
        return folder

    return make
