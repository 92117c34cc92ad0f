"""Time the translation of a complete text, without loading: Sineformer and its exports."""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sineformer.training.pretrained.engines import ModelChoice
from sineformer.training.pretrained.export.exporting import export_model
from sineformer.training.pretrained.text_translation import open_translator, windows_of
from sineformer.training.pretrained.translation import Search

from .turns import Program

EXPORTS = {  # name: packages, format, quantization
    "CTranslate2 fp32": (("ctranslate2",), "ctranslate2", None),
    "CTranslate2 int8": (("ctranslate2",), "ctranslate2", "int8"),
    "ONNX": (("onnxruntime", "onnx", "onnxscript"), "onnx", None),
}
TOKENS_OF_A_BATCH = 2048
BEYOND_SOURCE = 50  # the limit of section 6.1


def make_exports(model: str, folder: Path) -> dict[str, Path]:
    """Export the model to every format whose packages are installed; return the folder of each export, by its name.

    Raises:
        ConversionError: the model cannot be exported.
    """
    found = {}
    for name, (packages, form, quantization) in EXPORTS.items():
        if all(map(importlib.util.find_spec, packages)):
            found[name] = folder / name.replace(" ", "-")
            export_model(model, found[name], form, quantization)
    return found


@contextlib.contextmanager
def program_in_processes(model: str, lines: list[str], num_beams: int, workers: int) -> Iterator[dict[str, Program]]:
    """Yield a program that translates all lines with Sineformer in so many processes, by its name."""
    name = f"Sineformer, {workers} process{'es of one thread' if workers > 1 else ''}"
    with _with_workers(model, lines, num_beams, workers) as program:
        yield {name: program}


@contextlib.contextmanager
def export_programs(exports: dict[str, Path], lines: list[str], num_beams: int) -> Iterator[dict[str, Program]]:
    """Yield programs that translate all lines with the exports of `make_exports`, by name."""
    cores, programs = os.cpu_count() or 1, {}
    with contextlib.ExitStack() as stack:
        for name, folder in exports.items():
            if EXPORTS[name][1] == "onnx":
                program = stack.enter_context(_with_workers(str(folder), lines, num_beams, cores))
                programs[f"{name}, {cores} processes of one thread"] = program
                continue
            for setting in sorted({(cores, 1), (1, cores)}, reverse=True):  # workers, threads of each
                programs[f"{name}, {setting[0]} x {setting[1]}"] = _ctranslate2(folder, lines, num_beams, setting)
        yield programs


@contextlib.contextmanager
def _with_workers(model: str, lines: list[str], num_beams: int, workers: int) -> Iterator[Program]:
    choice = ModelChoice(model, device="cpu")
    with open_translator(choice, Search(num_beams), workers=workers) as translator:
        yield lambda: list(translator.translate(windows_of(lines)))


def _ctranslate2(folder: Path, lines: list[str], num_beams: int, setting: tuple[int, int]) -> Program:
    import ctranslate2

    tokenizer: Any = ModelChoice(str(folder)).load_tokenizers().source
    workers, threads = setting
    translator = ctranslate2.Translator(str(folder), inter_threads=workers, intra_threads=threads)

    def translate() -> list[str]:
        sources = [tokenizer.convert_ids_to_tokens(ids) for ids in tokenizer(lines)["input_ids"]]
        sizes = {"batch_type": "tokens", "max_batch_size": TOKENS_OF_A_BATCH}
        limit = max(map(len, sources)) + BEYOND_SOURCE
        found = translator.translate_batch(sources, beam_size=num_beams, max_decoding_length=limit, **sizes)
        ids = [tokenizer.convert_tokens_to_ids(each.hypotheses[0]) for each in found]
        return list(tokenizer.batch_decode(ids, skip_special_tokens=True))

    return translate
