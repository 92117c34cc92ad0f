"""On copied weights `generate` gives what MarianMTModel gives: tokens, beams, scores and everything recorded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessor, MarianConfig, MarianMTModel
from transformers.generation import GenerationMixin

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
EVERYTHING = {
    "return_dict_in_generate": True,
    "output_scores": True,
    "output_logits": True,
    "output_attentions": True,
    "output_hidden_states": True,
}
TENSORS = (
    *("sequences_scores", "scores", "logits", "encoder_hidden_states", "encoder_attentions"),
    *("decoder_hidden_states", "decoder_attentions", "cross_attentions"),
)
BEAMS = [
    {"num_beams": beams, "early_stopping": stop, "length_penalty": penalty}
    for beams, stop in ((2, False), (4, True), (4, False), (4, "never"))
    for penalty in (0.0, 1.0, 2.0)
]
PROCESSING = [
    {"no_repeat_ngram_size": 1},
    {"bad_words_ids": [[81], [6, 91]]},
    {"forced_bos_token_id": 11},
    {"forced_eos_token_id": 3, "max_new_tokens": 4},
    {"repetition_penalty": 1.7},
    {"encoder_repetition_penalty": 1.5},
    {"encoder_no_repeat_ngram_size": 2},
    {"min_length": 9},
    {"min_new_tokens": 9},
    {"sequence_bias": [[[81], -9.0], [[6, 91], -9.0]]},
    {"suppress_tokens": list(range(4, 50))},
    {"begin_suppress_tokens": list(range(4, 60))},
    {"exponential_decay_length_penalty": (3, 1.2)},
    {"renormalize_logits": True},
    {"remove_invalid_values": True},
]
SAMPLING = [
    {"temperature": 0.7},
    {"top_k": 5, "temperature": 1.5},
    {"top_p": 0.6, "top_k": 0},
    {"min_p": 0.05, "top_k": 0},
    {"typical_p": 0.8, "top_k": 0},
    {"num_return_sequences": 3},
    {"num_beams": 3, "num_return_sequences": 2},
]


def padded(source: torch.Tensor) -> dict[str, torch.Tensor]:
    """The source with a padded second sentence, and its mask."""
    mask = torch.ones_like(source)
    mask[1, 4:] = 0
    return {"input_ids": source * mask, "attention_mask": mask}


def flat(recorded: Any) -> list[torch.Tensor]:
    """All tensors of a nested tuple, in order."""
    if recorded is None or isinstance(recorded, torch.Tensor):
        return [] if recorded is None else [recorded]
    return [tensor for each in recorded for tensor in flat(each)]


def without_padding(tensor: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What the encoder computes `[B, S, D]` or attends to `[B, H, S, S]`, with zeros where its input is padding:
    there the positions of the two models differ, and nobody looks."""
    return tensor * mask.view(len(mask), *[1] * (tensor.ndim - 3), -1, 1)


def assert_same(pair: tuple[Any, Any], inputs: dict[str, Any], **arguments: Any) -> Any:
    """Both models generate the same; returns what ours generated."""
    found = []
    for model in pair:
        torch.manual_seed(7)
        found.append(model.generate(**inputs, **{"max_new_tokens": 12, **EVERYTHING, **arguments}))
    theirs, ours = found
    assert torch.equal(ours.sequences, theirs.sequences)
    assert type(ours) is type(theirs)
    assert ours.keys() == theirs.keys()
    if "beam_indices" in ours:
        assert torch.equal(ours.beam_indices, theirs.beam_indices)
    for name in TENSORS:
        tensors, expected = flat(ours.get(name)), flat(theirs.get(name))
        if name.startswith("encoder_"):
            tensors, expected = (
                [without_padding(each, inputs["attention_mask"]) for each in some] for some in (tensors, expected)
            )
        torch.testing.assert_close(tensors, expected, **TOLERANCE, msg=lambda text, name=name: f"{name}: {text}")
        assert [tensor.shape for tensor in tensors] == [tensor.shape for tensor in expected]
    return ours


