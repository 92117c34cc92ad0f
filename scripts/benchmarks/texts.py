"""Time the translation of a complete text, without loading: transformers, Sineformer, CTranslate2."""

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

QUANTIZATIONS = {"fp32": None, "int8": "int8"}
TOKENS_OF_A_BATCH = 2048
BEYOND_SOURCE = 50  # the limit of section 6.1


@contextlib.contextmanager
def text_programs(model: str, lines: list[str], num_beams: int, exports: Path) -> Iterator[dict[str, Program]]:
    """Yield programs that translate all lines, by name; those of CTranslate2 if it is installed.

    Args:
        model: folder of the model.
        lines: of the text.
        num_beams: number of beams.
        exports: folder for exports of the model, which are made if missing.
    """
    cores, programs = os.cpu_count() or 1, {}
    settings = sorted({(cores, 1), (1, cores)}, reverse=True)  # workers, threads of each
    with contextlib.ExitStack() as stack:
        for workers in sorted({1, cores}):
            opened = open_translator(ModelChoice(model, device="cpu"), Search(num_beams), workers=workers)
            name = f"Sineformer, {workers} process{'es of one thread' if workers > 1 else ''}"
            programs[name] = _over(stack.enter_context(opened), lines)
        if importlib.util.find_spec("ctranslate2"):
            for name, quantization in QUANTIZATIONS.items():
                folder = exports / name
                if not folder.is_dir():
                    export_model(model, folder, "ctranslate2", quantization)
                for workers, threads in settings:
                    programs[f"CTranslate2 {name}, {workers} x {threads}"] = _ctranslate2(
                        folder, lines, num_beams, (workers, threads)
                    )
        yield programs


def _over(translator: Any, lines: list[str]) -> Program:
    return lambda: list(translator.translate(windows_of(lines)))


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
