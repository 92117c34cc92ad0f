"""A converted Marian checkpoint computes, translates and writes what transformers' MarianMTModel does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, MarianConfig, MarianMTModel, MarianTokenizer, pipeline

from sineformer.training.conversion.marian import convert_marian
from sineformer.training.conversion.output import ConversionError
from sineformer.training.tokenizer import load_tokenizers
from sineformer.training.translation import translate_lines

TEXT = {
    "source": ["the dog sleeps in the garden", "a man is riding a horse", "two women walk through the park"],
    "target": ["der Hund schläft im Garten", "ein Mann reitet ein Pferd", "zwei Frauen gehen durch den Park"],
}
# Words and letters of both sides and of neither, runs of unknown characters, codes, special tokens, odd spaces.
ODD_TEXT = [
    "the dog",
    "",
    " ",
    ">>deu<< a man",
    "a  ß東東京 \u200b man\n",
    "</s> the ﬁne é e\u0301 <pad>",
    "<unk>☃☃ 5.000",
]
SMALL = {
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **{"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 48, "max_position_embeddings": 40},
    **{"activation_function": "swish", "scale_embedding": True, "dropout": 0.0},
}
OPUS = {
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 6),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 8),
    **{"d_model": 512, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048, "max_position_embeddings": 512},
    **{"activation_function": "swish", "scale_embedding": True},
}
SEPARATE = {"share_encoder_decoder_embeddings": False}
MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="session")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A sentencepiece model for each side."""
    folder = tmp_path_factory.mktemp("pieces")
    for side, lines in TEXT.items():
        (folder / f"{side}.txt").write_text("\n".join(lines * 30), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(folder / f"{side}.txt"),
            model_prefix=str(folder / side),
            vocab_size=60,
            hard_vocab_limit=False,
            minloglevel=2,
        )
    return {side: folder / f"{side}.model" for side in TEXT}


def vocabulary_of(models: list[Path], size: int | None) -> dict[str, int]:
    """Ids as in OPUS-MT: the end first, then codes and the pieces of `models`, all but one, and padding last."""
    tokens = ["</s>", "<unk>", ">>deu<<"]
    for model in models:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        tokens += [processor.id_to_piece(index) for index in range(3, processor.get_piece_size() - 1)]
    tokens = list(dict.fromkeys(tokens))
    tokens += [f"piece{index}" for index in range((size or 0) - len(tokens) - 1)] + ["<pad>"]
    return {token: index for index, token in enumerate(tokens)}


def save_tokenizer(folder: Path, pieces: dict[str, Path], separate: bool, size: int | None) -> int:
    """Write the tokenizer of a checkpoint; returns the number of its tokens."""
    settings = {"source_lang": "eng", "target_lang": "deu"} | ({"separate_vocabs": True} if separate else {})
    vocabulary = vocabulary_of(list(pieces.values()), size)
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    if separate:
        other = {token: len(vocabulary) - 1 if token == "<pad>" else index for token, index in vocabulary.items()}
        other = dict(sorted(other.items(), key=lambda item: item[1])) | {"extra": len(vocabulary)}
        (folder / "target_vocab.json").write_text(json.dumps(other), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    for side, path in pieces.items():
        shutil.copyfile(path, folder / f"{side}.spm")
    return len(vocabulary)


@pytest.fixture
def make_checkpoint(tmp_path: Path, pieces: dict[str, Path]) -> MakeCheckpoint:
    """A function that writes a random Marian checkpoint and returns its folder."""

    def make(size: int | None = None, dtype: torch.dtype = torch.float32, **changes: Any) -> Path:
        folder = tmp_path / "marian"
        folder.mkdir()
        separate = not changes.get("share_encoder_decoder_embeddings", True)
        number = save_tokenizer(folder, pieces, separate, size)
        sizes = {"vocab_size": number, "decoder_vocab_size": number + 1 if separate else number}
        special = {"pad_token_id": number - 1, "decoder_start_token_id": number - 1, "eos_token_id": 0}
        torch.manual_seed(0)
        model = MarianMTModel(MarianConfig(**{**SMALL, **sizes, **special, "forced_eos_token_id": 0, **changes}))
        for parameter in model.parameters():
            if parameter.requires_grad:
                torch.nn.init.normal_(parameter, std=0.3 if size is None else 0.03)
        model.final_logits_bias.normal_()
        generation = {"num_beams": 3, "bad_words_ids": [[number - 1]], "max_length": 30, "renormalize_logits": True}
        model.generation_config.update(**generation)
        model.to(dtype).save_pretrained(folder)
        return folder

    return make


def batch_of(folder: Path) -> dict[str, torch.Tensor]:
    tokenizer = MarianTokenizer.from_pretrained(folder)
    return tokenizer(TEXT["source"], text_target=TEXT["target"], padding=True, return_tensors="pt")


def change_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def assert_equal_models(folder: Path, output: Path) -> None:
    theirs, ours = (AutoModelForSeq2SeqLM.from_pretrained(each).eval() for each in (folder, output))
    batch = batch_of(folder)
    expected, found = theirs(**batch), ours(**batch)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.loss, expected.loss, rtol=1e-5, atol=1e-5)
    del batch["labels"]
    arguments = {"output_scores": True, "return_dict_in_generate": True, "num_return_sequences": 2}
    expected, found = theirs.generate(**batch, **arguments), ours.generate(**batch, **arguments)
    assert torch.equal(found.sequences, expected.sequences)
    torch.testing.assert_close(found.sequences_scores, expected.sequences_scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scale_embedding": False, "activation_function": "gelu", "decoder_layers": 1, "encoder_attention_heads": 2},
        {"tie_word_embeddings": False},
        SEPARATE,
        {**SEPARATE, "tie_word_embeddings": False},
    ],
)
def test_logits_beams_and_scores_are_those_of_marian(make_checkpoint: MakeCheckpoint, tmp_path: Path, changes) -> None:
    folder = make_checkpoint(**changes)
    convert_marian(str(folder), tmp_path / "out")
    assert_equal_models(folder, tmp_path / "out")