@pytest.fixture
def pair(marian_and_ours, taught_weights) -> tuple[Any, Any]:
    theirs, ours = marian_and_ours(attn_implementation="eager")
    ours.load_state_dict(taught_weights)
    assert not theirs.load_state_dict(taught_weights, strict=False).unexpected_keys
    return theirs, ours


@pytest.mark.parametrize("arguments", [{}, {"use_cache": False}, {"max_new_tokens": 30}, {"max_length": 5}])
def test_greedy_search(pair, source, arguments) -> None:
    output = assert_same(pair, padded(source), **arguments)
    assert len(output.decoder_attentions) == output.sequences.shape[1] - 1
    assert len(output.decoder_hidden_states[0]) == 4
    assert len(flat(output.scores)) == len(flat(output.logits)) == output.sequences.shape[1] - 1


@pytest.mark.parametrize("arguments", BEAMS)
def test_beam_search(pair, source, arguments) -> None:
    assert_same(pair, padded(source), **arguments)


@pytest.mark.parametrize("num_return_sequences", [1, 3, 5])
def test_several_beams_are_returned(pair, source, num_return_sequences: int) -> None:
    output = assert_same(pair, padded(source), num_beams=5, num_return_sequences=num_return_sequences)
    assert len(output.sequences) == 3 * num_return_sequences


@pytest.mark.parametrize("arguments", SAMPLING)
def test_sampling_with_the_same_seed(pair, source, arguments) -> None:
    assert_same(pair, padded(source), do_sample=True, **arguments)


@pytest.mark.parametrize("arguments", PROCESSING)
@pytest.mark.parametrize("num_beams", [1, 3])
def test_processing_of_scores(pair, source, arguments, num_beams: int) -> None:
    output = assert_same(pair, padded(source), num_beams=num_beams, **arguments)
    if not {"renormalize_logits", "remove_invalid_values", "encoder_no_repeat_ngram_size"} & arguments.keys():
        unprocessed = [logits.log_softmax(dim=-1) if num_beams > 1 else logits for logits in output.logits]
        same = [torch.equal(*each) for each in zip(output.scores, unprocessed, strict=True)]
        assert not all(same), "the argument changes nothing here, so this shows nothing"


