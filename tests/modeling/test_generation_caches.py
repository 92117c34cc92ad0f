"""Whatever keeps the keys and values of earlier steps, the translations are the same."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
import torch
from transformers import CompileConfig, EncoderDecoderCache, StaticCache

from sineformer.modeling.compatibility import CACHE

LEFT_PADDED = torch.tensor([[2, 9, 10, 11], [0, 2, 9, 10], [0, 0, 2, 9]])
PROMPT_MASK = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]])


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("implementation", ["dynamic", "offloaded", "static", "offloaded_static"])
@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("changes", [{}, {"sliding_window": 4}])
def test_every_cache_gives_the_same(make_model, source, implementation: str, num_beams: int, changes) -> None:
    if implementation.startswith("offloaded") and not torch.accelerator.is_available():
        pytest.skip("an offloaded cache moves between the CPU and an accelerator, and there is none here")
    model = make_model(**changes)
    mask = torch.ones_like(source)
    mask[1, 4:] = 0
    arguments = {"attention_mask": mask, "num_beams": num_beams, "max_new_tokens": 10}
    expected = model.generate(source, **arguments, use_cache=False)
    output = model.generate(source, **arguments, cache_implementation=implementation, disable_compile=True)
    assert torch.equal(output, expected)


@pytest.mark.parametrize("implementation", ["dynamic", "static"])
@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("changes", [{}, {"sliding_window": 3}])
def test_a_left_padded_prompt_of_the_decoder_changes_nothing(
    taught, source, implementation, num_beams, changes
) -> None:
    taught.config.sliding_window = changes.get("sliding_window")
    arguments = {"num_beams": num_beams, "max_new_tokens": 6, "disable_compile": True}
    output = taught.generate(
        source,
        decoder_input_ids=LEFT_PADDED,
        decoder_attention_mask=PROMPT_MASK,
        cache_implementation=implementation,
        **arguments,
    )
    for row, mask in enumerate(PROMPT_MASK):
        alone = taught.generate(
            source[row : row + 1], decoder_input_ids=LEFT_PADDED[row, mask.bool()][None], **arguments
        )
        found, expected = output[row, 4:], alone[0, int(mask.sum()) :]
        assert torch.equal(found[: len(expected)], expected)
        assert found[len(expected) :].eq(0).logical_or(found[len(expected) :].eq(3)).all()


@pytest.mark.parametrize("prompt", [1, 4])
def test_a_static_cache_may_be_made_by_the_caller(make_model, source, prompt: int) -> None:
    model = make_model(decoder_attention_heads=4)
    ids = LEFT_PADDED[:1, :prompt].expand(3, -1)
    cache = EncoderDecoderCache(
        StaticCache(config=model.config, max_cache_len=20), StaticCache(config=model.config, max_cache_len=7)
    )
    arguments = {"decoder_input_ids": ids, "max_new_tokens": 9, "num_beams": 1}
    found = model.generate(source, **arguments, **{CACHE: cache})
    assert torch.equal(found, model.generate(source, **arguments))


def test_a_prompt_goes_on_from_a_cache_that_generate_returned(make_model, source) -> None:
    model = make_model()
    arguments = {"num_beams": 1, "return_dict_in_generate": True, "suppress_tokens": [3]}
    whole = model.generate(source, max_new_tokens=10, **arguments)
    first = model.generate(source, max_new_tokens=4, **arguments)
    # The mask tells transformers that the ids hold those of the cache too.
    prompt = {"decoder_input_ids": first.sequences, "decoder_attention_mask": torch.ones_like(first.sequences)}
    rest = model.generate(source, **prompt, **{CACHE: first[CACHE]}, max_new_tokens=6, **arguments)
    assert torch.equal(rest.sequences, whole.sequences)


def compiled(backend: str) -> CompileConfig:
    """Compile also on the CPU, where transformers does it only if told so, and as one graph."""
    config = CompileConfig(fullgraph=True, backend=backend, mode=None)
    config._compile_all_devices = True
    return config


def assert_compiled_gives_the_same(model, source: torch.Tensor, backend: str) -> None:
    mask = torch.ones_like(source)
    mask[1, 4:] = 0
    prompt = {"decoder_input_ids": LEFT_PADDED, "decoder_attention_mask": PROMPT_MASK}
    for arguments in ({}, {"num_beams": 3}, prompt):
        inputs = {"attention_mask": mask, "num_beams": 1, "max_new_tokens": 8, **arguments}
        expected = model.generate(source, **inputs)
        found = model.generate(source, **inputs, cache_implementation="static", compile_config=compiled(backend))
        assert torch.equal(found, expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1


def test_a_compiled_step_gives_the_same(taught, source) -> None:
    torch._dynamo.utils.counters.clear()
    assert_compiled_gives_the_same(taught, source, "eager")


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")),
    reason="the inductor compiles for the CPU with a C++ compiler, and there is none here",
)
def test_a_step_compiled_by_the_inductor_gives_the_same(taught, source) -> None:
    torch._dynamo.utils.counters.clear()
    assert_compiled_gives_the_same(taught, source, "inductor")
