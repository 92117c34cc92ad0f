"""Load a model folder in a process that has torch and transformers, but not Sineformer.

Most users of a published folder have just that. `translate_in_bare_process` and `digest_in_bare_process` run this file
as a program, in which `import sineformer` fails:

    python -I -S training/pretrained/bare_process.py translate|digest DIR SITE_PACKAGES... < sentences.txt

`-S` disables the import hooks of an editable installation, which Python finds in site-packages; the folders of torch
and transformers are therefore given on the command line. Sineformer may be in one of them: its import is blocked.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

BATCH_SIZE = 100
DECODER_LENGTH = 4  # the smallest vocabulary has its special tokens


class BareProcessError(RuntimeError):
    """Raised if the folder does not load without Sineformer."""


def translate_in_bare_process(model_dir: Path, sources: Sequence[str]) -> list[str]:
    """Translate in a new process without Sineformer, offline and in an empty folder.

    Raises:
        BareProcessError: the process failed; the message is its last line.
    """
    return _run("translate", model_dir, sources)


def digest_in_bare_process(model_dir: Path, sources: Sequence[str]) -> str:
    """Return the `logits_digest` of the model and tokenizer that a new process without Sineformer loads.

    Raises:
        BareProcessError: the process failed; the message is its last line.
    """
    (digest,) = _run("digest", model_dir, sources)
    return digest


def _run(task: str, model_dir: Path, sources: Sequence[str]) -> list[str]:
    site_packages = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    command = [sys.executable, "-I", "-S", __file__, task, str(model_dir.resolve()), *site_packages]
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            command,
            cwd=empty,
            env=os.environ | {"HF_HOME": empty, "HF_HUB_OFFLINE": "1"},
            input="".join(f"{line}\n" for line in sources),
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise BareProcessError((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    return done.stdout.splitlines()


def logits_digest(model: Any, tokenizer: Any, sources: Sequence[str]) -> str:
    """Return the SHA-256 of the bits of the logits of these sentences."""
    import torch

    batch = tokenizer(list(sources), return_tensors="pt", padding=True)
    decoder_input_ids = torch.arange(DECODER_LENGTH).repeat(len(sources), 1)  # [B, T]
    with torch.inference_mode():
        logits = model(**batch, decoder_input_ids=decoder_input_ids).logits  # [B, T, V]
    return hashlib.sha256(logits.float().contiguous().numpy().tobytes()).hexdigest()


def _translate(model_dir: str, sources: Sequence[str]) -> Iterator[str]:
    from transformers import pipeline

    make: Any = pipeline  # its annotations lack the task "translation"
    translate = make("translation", model=model_dir, trust_remote_code=True, device="cpu")
    for translation in translate(list(sources), batch_size=BATCH_SIZE):
        yield " ".join(translation["translation_text"].splitlines())


def main(task: str, model_dir: str, site_packages: list[str]) -> None:
    """Print one translation for each line of standard input, or the digest of the logits of all lines."""
    sys.path += site_packages
    sys.modules["sineformer"] = None  # type: ignore[assignment]  # makes `import` fail

    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    sources = [line.rstrip("\n") for line in sys.stdin]
    if task == "digest":
        tokenizer = AutoTokenizer.from_pretrained(model_dir, trust_remote_code=True)
        model = AutoModelForSeq2SeqLM.from_pretrained(model_dir, trust_remote_code=True).eval()
        print(logits_digest(model, tokenizer, sources))
        return
    for translation in _translate(model_dir, sources):
        print(translation)


if __name__ == "__main__":
    main(sys.argv[1], str(Path(sys.argv[2]).resolve()), sys.argv[3:])