class OnlyEven(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        odd = torch.arange(scores.shape[1]) % 2 == 1
        return scores.masked_fill(odd, float("-inf"))


@pytest.mark.parametrize("num_beams", [1, 3])
def test_processors_and_prefixes_of_the_caller(pair, source, num_beams: int) -> None:
    output = assert_same(pair, padded(source), num_beams=num_beams, logits_processor=[OnlyEven()])
    assert not (output.sequences % 2 == 1).any() or num_beams > 1  # beam search pads with the end token, 3

    def allowed(batch_id: int, input_ids: torch.Tensor) -> list[int]:
        return [10 + batch_id, 20 + len(input_ids)]

    output = assert_same(pair, padded(source), num_beams=num_beams, prefix_allowed_tokens_fn=allowed)
    assert set(output.sequences[2, 1:].tolist()) <= {12, *range(21, 34)}


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_prompt_of_the_decoder(pair, source, num_beams: int) -> None:
    prompt = torch.tensor([[2, 9, 10, 11]]).expand(3, -1)
    output = assert_same(pair, padded(source), num_beams=num_beams, decoder_input_ids=prompt)
    assert torch.equal(output.sequences[:, :4], prompt)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_encoder_outputs_and_embeddings_in_place_of_tokens(pair, source, num_beams: int) -> None:
    inputs = padded(source)
    expected = assert_same(pair, inputs, num_beams=num_beams)
    arguments = {"num_beams": num_beams, "max_new_tokens": 12, "attention_mask": inputs["attention_mask"]}
    # Marian takes embeddings that are scaled already; ours as the embedding layer returns them.
    for model, scale in zip(pair, (32**0.5, 1.0), strict=True):
        embeds = model.get_input_embeddings()(inputs["input_ids"]) * scale
        assert torch.equal(model.generate(inputs_embeds=embeds, **arguments), expected.sequences)
        encoded = model.get_encoder()(**inputs)
        assert torch.equal(model.generate(encoder_outputs=encoded, **arguments), expected.sequences)


def test_probabilities_of_the_tokens_of_a_beam(pair, source) -> None:
    found = []
    for model in pair:
        out = model.generate(
            source, num_beams=3, max_new_tokens=9, length_penalty=0.0, return_dict_in_generate=True, output_scores=True
        )
        found.append(model.compute_transition_scores(out.sequences, out.scores, out.beam_indices))
        torch.testing.assert_close(found[-1].sum(dim=1), out.sequences_scores, **TOLERANCE)
    torch.testing.assert_close(*found, **TOLERANCE)


def test_a_search_of_the_callers_own(pair, source) -> None:
    def first_token_only(model: Any, input_ids: torch.Tensor, **arguments: Any) -> torch.Tensor:
        inputs = {name: arguments[name] for name in ("encoder_outputs", "attention_mask")}
        logits = model(**inputs, decoder_input_ids=input_ids).logits
        return logits[:, -1].argmax(dim=-1)

    theirs, ours = (model.generate(**padded(source), custom_generate=first_token_only) for model in pair)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
        {"penalty_alpha": 0.5, "top_k": 3},
        {"num_beams": 2, "force_words_ids": [[5]]},
        {"cache_implementation": "quantized"},
    ],
)
def test_what_transformers_keeps_elsewhere_is_refused_as_for_marian(pair, source, arguments) -> None:
    """Group beam search, contrastive search and constraints are code on the Hub since transformers 5."""
    messages = []
    for model in pair:
        with pytest.raises(
            ValueError, match=r"requires `trust_remote_code=True`|does not support the quantized"
        ) as error:
            model.generate(source, max_new_tokens=5, **arguments)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def assistants(theirs: MarianMTModel, make_model: Any) -> tuple[MarianMTModel, Any]:
    fields = {name: value for name, value in theirs.config.to_dict().items() if name not in ("decoder_layers",)}
    return MarianMTModel(MarianConfig(**{**fields, "decoder_layers": 1})).eval(), make_model(decoder_layers=1)


def test_drafts_of_a_smaller_model_change_nothing(pair, make_model, source) -> None:
    for model, assistant in zip(pair, assistants(pair[0], make_model), strict=True):
        expected = model.generate(source[:1], max_new_tokens=12)
        assert torch.equal(model.generate(source[:1], max_new_tokens=12, assistant_model=assistant), expected)
        assert torch.equal(model.generate(source[:1], max_new_tokens=12, assistant_model=model), expected)


def test_drafts_from_the_source_change_nothing(pair, source) -> None:
    for model in pair:
        for row in source.split(1):
            expected = model.generate(row, max_new_tokens=20)
            assert torch.equal(model.generate(row, max_new_tokens=20, prompt_lookup_num_tokens=3), expected)


def test_drafts_are_refused_for_a_batch_and_unused_by_beams_as_for_marian(pair, make_model, source) -> None:
    for model, assistant in zip(pair, assistants(pair[0], make_model), strict=True):
        for arguments in ({"assistant_model": assistant}, {"prompt_lookup_num_tokens": 3}):
            with pytest.raises(ValueError, match="only supported for batch_size = 1"):
                model.generate(source, max_new_tokens=5, **arguments)
        expected = model.generate(source, max_new_tokens=5, num_beams=2)
        assert torch.equal(model.generate(source, max_new_tokens=5, num_beams=2, assistant_model=assistant), expected)


def test_every_argument_of_generate_can_be_given_by_position(make_model, source) -> None:
    model = make_model()
    config = GenerationConfig(num_beams=1, max_new_tokens=4)
    arguments = (source, config, [OnlyEven()], None, lambda *_: [7, 8])
    output = model.generate(*arguments)
    assert torch.equal(output, GenerationMixin.generate(model, *arguments))
    assert (output[:, 1:] == 8).all()
