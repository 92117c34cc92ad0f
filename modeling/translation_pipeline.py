"""`pipeline("translation")` for Sineformer checkpoints; transformers 5 no longer has one of its own."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import AutoTokenizer
from transformers.pipelines.base import Pipeline
from transformers.utils.hub import cached_file

TARGET_FOLDER = "target_tokenizer"  # below the model's folder, where source and target have vocabularies of their own


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
        self.target_tokenizer: Any = self.tokenizer
        config = self.model.config
        name, place = str(config.name_or_path), {"subfolder": TARGET_FOLDER}
        commit = getattr(config, "_commit_hash", None)
        if commit is not None:
            place["revision"] = commit  # the tokenizer of these weights, not of the newest
        if not config.share_encoder_decoder_embeddings and cached_file(
            name, "tokenizer.json", _raise_exceptions_for_missing_entries=False, **place
        ):
            self.target_tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, **place)

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Save model, code and tokenizers, a separate one of the target too."""
        super().save_pretrained(save_directory, **kwargs)
        if self.target_tokenizer is not self.tokenizer:
            self.target_tokenizer.save_pretrained(Path(save_directory) / TARGET_FOLDER)

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

    def preprocess(self, text: Any, truncation: bool = False) -> Any:
        if not isinstance(text, str):
            raise ValueError(
                f"The translation pipeline takes text, but got {type(text).__name__}: {text!r}. "
                "Give a string, a list, a generator or a column of a dataset."
            )
        tokenizer: Any = self.tokenizer
        return tokenizer(text, return_tensors="pt", truncation=truncation)

    def _forward(self, model_inputs: Any, **generate: Any) -> dict[str, torch.Tensor]:
        model: Any = self.model
        ids, mask = model_inputs["input_ids"], model_inputs["attention_mask"]
        output_ids = model.generate(input_ids=ids, attention_mask=mask, **generate)
        return {"output_ids": output_ids.reshape(len(ids), -1, output_ids.shape[-1])}

    def postprocess(
        self, model_outputs: Any, return_tensors: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> list[dict[str, Any]]:
        output_ids = model_outputs["output_ids"][0]  # [number of translations, T]
        if return_tensors:
            return [{"translation_token_ids": ids} for ids in output_ids]
        texts = self.target_tokenizer.batch_decode(
            output_ids, skip_special_tokens=True, clean_up_tokenization_spaces=clean_up_tokenization_spaces
        )
        return [{"translation_text": text} for text in texts]
