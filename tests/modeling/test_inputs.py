"""Test that wrong input is refused with an error that names the argument and the fix."""

from __future__ import annotations

import pytest
import torch

from sineformer.modeling import compatibility

IDS = torch.tensor([[5, 6, 7]])
EMBEDS = torch.zeros(1, 3, 32)
WRONG = [
    ({}, ValueError, "`input_ids` or `inputs_embeds`; got none"),
    ({"input_ids": IDS, "inputs_embeds": EMBEDS}, ValueError, "got `input_ids` and `inputs_embeds`"),
    ({"input_ids": IDS}, ValueError, "`decoder_input_ids` or `decoder_inputs_embeds`; got none"),
    (
        {"input_ids": IDS, "decoder_input_ids": IDS, "decoder_inputs_embeds": EMBEDS},
        ValueError,
        "got `decoder_input_ids` and `decoder_inputs_embeds`",
    ),
    (
        {"input_ids": IDS, "encoder_outputs": (EMBEDS,), "decoder_input_ids": IDS},
        ValueError,
        "got `input_ids` and `encoder_outputs`",
    ),
    ({"input_ids": IDS[0], "decoder_input_ids": IDS}, ValueError, r"`input_ids` has shape \[3\]"),
    ({"input_ids": IDS.float(), "decoder_input_ids": IDS}, TypeError, "torch.long"),
    ({"input_ids": IDS + 97, "decoder_input_ids": IDS}, ValueError, "`input_ids` holds token id 104.* 0 to 96"),
    ({"input_ids": IDS, "decoder_input_ids": IDS - 6}, ValueError, "`decoder_input_ids` holds token id -1"),
    (
        {"input_ids": IDS, "attention_mask": torch.ones(1, 4), "decoder_input_ids": IDS},
        ValueError,
        r"`attention_mask` has shape \[1, 4\]; it must be \[batch, 3\]",
    ),
    (
        {"input_ids": IDS, "attention_mask": torch.ones(1, 3, 3), "decoder_input_ids": IDS},
        ValueError,
        r"`attention_mask` has shape \[1, 3, 3\]",
    ),
    (
        {"input_ids": IDS, "decoder_input_ids": IDS, "decoder_attention_mask": torch.ones(1, 2)},
        ValueError,
        r"`decoder_attention_mask` has shape \[1, 2\]; it must be \[batch, 3\]",
    ),
    (
        {"encoder_outputs": (EMBEDS,), "attention_mask": torch.ones(1, 5), "decoder_input_ids": IDS},
        ValueError,
        r"of the source.* \[batch, 3\]",
    ),
    ({"input_ids": IDS, "labels": IDS + 97}, ValueError, "holds token id 104"),
    ({"input_ids": IDS, "labels": IDS[0]}, ValueError, r"`labels` has shape \[3\]"),
    ({"input_ids": IDS, "decoder_input_ids": IDS, "labels": IDS[:, :2]}, ValueError, "`labels` has shape"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_input_is_refused(make_model, arguments, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_model()(**arguments)


@pytest.mark.parametrize("field", ["decoder_start_token_id", "pad_token_id"])
def test_labels_without_the_ids_to_shift_them_are_refused(make_model, field: str) -> None:
    with pytest.raises(ValueError, match=rf"`config.{field}` is None.*decoder_input_ids"):
        make_model(**{field: None})(input_ids=IDS, labels=IDS)


def test_the_decoder_needs_the_output_of_the_encoder(make_model) -> None:
    with pytest.raises(ValueError, match="encoder_hidden_states"):
        make_model().model.decoder(IDS)


def test_labels_are_shifted_right_into_decoder_inputs(make_model) -> None:
    labels = torch.tensor([[5, 6, 3], [7, 3, -100]])
    assert make_model().prepare_decoder_input_ids_from_labels(labels).tolist() == [[2, 5, 6], [2, 7, 3]]


def test_embeddings_may_be_given_in_place_of_ids(make_model, source, target) -> None:
    model = make_model()
    expected = model(input_ids=source, decoder_input_ids=target).logits
    output = model(
        inputs_embeds=model.get_input_embeddings()(source),
        decoder_inputs_embeds=model.get_input_embeddings()(target),
    ).logits
    torch.testing.assert_close(output, expected)


def test_tuples_are_returned_on_request(make_model, source, target) -> None:
    model = make_model()
    expected = model(input_ids=source, labels=target)
    loss, logits, *_ = model(input_ids=source, labels=target, return_dict=False)
    assert torch.equal(loss, expected.loss)
    assert torch.equal(logits, expected.logits)
    model.config.return_dict = False
    assert torch.equal(model(input_ids=source, labels=target)[0], expected.loss)


@pytest.fixture
def warnings_once(monkeypatch) -> list[str]:
    """Return the list of warnings of the model."""
    said: list[str] = []
    monkeypatch.setattr(compatibility.logger, "warning_once", said.append)
    return said


@pytest.mark.parametrize(
    ("name", "near"), [("atention_mask", "attention_mask"), ("lables", "labels"), ("past_key_value", "past_key_values")]
)
def test_a_misspelt_argument_is_named_and_never_refused(make_model, warnings_once, name: str, near: str) -> None:
    model = make_model()
    expected = model(input_ids=IDS, decoder_input_ids=IDS).logits
    assert torch.equal(model(input_ids=IDS, decoder_input_ids=IDS, **{name: IDS}).logits, expected)
    assert set(warnings_once) == {f"`{name}` is ignored: no argument has this name. Did you mean `{near}`?"}


@pytest.mark.parametrize("value", [None, False, True])
def test_a_misspelt_argument_of_generate_is_named_even_where_it_asks_for_nothing(
    make_model, warnings_once, value: bool | None
) -> None:
    make_model().generate(IDS, max_new_tokens=1, early_stoping=value, attention_mask=torch.ones_like(IDS))
    assert set(warnings_once) == {
        "`early_stoping` is ignored: no argument has this name. Did you mean `early_stopping`?"
    }


@pytest.mark.parametrize("module", ["forward", "generate", "encoder", "decoder", "model"])
def test_an_argument_of_a_later_release_is_not_misspelt(make_model, warnings_once, module: str) -> None:
    model = make_model()
    later = {"something_that_comes_later": True}
    calls = {
        "forward": lambda: model(input_ids=IDS, decoder_input_ids=IDS, **later),
        "generate": lambda: model.generate(IDS, max_new_tokens=2, **later),
        "encoder": lambda: model.model.encoder(IDS, **later),
        "decoder": lambda: model.model.decoder(IDS, encoder_hidden_states=EMBEDS, **later),
        "model": lambda: model.model(input_ids=IDS, decoder_input_ids=IDS, **later),
    }
    calls[module]()
    assert warnings_once == []


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (IDS.tolist(), TypeError, r"a list as its source; give a tensor .*tokenizer\(texts"),
        (IDS.numpy(), TypeError, "a ndarray as its source"),
        (IDS[0], ValueError, r"has shape \[3\].*unsqueeze\(0\)"),
        (IDS.float(), TypeError, "torch.long"),
    ],
    ids=["list", "array", "one dimension", "floats"],
)
@pytest.mark.parametrize("keyword", ["inputs", "input_ids"])
def test_generate_refuses_a_wrong_source(make_model, source, error, message: str, keyword: str) -> None:
    with pytest.raises(error, match=message):
        make_model().generate(**{keyword: source})


def test_labels_removed_by_a_trainer_are_explained(make_model) -> None:
    with pytest.raises(ValueError, match=r"label_smoothing_factor.*DataCollatorForSeq2Seq\(tokenizer, model=model\)"):
        make_model().train()(input_ids=IDS)
