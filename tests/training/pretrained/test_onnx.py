"""Test exports as ONNX graphs: the same translations as the model, and graphs of dynamic sizes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from sineformer.training.pretrained.conversion.output import ConversionError
from sineformer.training.pretrained.engines import ModelChoice, load_engine
from sineformer.training.pretrained.export.exporting import export_model
from sineformer.training.pretrained.translation import Search, search_lines
from sineformer.training.pretrained.translator import TranslationError

onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed; `make test-slow` does it")
pytest.importorskip("onnxscript", reason="onnxscript is not installed; `make test-slow` does it")


def search(name: Path, lines: list[str], *options: Any) -> Any:
    model, tokenizers = load_engine(ModelChoice(str(name), device="cpu"))
    return search_lines(model, tokenizers, lines, Search(*options), batch_size=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {
            **{"share_encoder_decoder_embeddings": False, "tie_word_embeddings": False},
            **{"activation_function": "swish", "layer_norm_eps": 1e-3, "add_final_layer_norm": True},
        },
        {
            **{"normalize_before": True, "activation_function": "gelu", "sliding_window": 3, "lm_head_bias": True},
            **{"position_layout": "halves", "scale_embedding": False, "max_position_embeddings": 8},
        },
    ],
    ids=["two vocabularies, untied", "pre-norm, halves, sliding window, longer than the table"],
)
def test_translations_and_scores_are_those_of_the_model(
    make_random_model: Callable[..., Path], tmp_path: Path, some_lines: list[str], fields: dict[str, Any]
) -> None:
    folder, export = make_random_model(**fields), tmp_path / "export"
    export_model(str(folder), export, "onnx")
    for beams, returned in ((1, 1), (4, 3)):
        ours, theirs = (search(name, some_lines, beams, returned, True) for name in (folder, export))
        for expected, found in zip(ours, theirs, strict=True):
            assert [each.text for each in found] == [each.text for each in expected]
            assert [each.score for each in found] == pytest.approx([each.score for each in expected], abs=1e-4)
    assert len({each[0].text for each in ours}) > 3


@pytest.mark.slow
def test_the_graphs_compute_the_model_for_any_sizes_and_padding(
    make_random_model: Callable[..., Path], tmp_path: Path
) -> None:
    folder = make_random_model()
    export_model(str(folder), tmp_path / "export", "onnx")
    model, _ = load_engine(ModelChoice(str(folder), device="cpu"))
    run = {file.stem: onnxruntime.InferenceSession(file) for file in (tmp_path / "export").glob("*.onnx")}
    for size, length, target_length in ((1, 1, 1), (3, 70, 6)):
        ids, target = torch.randint(4, 200, (size, length)), torch.randint(4, 200, (size, target_length + 2))
        mask = torch.ones_like(ids)
        mask[1:2, length // 2 :] = 0
        mask[2:3, :3] = 0
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=mask, decoder_input_ids=target).logits.numpy()
        tokens = {"attention_mask": mask.numpy()}
        (states,) = run["encoder"].run(None, {"input_ids": ids.numpy()} | tokens)
        first = {"input_ids": target[:, :-2].numpy(), "states": states} | tokens
        names = [each.name for each in run["decoder"].get_outputs()]
        cache = dict(zip(names, run["decoder"].run(None, first), strict=True))
        logits = [cache.pop("logits")]
        wanted = [each.name for each in run["decoder_with_past"].get_outputs()]
        for place in (-2, -1):
            inputs = {f"past_{name}" if name.startswith("self") else name: each for name, each in cache.items()}
            inputs |= {"input_ids": target[:, place:][:, :1].numpy()} | tokens
            found = run["decoder_with_past"].run(None, inputs)
            cache |= dict(zip(wanted, found, strict=True))
            logits.append(cache.pop("logits"))
        numpy.testing.assert_allclose(numpy.concatenate(logits, axis=1), expected, atol=1e-4)


def test_what_an_export_for_onnx_lacks_is_refused(make_random_model: Callable[..., Path], tmp_path: Path) -> None:
    folder, export = make_random_model(), tmp_path / "export"
    with pytest.raises(ConversionError, match="an export for ONNX is in float32; leave out the quantization"):
        export_model(str(folder), export, "onnx", "int8")
    assert not export.exists()


def test_a_damaged_graph_is_an_error(make_random_model: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_random_model()
    (folder / "config.json").rename(folder / "model_config.json")
    (folder / "encoder.onnx").write_text("no graph")
    with pytest.raises(TranslationError, match=r"encoder.onnx cannot be loaded: .*; export the model again"):
        load_engine(ModelChoice(str(folder)))
    with pytest.raises(TranslationError, match="runs on the CPU; leave out --device"):
        load_engine(ModelChoice(str(folder), device="cuda"))


@pytest.mark.slow
def test_a_trained_model_translates_as_before(trained_model: Path, multi30k: list[list[str]], tmp_path: Path) -> None:
    export_model(str(trained_model), tmp_path / "export", "onnx")
    for beams in (1, 5):
        ours = search(trained_model, multi30k[0], beams)
        assert search(tmp_path / "export", multi30k[0], beams) == ours