@pytest.mark.slow
def test_a_checkpoint_of_the_size_of_opus_mt_is_converted(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    folder = make_checkpoint(size=58101, **OPUS)
    convert_marian(str(folder), tmp_path / "out")
    assert_equal_models(folder, tmp_path / "out")


@pytest.mark.parametrize("changes", [{}, SEPARATE])
def test_text_is_read_and_written_as_marian_does(make_checkpoint: MakeCheckpoint, tmp_path: Path, changes) -> None:
    folder, output = make_checkpoint(**changes), tmp_path / "out"
    convert_marian(str(folder), output)
    theirs, ours = MarianTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(output)
    texts = [*TEXT["source"], *TEXT["target"], *ODD_TEXT]
    assert ours(texts)["input_ids"] == theirs(texts)["input_ids"]
    assert ours(text_target=texts)["input_ids"] == theirs(text_target=texts)["input_ids"]
    model = MarianMTModel.from_pretrained(folder).eval()
    expected = [
        theirs.decode(model.generate(**theirs(text, return_tensors="pt"))[0], skip_special_tokens=True)
        for text in TEXT["source"]
    ]
    translate = pipeline("translation", model=str(output), trust_remote_code=True)
    assert [each["translation_text"] for each in translate(TEXT["source"])] == expected
    assert translate_lines(translate.model, load_tokenizers(output), TEXT["source"]) == expected


def test_generation_settings_are_kept_and_a_missing_length_is_that_of_the_positions(
    make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    folder = make_checkpoint()
    pad = MarianConfig.from_pretrained(folder).pad_token_id
    config = convert_marian(str(folder), tmp_path / "first").generation_config
    assert (config.num_beams, config.max_length, config.forced_eos_token_id) == (3, 30, 0)
    assert (config.bad_words_ids, config.decoder_start_token_id, config.renormalize_logits) == ([[pad]], pad, True)
    (folder / "generation_config.json").unlink()  # older checkpoints have all of it in config.json
    change_config(folder, num_beams=6)
    convert_marian(str(folder), tmp_path / "second")
    saved = json.loads((tmp_path / "second" / "generation_config.json").read_text())
    assert (saved["num_beams"], saved["max_length"], saved["max_tokens_beyond_source"]) == (6, 40, None)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_dtype_of_the_checkpoint_is_kept(make_checkpoint: MakeCheckpoint, tmp_path: Path, dtype) -> None:
    convert_marian(str(make_checkpoint(dtype=dtype)), tmp_path / "out")
    assert {weight.dtype for weight in load_file(tmp_path / "out" / "model.safetensors").values()} == {dtype}


def test_a_pickled_checkpoint_with_its_tables_of_positions_is_converted(
    make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    folder = make_checkpoint()
    model = MarianMTModel.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    convert_marian(str(folder), tmp_path / "out")
    assert_equal_models(folder, tmp_path / "out")


def test_one_matrix_for_both_beside_an_output_projection_is_found_where_transformers_4_saved_it(
    make_checkpoint: MakeCheckpoint, tmp_path: Path
) -> None:
    folder = make_checkpoint(tie_word_embeddings=False)
    change_weights(
        folder, lambda weights: [weights.pop(f"model.{stack}.embed_tokens.weight") for stack in ("encoder", "decoder")]
    )
    shared = load_file(folder / "model.safetensors")["model.shared.weight"]
    model = convert_marian(str(folder), tmp_path / "out")
    assert model.config.share_encoder_decoder_embeddings
    assert torch.equal(model.model.encoder.embed_tokens.weight, shared)
    assert not torch.equal(model.lm_head.weight, shared)


def test_fine_tuning_goes_the_way_of_marian(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    folder = make_checkpoint()
    ours = convert_marian(str(folder), tmp_path / "out").train()
    theirs = MarianMTModel.from_pretrained(folder).train()
    batch = batch_of(folder)
    batch["labels"][batch["labels"] == ours.config.pad_token_id] = -100
    loss, expected = ours(**batch).loss, theirs(**batch).loss
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    loss.backward()
    expected.backward()
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    compared = {name: each for name, each in ours.named_parameters() if name != "lm_head.bias"}  # a buffer of Marian's
    assert len(compared) > 60
    for name, parameter in compared.items():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-4)


def test_the_folder_loads_where_sineformer_is_not_installed(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, bare_python
) -> None:
    model = convert_marian(str(make_checkpoint()), tmp_path / "out")
    source, target = torch.tensor([[4, 9, 7, 0]]), torch.tensor([[5, 6, 8]])
    torch.save(
        {"ids": (source, target), "logits": model(source, decoder_input_ids=target).logits}, tmp_path / "expected"
    )
    program = """
import sys, torch
from transformers import AutoModelForSeq2SeqLM
model = AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1], trust_remote_code=True)
expected = torch.load(sys.argv[2])
source, target = expected["ids"]
print(torch.equal(model(source, decoder_input_ids=target).logits, expected["logits"]))
"""
    assert bare_python.run(program, tmp_path / "out", tmp_path / "expected").split()[-1] == "True"


def drop_a_weight(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.pop("model.decoder.layers.1.fc1.bias"))


def add_a_norm(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({"model.encoder.layer_norm.weight": torch.ones(32)}))


def train_positions(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.update({"model.encoder.embed_positions.weight": torch.ones(40, 32)}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: change_config(folder, model_type="bart"), "is a model of type 'bart'"),
        (lambda folder: change_config(folder, normalize_before=True), "`normalize_before` is True"),
        (
            lambda folder: change_config(folder, static_position_embeddings=False),
            "`static_position_embeddings` is False",
        ),
        (lambda folder: change_config(folder, activation_function="snake"), "`activation_function` 'snake' is unknown"),
        (lambda folder: change_config(folder, d_model=64), "cannot be loaded"),
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json with a `model_type`"),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be loaded"),
        (lambda folder: (folder / "target.spm").unlink(), "lacks target.spm of its tokenizer"),
        (drop_a_weight, "lacks the weights model.decoder.layers.1.fc1.bias"),
        (add_a_norm, "no place for: model.encoder.layer_norm.weight"),
        (train_positions, "model.encoder.embed_positions.weight holds other positions"),
    ],
)
def test_what_cannot_be_converted_is_one_clear_error_and_leaves_nothing(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, spoil: Callable[[Path], object], message: str
) -> None:
    folder = make_checkpoint()
    spoil(folder)
    with pytest.raises(ConversionError) as caught:
        convert_marian(str(folder), tmp_path / "out")
    assert message in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["marian"]


@pytest.mark.parametrize("source", ["none/of/these", "no folder", "nobody/nothing"])
def test_a_source_that_is_not_there_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConversionError, match=f"{source} is (neither a folder of a model|no model)"):
        convert_marian(source, tmp_path / "out")


def test_a_folder_in_use_is_left_alone(make_checkpoint: MakeCheckpoint, tmp_path: Path) -> None:
    folder, output = make_checkpoint(), tmp_path / "out"
    output.mkdir()
    (output / "notes.txt").write_text("mine")
    with pytest.raises(ConversionError, match="already exists; choose another folder"):
        convert_marian(str(folder), output)
    assert [path.name for path in output.iterdir()] == ["notes.txt"]


def test_a_failure_while_writing_leaves_nothing(
    make_checkpoint: MakeCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_checkpoint()

    def fail(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(ConversionError, match=r"cannot be written: .*No space left"):
        convert_marian(str(folder), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["marian"]
