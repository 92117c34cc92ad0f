"""Define and register `pipeline("translation")`, which transformers 5 no longer has."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import AutoModelForSeq2SeqLM, Pipeline, pipelines

from .invisible_text import is_invisible
from .tokenization_sineformer import SineformerTokenizer, split_tag, tagged_languages, target_language, with_tag

TASK = "translation"


class SineformerTranslationPipeline(Pipeline):
    """Translate text with any sequence-to-sequence model and its tokenizer.

    Returns the same as in transformers 4: `[{"translation_text": ...}]` for a string; a list of such dictionaries for
    a list, a tuple or a dataset column; for a generator or a `KeyDataset` an iterator over
    `[{"translation_text": ...}]`, one for each text. With `num_return_sequences=n`, every text has a list of n
    dictionaries. With `return_tensors=True` they have `translation_token_ids` instead. Arguments of `generate`
    (`num_beams`, `max_new_tokens`, ...) can be given to the constructor or to the call.
    `src_lang` and `tgt_lang` must be the languages of the model; if it translates both directions, they choose one.

    ```python
    >>> from transformers import pipeline
    >>> translate = pipeline("translation", model=DIR, trust_remote_code=True)  # doctest: +SKIP
    >>> translate("A man is riding a horse.")  # doctest: +SKIP
    [{'translation_text': 'Ein Mann reitet auf einem Pferd.'}]

    ```
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tokenizer: Any = _with_target_tokenizer(self.tokenizer, self.model.config)

    def _sanitize_parameters(
        self,
        truncation: bool | None = None,
        return_tensors: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        src_lang: str | None = None,
        tgt_lang: str | None = None,
        **generate: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        choices = {"return_tensors": return_tensors, "clean_up_tokenization_spaces": clean_up_tokenization_spaces}
        preprocess: dict[str, Any] = {} if truncation is None else {"truncation": truncation}
        if not tagged_languages(self.tokenizer):
            _check_languages(self.model.config, src_lang, tgt_lang)
        elif src_lang is not None or tgt_lang is not None:
            preprocess["tgt_lang"] = target_language(self.tokenizer, src_lang, tgt_lang)
        return preprocess, generate, {name: choice for name, choice in choices.items() if choice is not None}

    def __call__(self, texts: Any, **kwargs: Any) -> Any:
        """Translate `texts`; see the class."""
        # `Pipeline` treats as one text everything but lists, generators and datasets of torch.
        if isinstance(texts, Sequence) and not isinstance(texts, str | bytes):
            texts = list(texts)
            if not texts:
                return []
        elif isinstance(texts, Iterable) and not isinstance(texts, str | bytes | dict | Dataset):
            texts = (text for text in texts)
        outputs = super().__call__(texts, **kwargs)
        one_for_each = isinstance(outputs, list) and all(
            isinstance(output, list) and len(output) == 1 for output in outputs
        )
        return [output[0] for output in outputs] if one_for_each else outputs

    def preprocess(self, text: Any, truncation: bool = False, tgt_lang: str | None = None, **kwargs: Any) -> Any:
        if not isinstance(text, str):
            raise ValueError(
                f"The translation pipeline takes text, but got {type(text).__name__}: {text!r}. "
                "Give a string, a list, a generator or a column of a dataset."
            )
        source = text if tgt_lang is None else with_tag(self.tokenizer, text, tgt_lang)
        inputs = self.tokenizer(source, return_tensors="pt", truncation=truncation, verbose=False)
        return {**inputs, "is_invisible": torch.tensor([is_invisible(split_tag(self.tokenizer, text)[1])])}

    def _forward(self, model_inputs: Any, **generate: Any) -> dict[str, torch.Tensor]:
        model: Any = self.model
        ids, mask, empty = (model_inputs[name] for name in ("input_ids", "attention_mask", "is_invisible"))
        nothing = self._empty_translations(len(ids), generate)  # [B, number of translations, 2]
        if empty.all():
            if generate.get("streamer") is not None:
                generate["streamer"].end()  # a reader of the streamer waits for it
            return {"output_ids": nothing}
        output_ids = model.generate(input_ids=ids, attention_mask=mask, **generate)
        output_ids = output_ids.reshape(len(ids), -1, output_ids.shape[-1])  # [B, number of translations, T]
        output_ids[empty] = torch.nn.functional.pad(
            nothing[empty], (0, output_ids.shape[-1] - nothing.shape[-1]), value=model.config.pad_token_id
        )
        return {"output_ids": output_ids}

    def _empty_translations(self, size: int, generate: dict[str, Any]) -> torch.Tensor:
        """Return empty translations `[size, n, 2]` of `size` texts, n as `generate` would return for each."""
        model: Any = self.model
        settings = generate.get("generation_config") or model.generation_config
        number = generate.get("num_return_sequences") or settings.num_return_sequences or 1
        ends = model.config.eos_token_id
        ids = [model.config.decoder_start_token_id, ends[0] if isinstance(ends, list) else ends]
        return torch.tensor(ids, device=model.device).repeat(size, number, 1)

    def postprocess(
        self,
        model_outputs: Any,
        return_tensors: bool = False,
        clean_up_tokenization_spaces: bool = False,
        **kwargs: Any,
    ) -> list[dict[str, Any]]:
        output_ids = model_outputs["output_ids"][0]  # [number of translations, T]
        if return_tensors:
            return [{"translation_token_ids": ids} for ids in output_ids]
        texts = self.tokenizer.batch_decode(
            output_ids, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
        )
        return [{"translation_text": text} for text in texts]


def _check_languages(config: Any, src_lang: str | None, tgt_lang: str | None) -> None:
    """Raise a `ValueError` if these are not the languages of a model that translates one direction."""
    for side, wanted in (("source", src_lang), ("target", tgt_lang)):
        language = getattr(config, f"{side}_language", None)
        if wanted is not None and language is not None and wanted != language:
            raise ValueError(f"The {side} language of this model is {language!r}, not {wanted!r}.")


def _with_target_tokenizer(tokenizer: Any, config: Any) -> Any:
    """Return `tokenizer`, or the tokenizer saved with the model if only that decodes the target.

    Raises:
        ValueError: source and target have different vocabularies, and no tokenizer has both.
    """
    if getattr(config, "share_encoder_decoder_embeddings", True) or getattr(tokenizer, "separate_vocabs", False):
        return tokenizer
    if config.name_or_path:
        # The commit of these weights, not the newest.
        commit = getattr(config, "_commit_hash", None)
        try:
            found = SineformerTokenizer.from_pretrained(config.name_or_path, revision=commit or "main")
        except (OSError, ValueError):
            found = None
        if found is not None and found.separate_vocabs:
            return found
    if config.decoder_vocab_size != config.vocab_size:
        raise ValueError(
            f"The model has {config.decoder_vocab_size} target tokens and {config.vocab_size} source tokens, "
            "but this tokenizer has one vocabulary. Give the tokenizer saved with the model: "
            "AutoTokenizer.from_pretrained(MODEL, trust_remote_code=True)."
        )
    return tokenizer


def register_pipeline() -> None:
    """Register the task "translation", for `pipeline("translation", model=MODEL)` with a model in memory.

    For a folder, transformers reads the class from its config; for a model in memory, from a registry, which lacks
    "translation" since transformers 5, and a list of removed tasks may refuse it. A registered class is not replaced.
    """
    registry = getattr(pipelines, "PIPELINE_REGISTRY", None)
    if registry is not None and TASK not in registry.get_supported_tasks():
        registry.register_pipeline(TASK, SineformerTranslationPipeline, pt_model=AutoModelForSeq2SeqLM)
        getattr(pipelines, "REMOVED_TASKS", {}).pop(TASK, None)


register_pipeline()
