"""Define `SineformerConfig`: sizes, regularisation and token ids of an encoder-decoder Transformer."""

import re
from typing import Any, ClassVar, Literal

import transformers

# Releases of transformers that this code is tested with. Later ones are likely to work too.
OLDEST, NEWEST = "5.17", "5.24"
if tuple(map(int, re.findall(r"\d+", transformers.__version__)[:2])) < tuple(map(int, OLDEST.split("."))):
    raise ImportError(
        f"Sineformer needs transformers {OLDEST} or newer (tested with {OLDEST} to {NEWEST}), but "
        f"{transformers.__version__} is installed. Upgrade it: pip install --upgrade transformers"
    )

from huggingface_hub.dataclasses import strict  # noqa: E402
from transformers import PreTrainedConfig  # noqa: E402


@strict
class SineformerConfig(PreTrainedConfig):
    r"""Hold the sizes, regularisation and token ids of a Sineformer model.

    Field names are those of BART and Marian; the defaults are the base model of Vaswani et al. (2017), Table 3.

    Args:
        vocab_size (`int`): number of source tokens, and of target tokens unless `decoder_vocab_size` is given.
        decoder_vocab_size (`int`, *optional*): number of target tokens if source and target have separate vocabularies;
            needs `share_encoder_decoder_embeddings=False`.
        d_model (`int`): width of every layer, D. Must be even and divisible by both numbers of heads.
        encoder_layers, decoder_layers (`int`): number of layers, N.
        encoder_attention_heads, decoder_attention_heads (`int`): number of attention heads, H.
        encoder_ffn_dim, decoder_ffn_dim (`int`): inner width of the feed-forward layers, F.
        dropout (`float`): on the embeddings and on the output of each sub-layer (section 5.4).
        attention_dropout (`float`): on the attention weights.
        activation_dropout (`float`): inside the feed-forward layers, after the activation.
        word_dropout (`float`): probability of zeroing the embedding of a token, of source and target, in training (Gal
            and Ghahramani, 2016, "A Theoretically Grounded Application of Dropout in Recurrent Neural Networks"). Each
            occurrence is drawn separately. Positions and the embeddings of padding, start and end tokens are kept, and
            nothing is rescaled.
        encoder_layerdrop, decoder_layerdrop (`float`): probability of skipping a layer in a training step, for the
            complete batch (Fan et al., 2020, "Reducing Transformer Depth on Demand with Structured Dropout").
        activation_function (`str`): of the feed-forward layers, a name known to `transformers.activations.ACT2FN`.
        max_position_embeddings (`int`): number of rows of the position table. It grows for longer input.
        position_layout (`str`): "interleaved" puts sin on even and cos on odd features, as in the paper (section 3.5);
            "halves" puts all sines before all cosines, as in tensor2tensor and Marian.
        sliding_window (`int`, *optional*): number of tokens that self-attention sees, around (encoder) or up to and
            including (decoder) the current one. Cross-attention always sees the complete source.
        scale_embedding (`bool`): multiply embeddings by sqrt(d_model) (section 3.4).
        share_encoder_decoder_embeddings (`bool`): one matrix for source and target embeddings.
        tie_word_embeddings (`bool`): the output projection uses the target embedding matrix.
        lm_head_bias (`bool`): the output projection adds a bias for each target token, as Marian's models do.
        normalize_before (`bool`): layer normalisation before each sub-layer (pre-norm) and once after the last layer,
            instead of after each residual addition as in the paper (post-norm).
        add_final_layer_norm (`bool`, *optional*): layer normalisation after the last layer of encoder and
            decoder; equal to `normalize_before` if not given. `torch.nn.Transformer` has it in post-norm too.
        layer_norm_eps (`float`): added to the variance in layer normalisation.
        init_std (`float`, *optional*): standard deviation of initial embeddings; `d_model ** -0.5` if not given.
        use_cache (`bool`): whether decoding caches the keys and values of earlier steps.
        pad_token_id, bos_token_id, eos_token_id, decoder_start_token_id (`int`): token ids. Decoding starts from
            `decoder_start_token_id`.
        source_language, target_language (`str`, *optional*): codes of the languages that the model translates, such as
            "en" and "de". They change no result; training, evaluation and model cards read them.

    Raises:
        huggingface_hub.errors.StrictDataclassError: a field has the wrong type, or fields contradict each other;
            the message names the fields and the fix.

    ```python
    >>> from sineformer import SineformerConfig
    >>> SineformerConfig().d_model
    512

    ```
    """

    model_type = "sineformer"
    keys_to_ignore_at_inference: ClassVar[list[str]] = ["cache", "past_key_values"]
    attribute_map: ClassVar[dict[str, str]] = {
        "hidden_size": "d_model",
        "num_attention_heads": "encoder_attention_heads",
        "num_hidden_layers": "encoder_layers",
    }
    base_model_tp_plan: ClassVar[dict[str, Any]] = {
        "encoder.embed_tokens": "embedding_rowwise",
        "decoder.embed_tokens": "embedding_rowwise",
        "encoder.layers.*.self_attn.q_proj": "colwise",
        "encoder.layers.*.self_attn.k_proj": "colwise",
        "encoder.layers.*.self_attn.v_proj": "colwise",
        "encoder.layers.*.self_attn.out_proj": "rowwise",
        "encoder.layers.*.fc1": "colwise",
        "encoder.layers.*.fc2": "rowwise",
        "decoder.layers.*.self_attn.q_proj": "colwise",
        "decoder.layers.*.self_attn.k_proj": "colwise",
        "decoder.layers.*.self_attn.v_proj": "colwise",
        "decoder.layers.*.self_attn.out_proj": "rowwise",
        "decoder.layers.*.encoder_attn.q_proj": "colwise",
        "decoder.layers.*.encoder_attn.k_proj": "colwise",
        "decoder.layers.*.encoder_attn.v_proj": "colwise",
        "decoder.layers.*.encoder_attn.out_proj": "rowwise",
        "decoder.layers.*.fc1": "colwise",
        "decoder.layers.*.fc2": "rowwise",
    }
    base_model_fsdp_plan: ClassVar[dict[Any, str]] = {
        "encoder.layers.*": "free_full_weight",
        "decoder.layers.*": "free_full_weight",
    }

    vocab_size: int = 37000
    decoder_vocab_size: int | None = None
    d_model: int = 512
    encoder_layers: int = 6
    decoder_layers: int = 6
    encoder_attention_heads: int = 8
    decoder_attention_heads: int = 8
    encoder_ffn_dim: int = 2048
    decoder_ffn_dim: int = 2048
    dropout: float | int = 0.1
    attention_dropout: float | int = 0.0
    activation_dropout: float | int = 0.0
    word_dropout: float | int = 0.0
    encoder_layerdrop: float | int = 0.0
    decoder_layerdrop: float | int = 0.0
    activation_function: str = "relu"
    max_position_embeddings: int = 1024
    position_layout: Literal["interleaved", "halves"] = "interleaved"
    sliding_window: int | None = None
    scale_embedding: bool = True
    share_encoder_decoder_embeddings: bool = True
    tie_word_embeddings: bool = True
    lm_head_bias: bool = False
    normalize_before: bool = False
    add_final_layer_norm: bool | None = None
    layer_norm_eps: float = 1e-5
    init_std: float | None = None
    use_cache: bool = True
    is_encoder_decoder: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 2
    eos_token_id: int | list[int] | None = 3
    decoder_start_token_id: int | None = 2
    source_language: str | None = None
    target_language: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.decoder_vocab_size is None:
            self.decoder_vocab_size = self.vocab_size
        if self.add_final_layer_norm is None:
            self.add_final_layer_norm = self.normalize_before
        super().__post_init__(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        # Setting `vocab_size` later changes both vocabularies if embeddings are shared. `__init__` sets the other two
        # fields after this one, so contradictory arguments still raise.
        others = ("decoder_vocab_size", "share_encoder_decoder_embeddings")
        if name == "vocab_size" and all(self.__dict__.get(other) for other in others):
            super().__setattr__("decoder_vocab_size", value)

    @property
    def target_vocab_size(self) -> int:
        """Return the size of the target vocabulary, shared or not."""
        return self.decoder_vocab_size or self.vocab_size

    @property
    def layer_types(self) -> list[str]:
        """Return the cache type of each layer: full, also with a sliding window, which is applied as a mask.

        Otherwise transformers would truncate the cache of the cross-attention to the window as well.
        """
        return ["full_attention"] * self.num_hidden_layers

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the fields, with class names in place of the classes that `pipeline` puts into `custom_pipelines`."""
        output = super().to_dict(**kwargs)
        for task in (output.get("custom_pipelines") or {}).values():
            task["pt"] = [getattr(each, "__name__", each) for each in task["pt"]]
        return output

    def validate_sizes(self) -> None:
        """Check that every size is positive and every dropout a probability below 1; called by `@strict`."""
        for name in (
            *("vocab_size", "decoder_vocab_size", "d_model", "max_position_embeddings"),
            *("encoder_layers", "decoder_layers", "encoder_attention_heads", "decoder_attention_heads"),
            *("encoder_ffn_dim", "decoder_ffn_dim", "sliding_window"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` is {value}; give a positive number.")
        for name in (
            *("dropout", "attention_dropout", "activation_dropout", "word_dropout"),
            *("encoder_layerdrop", "decoder_layerdrop"),
        ):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"`{name}` is {value}; give a probability in [0, 1).")

    def validate_architecture(self) -> None:
        """Check that `d_model` is even and divisible by the numbers of heads; called by `@strict`."""
        if self.d_model % 2:
            raise ValueError(
                f"`d_model` is {self.d_model}; it must be even, because the positional encoding has one sine "
                f"and one cosine feature for each frequency. Use {self.d_model - 1} or {self.d_model + 1}."
            )
        for name in ("encoder_attention_heads", "decoder_attention_heads"):
            heads = getattr(self, name)
            if self.d_model % heads:
                raise ValueError(
                    f"`d_model` ({self.d_model}) is not divisible by `{name}` ({heads}); every head has "
                    f"the same width d_model / heads. Use a `d_model` of {self.d_model // heads * heads or heads} or "
                    f"{(self.d_model // heads + 1) * heads}, or another number of heads."
                )

    def validate_vocabulary(self) -> None:
        """Check that shared embeddings have one vocabulary and that token ids are in it; called by `@strict`."""
        if self.share_encoder_decoder_embeddings and self.target_vocab_size != self.vocab_size:
            raise ValueError(
                f"`decoder_vocab_size` ({self.decoder_vocab_size}) differs from `vocab_size` ({self.vocab_size}), so "
                "source and target cannot share embeddings: set `share_encoder_decoder_embeddings=False`."
            )
        for name, limit in (
            ("pad_token_id", min(self.vocab_size, self.target_vocab_size)),
            ("decoder_start_token_id", self.target_vocab_size),
        ):
            token_id = getattr(self, name)
            if token_id is not None and not 0 <= token_id < limit:
                raise ValueError(f"`{name}` is {token_id}; it must be a token id from 0 to {limit - 1}.")


__all__ = ["SineformerConfig"]


if False:  # read as text by transformers: ties the configuration to the code beside it
    from .attention import *
    from .code_files import *
    from .compatibility import *
    from .consistency import *
    from .dropout import *
    from .encoder_decoder import *
    from .generation import *
    from .generation_request import *
    from .incremental_decoder import *
    from .inputs import *
    from .invisible_text import *
    from .layers import *
    from .likeliest_tokens import *
    from .loss import *
    from .modeling_sineformer import *
    from .outputs import *
    from .positional_encoding import *
    from .pretrained_model import *
    from .products import *
    from .search import *
    from .tokenization_sineformer import *
    from .transition_scores import *
    from .translation_pipeline import *
