"""Load a model for the page; several visitors may translate with it simultaneously."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from transformers import TextIteratorStreamer

from ...modeling.invisible_text import is_invisible
from ..pretrained.inspection import Inspection, inspect
from ..pretrained.output import format_translations, open_output
from ..pretrained.translation import Hypothesis, Search, search_batch, search_lines, source_batches
from ..pretrained.translator import TranslationError, load_translator, read_lines

MOST_TOKENS = 128  # a heat map of more cannot be read, and its cells slow a browser down
LINES_PER_BATCH = 32


class PageModel:
    """Translate and inspect with one model, from any thread.

    Args:
        name: folder of a model, or its id on the Hub.

    Raises:
        TranslationError: there is no such model, or it is not a Sineformer.
    """

    def __init__(self, name: str):
        self.name = name.strip()
        if not self.name:
            raise TranslationError("name the folder of a model, or its id on the Hub")
        self.model, self.tokenizers = load_translator(self.name, None, torch.float32)
        # As inspection needs it; switched here, since it must not change during the request of someone else.
        self.model.set_attn_implementation("eager")
        self._lock = threading.Lock()

    @property
    def num_beams(self) -> int:
        """Return the number of beams saved with the model."""
        return self.model.generation_config.num_beams or 1

    def describe(self) -> str:
        """Return name, languages and sizes in one line."""
        config = self.model.config
        languages = filter(None, (config.source_language, config.target_language))
        heads = dict.fromkeys((config.encoder_attention_heads, config.decoder_attention_heads))
        return ", ".join(
            [
                Path(self.name).name,
                *filter(None, [" to ".join(languages)]),
                f"{config.encoder_layers} + {config.decoder_layers} layers",
                f"{' and '.join(map(str, heads))} heads",
                f"d_model {config.d_model}",
                f"{self.model.num_parameters():,} parameters",
            ]
        )

    def sentence(self, text: str) -> str:
        """Return the text in one line, if the page can translate and show it.

        Raises:
            TranslationError: it has no visible characters, or more tokens than the pictures can show.
        """
        sentence = " ".join(text.split())
        if is_invisible(sentence):
            raise TranslationError("there is no text; type a sentence")
        count = len(self.tokenizers.source(sentence, verbose=False)["input_ids"])
        if count > MOST_TOKENS:
            raise TranslationError(
                f"the text has {count} tokens, and the page shows at most {MOST_TOKENS}; type a single sentence, or "
                "translate a file with one sentence per line"
            )
        return sentence

    def drafts(self, sentence: str) -> Iterator[str]:
        """Yield the greedy translation as it grows, word by word."""
        streamer = TextIteratorStreamer(self.tokenizers.target, skip_special_tokens=True)
        with ThreadPoolExecutor(1) as pool:
            generation = pool.submit(self._stream, sentence, streamer)
            draft = ""
            for piece in streamer:
                draft += piece
                yield draft.strip()
            generation.result()  # raises what was raised there

    def _stream(self, sentence: str, streamer: TextIteratorStreamer) -> None:
        try:
            with self._lock, torch.inference_mode():
                inputs = self.tokenizers.source(sentence, return_tensors="pt").to(self.model.device)  # [1, S]
                self.model.generate(**inputs, num_beams=1, streamer=streamer)
        except BaseException:
            streamer.on_finalized_text("", stream_end=True)  # or its reader would wait forever
            raise

    def search(self, sentence: str, num_beams: int) -> list[Hypothesis]:
        """Return the translations of all beams with their scores, best first."""
        with self._lock:
            return search_lines(self.model, self.tokenizers, [sentence], Search(num_beams, num_beams, scores=True))[0]

    def inspect(self, sentence: str, translation: Hypothesis) -> Inspection:
        """Return attention and probabilities of a translation that was found."""
        with self._lock:
            return inspect(self.model, self.tokenizers, sentence, translation)

    def translate_file(self, path: Path, output: Path, num_beams: int) -> Iterator[tuple[int, int]]:
        """Translate a file of lines; yield the number of lines done, and of all to do, at first and after each batch.

        Args:
            path: text, plain or compressed.
            output: for the translations, one per line, compressed by its suffix; complete after the last batch.
            num_beams: number of beams.

        Raises:
            TranslationError: the file cannot be read or has no lines, or `output` cannot be written.
        """
        lines = read_lines(path)
        if not lines:
            raise TranslationError(f"{path} is empty; it needs one sentence per line")
        batches = source_batches(self.tokenizers, lines, LINES_PER_BATCH)
        found: dict[int, Hypothesis] = {}
        total = sum(len(batch.lines) for batch in batches)
        yield 0, total
        for batch in batches:
            with self._lock:
                best = search_batch(self.model, self.tokenizers, batch, Search(num_beams))
            found |= {line: hypotheses[0] for line, hypotheses in zip(batch.lines, best, strict=True)}
            yield len(found), total
        empty = Hypothesis("")
        texts = (
            format_translations("text", number + 1, line, [found.get(number, empty)])
            for number, line in enumerate(lines)
        )
        with open_output(output, {}) as opened:
            opened.write(lines, "".join(texts))
