"""Test that a converted state dict of a model with torch.nn.Transformer gives the logits of that model."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sineformer import SineformerForConditionalGeneration
from sineformer.modeling.positional_encoding import sinusoidal_encoding
from sineformer.training.pretrained.conversion.output import ConversionError
from sineformer.training.pretrained.conversion.torch_transformer import TorchModel, convert_torch_transformer
from sineformer.training.pretrained.conversion.vocabularies import VocabularyNames

D_MODEL, HEADS, SOURCE_VOCABULARY, TARGET_VOCABULARY = 16, 4, 31, 37


class Table(nn.Module):
    """Hold positions as in many tutorials: a buffer computed in fp32."""

    def __init__(self, length: int = 50) -> None:
        super().__init__()
        rates = torch.exp(-torch.arange(0, D_MODEL, 2) * math.log(10000) / D_MODEL)
        angles = torch.arange(length).unsqueeze(1) * rates
        table = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
        self.register_buffer("pe", table.unsqueeze(0))


class Translator(nn.Module):
    """Translate with torch.nn.Transformer, as in many tutorials."""

    def __init__(
        self, target_vocabulary: int = TARGET_VOCABULARY, head_bias: bool = True, tied: bool = False, **options: Any
    ) -> None:
        super().__init__()
        self.batch_first = options.get("batch_first", False)
        sizes = {"d_model": D_MODEL, "nhead": HEADS, "num_encoder_layers": 2, "num_decoder_layers": 3}
        self.core = nn.Transformer(**{**sizes, "dim_feedforward": 24, "dropout": 0.0, **options})
        self.source_words = nn.Embedding(SOURCE_VOCABULARY, D_MODEL)
        self.target_words = nn.Embedding(target_vocabulary, D_MODEL)
        self.generator = nn.Linear(D_MODEL, target_vocabulary, bias=head_bias)
        if tied:
            self.generator.weight = self.target_words.weight
        self.positions = Table()
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)  # zero biases and unit norms would hide one that is left out

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        embedded = []
        for ids, words in ((source, self.source_words), (target, self.target_words)):
            states = words(ids) * math.sqrt(D_MODEL) + self.positions.pe[:, : ids.shape[1]]
            embedded.append(states if self.batch_first else states.transpose(0, 1))
        mask = nn.Transformer.generate_square_subsequent_mask(target.shape[1])
        output = self.core(*embedded, tgt_mask=mask)
        return self.generator(output if self.batch_first else output.transpose(0, 1))


def settings(**changes: Any) -> TorchModel:
    return TorchModel(**{"heads": HEADS, "pad_token_id": 1, "start_token_id": 2, "eos_token_id": 3, **changes})


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., SineformerForConditionalGeneration]:
    """Return a function that converts a model or a state dict and loads the folder."""

    def run(theirs: Any, **changes: Any) -> SineformerForConditionalGeneration:
        path = tmp_path / "theirs.pt"
        torch.save(theirs.state_dict() if isinstance(theirs, nn.Module) else theirs, path)
        convert_torch_transformer(path, tmp_path / "out", settings(**changes))
        return SineformerForConditionalGeneration.from_pretrained(tmp_path / "out").eval()

    return run


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(4, 31, (3, 7), generator=generator), torch.randint(4, 31, (3, 5), generator=generator)


def assert_same_logits(ours: SineformerForConditionalGeneration, theirs: nn.Module) -> None:
    source, target = batch()
    expected = theirs.train()(source, target)  # dropout is 0; in evaluation torch uses other kernels
    torch.testing.assert_close(ours(source, decoder_input_ids=target).logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {}),
        ({"norm_first": True}, {"norm_first": True}),
        ({"batch_first": True, "activation": "gelu"}, {"activation": "gelu"}),
        ({"head_bias": False}, {"names": VocabularyNames(head="generator")}),
        ({"tied": True}, {}),
        ({"tied": True, "norm_first": True, "batch_first": True}, {"norm_first": True}),
        ({"bias": False, "layer_norm_eps": 1e-3, "dim_feedforward": 8}, {"layer_norm_eps": 1e-3}),
    ],
)
def test_logits_are_those_of_the_model(convert, options: dict[str, Any], changes: dict[str, Any]) -> None:
    torch.manual_seed(0)
    theirs = Translator(**options)
    ours = convert(theirs, **changes)
    assert_same_logits(ours, theirs)
    tied = options.get("tied", False)
    assert (ours.config.tie_word_embeddings, ours.config.lm_head_bias) == (tied, options.get("head_bias", True))
    assert ours.generation_config.decoder_start_token_id == 2
    assert ours.config.max_position_embeddings == 50


@pytest.mark.parametrize("norm_first", [False, True])
def test_stacks_without_final_norms_are_converted(convert, norm_first: bool) -> None:
    theirs = Translator(norm_first=norm_first)
    theirs.core.encoder.norm = theirs.core.decoder.norm = None
    assert_same_logits(convert(theirs, norm_first=norm_first), theirs)


def test_one_vocabulary_becomes_one_matrix(convert) -> None:
    theirs = Translator(SOURCE_VOCABULARY, tied=True)
    theirs.source_words.weight = theirs.target_words.weight
    ours = convert(theirs)
    assert ours.config.share_encoder_decoder_embeddings
    assert_same_logits(ours, theirs)


def test_vocabularies_of_the_same_size_are_distinguished_by_name(convert, tmp_path: Path) -> None:
    theirs = Translator(SOURCE_VOCABULARY)
    with pytest.raises(ConversionError, match="which is the `target_embedding`: name it, one of source_words, target"):
        convert(theirs)
    assert not (tmp_path / "out").exists()
    assert_same_logits(convert(theirs, names=VocabularyNames("source_words.weight", "target_words")), theirs)


def test_tied_weights_stored_once_are_found(tmp_path: Path) -> None:
    theirs = Translator(tied=True)
    state = {name: weight for name, weight in theirs.state_dict().items() if name != "generator.weight"}
    save_file(state, tmp_path / "theirs.safetensors")
    ours = convert_torch_transformer(tmp_path / "theirs.safetensors", tmp_path / "out", settings())
    assert_same_logits(ours, theirs)


def test_a_checkpoint_with_optimizer_state_is_read(convert) -> None:
    theirs = Translator()
    optimizer = torch.optim.Adam(theirs.parameters())
    content = {"epoch": 3, "model": theirs.state_dict(), "optimizer": optimizer.state_dict()}
    assert_same_logits(convert(content), theirs)


def test_prefixed_names_and_other_position_layouts_are_read(convert) -> None:
    theirs = Translator()
    theirs.positions.pe.copy_(sinusoidal_encoding(torch.arange(50), D_MODEL, "halves"))
    ours = convert({f"module.{name}": weight for name, weight in theirs.state_dict().items()})
    assert ours.config.position_layout == "halves"
    assert_same_logits(ours, theirs)


def test_the_position_layout_is_given_if_the_state_dict_has_no_table(convert) -> None:
    theirs = Translator()
    state = {name: weight for name, weight in theirs.state_dict().items() if name != "positions.pe"}
    with pytest.raises(ConversionError, match="no table of sines and cosines"):
        convert(state)
    assert_same_logits(convert(state, positions="interleaved"), theirs)


def without(name: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda state: state.pop(name)


@pytest.mark.parametrize(
    ("spoil", "changes", "message"),
    [
        (without("core.decoder.layers.1.linear2.weight"), {}, "core.decoder.layers.1.linear2.weight is missing"),
        (
            without("core.decoder.layers.2.multihead_attn.in_proj_weight"),
            {},
            "multihead_attn.in_proj_weight is missing",
        ),
        (without("core.encoder.layers.0.self_attn.in_proj_weight"), {}, "there are 0 encoders and 1 decoders"),
        (without("core.encoder.norm.weight"), {}, "only one of encoder and decoder has a final norm"),
        (lambda state: state.update(gate=torch.ones(2)), {}, "a Sineformer lacks the weights gate"),
        (
            lambda state: state["positions.pe"].add_(0.1),
            {"positions": "interleaved"},
            "a Sineformer lacks the weights positions",
        ),
        (without("nothing"), {"names": VocabularyNames(head="lm_head")}, "`head` is lm_head, but"),
        (without("nothing"), {"heads": 5}, "not divisible by `encoder_attention_heads` (5)"),
        (without("nothing"), {"pad_token_id": 40}, "`pad_token_id` is 40"),
    ],
)
def test_what_cannot_be_converted_is_one_error_and_nothing_is_written(
    convert, tmp_path: Path, spoil: Callable[[dict[str, torch.Tensor]], object], changes: dict[str, Any], message: str
) -> None:
    state = dict(Translator().state_dict()) | {"nothing": torch.ones(1)}
    spoil(state)
    state.pop("nothing", None)
    with pytest.raises(ConversionError) as caught:
        convert(state, **changes)
    assert message in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["theirs.pt"]


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: torch.save(Translator(), path), "contains more than tensors"),
        (lambda path: path.write_text("nothing of torch"), "contains more than tensors"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: None, "cannot be read"),
        (
            lambda path: torch.save({"a": {"x": torch.ones(1)}, "b": {"x": torch.ones(1)}}, path),
            "2 state dicts",
        ),
        (lambda path: torch.save([1, 2], path), "0 state dicts"),
    ],
)
def test_a_file_without_a_state_dict_is_a_clear_error(
    tmp_path: Path, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / "theirs.pt")
    with pytest.raises(ConversionError, match=message):
        convert_torch_transformer(tmp_path / "theirs.pt", tmp_path / "out", settings())
    assert not (tmp_path / "out").exists()
