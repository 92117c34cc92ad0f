"""`pipeline("translation")` for Sineformer checkpoints; transformers 5 no longer has one of its own."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import AutoModelForSeq2SeqLM, Pipeline, pipelines

from .invisible_text import shows_nothing
from .tokenization_sineformer import SineformerTokenizer

TASK = "translation"


class SineformerTranslationPipeline(Pipeline):
    """Translate text with any sequence-to-sequence model and its tokenizer.

    Returns what the pipeline of transformers 4 did: `[{"translation_text": ...}]` for a string; a list of such
    dictionaries for a list, a tuple or a dataset column; and for a generator or a `KeyDataset` an iterator that gives
    `[{"translation_text": ...}]` for each text as it is asked for. With `num_return_sequences=n`, every text has a
    list of n dictionaries. With `return_tensors=True` they hold `translation_token_ids` instead. Arguments of
    `generate` (`num_beams`, `max_new_tokens`, ...) may be given when the pipeline is made or when it is called.

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
        self.tokenizer: Any = _with_both_sides(self.tokenizer, self.model.config)

    def _sanitize_parameters(
        self,
        truncation: bool | None = None,
        return_tensors: bool | None = None,
        clean_up_tokenization_spaces: bool | None = None,
        **generate: Any,
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        choices = {"return_tensors": return_tensors, "clean_up_tokenization_spaces": clean_up_tokenization_spaces}
        preprocess = {} if truncation is None else {"truncation": truncation}
        return preprocess, generate, {name: choice for name, choice in choices.items() if choice is not None}

    def __call__(self, texts: Any, **kwargs: Any) -> Any:
        """Translate `texts`; see the class."""
        # `Pipeline` takes for one text whatever is neither a list nor a generator nor a dataset of torch.
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

    def preprocess(self, text: Any, truncation: bool = False, **kwargs: Any) -> Any:
        if not isinstance(text, str):
            raise ValueError(
                f"The translation pipeline takes text, but got {type(text).__name__}: {text!r}. "
                "Give a string, a list, a generator or a column of a dataset."
            )
        inputs = self.tokenizer(text, return_tensors="pt", truncation=truncation, verbose=False)
        return {**inputs, "shows_nothing": torch.tensor([shows_nothing(text)])}

    def _forward(self, model_inputs: Any, **generate: Any) -> dict[str, torch.Tensor]:
        model: Any = self.model
        ids, mask, empty = (model_inputs[name] for name in ("input_ids", "attention_mask", "shows_nothing"))
        nothing = self._empty_translations(len(ids), generate)  # [B, number of translations, 2]
        if empty.all():
            if generate.get("streamer") is not None:
                generate["streamer"].end()  # whoever reads from it waits for that
            return {"output_ids": nothing}
        output_ids = model.generate(input_ids=ids, attention_mask=mask, **generate)
        output_ids = output_ids.reshape(len(ids), -1, output_ids.shape[-1])  # [B, number of translations, T]
        output_ids[empty] = torch.nn.functional.pad(
            nothing[empty], (0, output_ids.shape[-1] - nothing.shape[-1]), value=model.config.pad_token_id
        )
        return {"output_ids": output_ids}

    def _empty_translations(self, size: int, generate: dict[str, Any]) -> torch.Tensor:
        """Return for each of `size` texts as many empty translations as `generate` would give `[size, n, 2]`."""
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


def _with_both_sides(tokenizer: Any, config: Any) -> Any:
    """Return a tokenizer that decodes the target of the model: `tokenizer`, or for an older folder that of the model.

    Raises:
        ValueError: the target has another vocabulary than the source, which `tokenizer` does not know.
    """
    if getattr(config, "share_encoder_decoder_embeddings", True) or getattr(tokenizer, "separate_vocabs", False):
        return tokenizer
    if config.name_or_path:
        # The commit: the tokenizer of these weights, not of the newest.
        commit = getattr(config, "_commit_hash", None)
        try:
            found = SineformerTokenizer.from_pretrained(config.name_or_path, revision=commit or "main")
        except (OSError, ValueError):
            found = None
        if found is not None and found.separate_vocabs:
            return found
    if config.decoder_vocab_size != config.vocab_size:
        raise ValueError(
            f"The model writes {config.decoder_vocab_size} target tokens and reads {config.vocab_size} source tokens, "
            "but this tokenizer has one vocabulary. Give the one saved with the model: "
            "AutoTokenizer.from_pretrained(MODEL, trust_remote_code=True)."
        )
    return tokenizer


def register_pipeline() -> None:
    """Let `pipeline("translation", model=MODEL)` find the class for a model that was loaded before.

    For a folder it reads which class to take; for an object it asks a registry, where "translation" is missing since
    transformers 5, or refuses it by a list of removed tasks. Where somebody has put another class, it stays.
    """
    registry = getattr(pipelines, "PIPELINE_REGISTRY", None)
    if registry is not None and TASK not in registry.get_supported_tasks():
        registry.register_pipeline(TASK, SineformerTranslationPipeline, pt_model=AutoModelForSeq2SeqLM)
        getattr(pipelines, "REMOVED_TASKS", {}).pop(TASK, None)


register_pipeline()
