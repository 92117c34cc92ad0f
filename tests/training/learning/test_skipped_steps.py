"""Test steps whose loss or gradient is not finite: state, counts, and when they end the run."""

import copy
import itertools
import json
import math
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer

from sineformer.training.learning.learner import Learner, NonFiniteError, Skips
from sineformer.training.learning.loop import Limits
from sineformer.training.learning.optimizer import build_optimizer
from sineformer.training.monitoring.run_log import Fill, RunLog, Skipped, StepReport
from sineformer.training.train import main


def spoil(learner: Learner, steps: set[int], examples: set[int] | None = None) -> None:
    """Make the loss of these steps infinite, in the micro-batches with these examples, or in all."""
    add_gradient = learner.add_gradient

    def add_gradient_with_overflow(batch: Any, target_tokens: int) -> torch.Tensor:
        loss = add_gradient(batch, target_tokens)
        harmful = learner.step + 1 in steps and (examples is None or not examples.isdisjoint(batch.examples))
        return loss * math.inf if harmful else loss

    learner.add_gradient = add_gradient_with_overflow  # type: ignore[method-assign]


def lines_of(folder: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def test_a_skipped_step_leaves_weights_and_moments_and_counts_as_a_step(
    small_model: Any, make_learner: Any, make_batches: Any, take_step: Any
) -> None:
    learner = make_learner(small_model, name_example=lambda index: f"train.txt:{index + 1}")
    spoil(learner, {2}, {3})
    batches = make_batches([2, 2])
    assert take_step(learner, batches).skipped is None
    weights, rate = copy.deepcopy(small_model.state_dict()), learner.schedule.get_last_lr()
    moments = copy.deepcopy(learner.optimizer.state_dict()["state"])
    skipped = take_step(learner, batches).skipped
    assert skipped == (math.inf, skipped.gradient_norm, ["train.txt:3", "train.txt:4"], 1, 1, True)
    assert "2 examples are in the affected batches: train.txt:3, train.txt:4" in str(skipped)
    assert all(torch.equal(value, weights[name]) for name, value in small_model.state_dict().items())
    for state, earlier in zip(learner.optimizer.state_dict()["state"].values(), moments.values(), strict=True):
        assert all(torch.equal(state[name], earlier[name]) for name in ("step", "exp_avg", "exp_avg_sq"))
    assert learner.step == 2
    assert learner.schedule.get_last_lr() != rate


def test_after_a_skipped_step_training_continues_as_without_its_batches(
    small_model: Any, make_learner: Any, make_batches: Any, take_step: Any
) -> None:
    weights = []
    for spoilt in ({2}, set()):
        model = copy.deepcopy(small_model)
        learner = make_learner(model)
        spoil(learner, spoilt)
        take_step(learner, make_batches([4]))
        if spoilt:
            take_step(learner, make_batches([7, 1]))
        else:
            learner.schedule.step()
        take_step(learner, make_batches([3, 3]))
        weights.append(model.state_dict())
    assert learner.skips.in_a_row == 0
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_a_non_finite_gradient_names_all_batches_of_its_step(
    small_model: Any, make_learner: Any, make_batches: Any, take_step: Any
) -> None:
    learner = make_learner(small_model)
    small_model.lm_head.weight.register_hook(lambda gradient: gradient * math.nan)
    skipped = take_step(learner, make_batches([2, 1])).skipped
    assert math.isfinite(skipped.loss)
    assert math.isnan(skipped.gradient_norm)
    assert skipped.examples == ["0", "1", "2"]


@pytest.mark.parametrize(("limit", "last"), [(0, 3), (2, 5)])
def test_one_skipped_step_too_many_ends_the_run_and_the_log_names_all_examples(
    tmp_path: Path, small_model: Any, make_trainer: Any, capsys: pytest.CaptureFixture[str], limit: int, last: int
) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=9), skips=Skips(limit), name_example=lambda i: f"a.en:{i}")
    spoil(trainer.learner, {1, 3, 4, 5, 6} if limit else {3})
    before = 1 if limit else 0
    with pytest.raises(NonFiniteError) as caught:
        trainer.run(lambda step: True)
    message = str(caught.value)
    assert message.startswith(f"step {last}: the loss is inf, the gradient norm ")
    assert f"The last {limit + 1} steps were all skipped (max_skipped_steps: {limit})" in message
    assert f"The lines of kind 'skipped' in {tmp_path / 'metrics.jsonl'} name their examples" in message
    lines = lines_of(tmp_path, "skipped")
    assert [line["step"] for line in lines[before:]] == list(range(3, last + 1))
    assert [line["in_a_row"] for line in lines[before:]] == list(range(1, limit + 2))
    assert lines[-1]["total"] == before + limit + 1
    assert float(lines[-1]["loss"]) == math.inf
    trainer.batches.set_epoch(0)
    batches = [batch.examples for batch in trainer.batches][2 * last - 2 : 2 * last]
    assert lines[-1]["examples"] == [f"a.en:{index}" for index in sorted(itertools.chain(*batches))]
    warnings = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning")]
    assert warnings[-1].startswith(f"warning: step {last} was skipped, {before + limit + 1} so far: the loss is inf")


def test_weights_that_are_not_finite_end_the_run_at_once(tmp_path: Path, small_model: Any, make_trainer: Any) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=9))
    with torch.no_grad():
        small_model.model.encoder.layers[0].fc1.weight[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match=r"^step 1: .* The weights are not finite: the step before was too large"):
        trainer.run(lambda step: True)
    assert len(lines_of(tmp_path, "skipped")) == 1


def scale_losses(learner: Learner, model: Any, monkeypatch: pytest.MonkeyPatch) -> torch.amp.GradScaler:
    """Give the learner the loss scaler of fp16, which Accelerate makes only on a GPU."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    monkeypatch.setattr(Accelerator, "mixed_precision", "fp16")
    learner.accelerator.scaler, learner.accelerator.native_amp = scaler, True
    learner.optimizer = AcceleratedOptimizer(build_optimizer(model, 0.01), scaler=scaler)
    learner.accelerator._optimizers = [learner.optimizer]
    return scaler


def test_gradients_that_overflow_whatever_the_scale_of_fp16_end_the_run(
    small_model: Any, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=9), skips=Skips(limit=2))
    scale_losses(trainer.learner, small_model, monkeypatch)
    small_model.lm_head.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(NonFiniteError, match=r"^step 5: .* The last 3 steps were all skipped"):
        trainer.run(lambda step: True)


def test_the_loss_scaler_of_fp16_handles_gradients_and_works_after_a_skipped_step(
    small_model: Any, make_learner: Any, make_batches: Any, take_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner(small_model)
    scaler = scale_losses(learner, small_model, monkeypatch)
    batches = make_batches([2])
    hook = small_model.lm_head.weight.register_hook(lambda gradient: gradient * math.inf)
    assert take_step(learner, batches).skipped is None
    assert scaler.get_scale() == 1.0
    hook.remove()
    spoil(learner, {2})
    assert take_step(learner, batches).skipped is not None
    before = copy.deepcopy(small_model.state_dict())
    assert take_step(learner, batches).skipped is None
    assert any(not torch.equal(value, before[name]) for name, value in small_model.state_dict().items())


def test_an_infinite_loss_counts_whatever_the_scale_of_fp16_and_an_overflow_after_it_is_no_step_taken(
    small_model: Any, make_learner: Any, make_batches: Any, take_step: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = make_learner(small_model)
    scaler = scale_losses(learner, small_model, monkeypatch)
    small_model.lm_head.weight.register_hook(lambda gradient: gradient * math.inf)
    spoil(learner, {1})
    batches = make_batches([2])
    assert take_step(learner, batches).skipped.in_a_row == 1
    assert scaler.get_scale() == 1.0
    assert take_step(learner, batches).skipped is None
    assert learner.skips == Skips(in_a_row=1, total=1)


def test_a_long_list_of_examples_is_shortened_in_messages() -> None:
    skipped = Skipped(math.nan, math.nan, [f"t:{line}" for line in range(12)], 1, 1, True)
    assert str(skipped).endswith(
        "12 examples are in the affected batches: " + ", ".join(skipped.examples[:10]) + ", ..."
    )
    assert not str(skipped._replace(examples=skipped.examples[:10])).endswith("...")


SETTINGS = {
    "dataset": "embedded",
    **{"train_size": "300", "validation_size": "6", "test_size": "5", "vocab_size": "400", "d_model": "16"},
    **{"encoder_layers": "1", "decoder_layers": "1", "encoder_attention_heads": "2", "decoder_attention_heads": "2"},
    **{"encoder_ffn_dim": "16", "decoder_ffn_dim": "16", "max_position_embeddings": "32", "max_length": "32"},
    # Many sentences of the task are longer.
    "max_unusable_share": "0.6",
    **{"max_tokens": "200", "warmup_steps": "4", "max_steps": "8", "max_skipped_steps": "2", "eval_steps": "8"},
    **{"best_metric": "loss", "logging_steps": "3", "save_steps": "100", "num_beams": "1", "use_cpu": "true"},
}


def train(folder: Path, *flags: str, stop_at: int | None = None) -> int:
    """Train with a loss that is infinite in steps 2, 3, 5 and 7; SIGTERM comes in the step `stop_at`."""
    arguments = [word for key, value in SETTINGS.items() for word in (f"--{key}", value)]
    log_step, make = RunLog.step, Learner.__post_init__

    def step_with_signal(self: RunLog, number: int, *rest: Any) -> None:
        if number == stop_at:
            signal.raise_signal(signal.SIGTERM)
        log_step(self, number, *rest)

    def make_spoilt(self: Learner) -> None:
        make(self)
        spoil(self, {2, 3, 5, 7})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunLog, "step", step_with_signal)
        patch.setattr(Learner, "__post_init__", make_spoilt)
        return main([*arguments, "--output_dir", str(folder), *flags])


def test_a_run_stopped_between_skipped_steps_resumes_to_the_same_result(tmp_path: Path) -> None:
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    assert train(undisturbed) == 0
    assert train(stopped, stop_at=2) == 75
    assert train(stopped, "--resume", stop_at=5) == 75
    assert train(stopped, "--resume") == 0
    assert (stopped / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    for kind in ("skipped", "train", "validation"):
        timing = ("seconds", "tokens_per_second")
        lines = [
            [{key: value for key, value in line.items() if key not in timing} for line in lines_of(folder, kind)]
            for folder in (undisturbed, stopped)
        ]
        assert lines[0] == lines[1]
    assert [(line["in_a_row"], line["total"]) for line in lines_of(stopped, "skipped")] == [
        (1, 1),
        (2, 2),
        (1, 3),
        (1, 4),
    ]


def test_a_report_summarises_the_steps_taken(tmp_path: Path) -> None:
    log = RunLog(Accelerator(cpu=True), tmp_path, logging_steps=2, planned_steps=None, max_minutes=1.0)
    skipped = Skipped(math.nan, math.nan, ["a:1"], 1, 1, True)
    for number, loss in enumerate((4.0, math.nan, math.nan, math.nan, math.nan, 2.0), start=1):
        report = StepReport(loss, loss / 2, 100, skipped if math.isnan(loss) else None)
        log.step(number, 0.5, report, Fill(80, 100), 0.1, seconds=1.0)
    reports = [(line["step"], line["loss"], line["gradient_norm"]) for line in lines_of(tmp_path, "train")]
    assert reports == [(2, 4.0, 2.0), (6, 2.0, 1.0)], "of steps 3 and 4 nothing is left to report"
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_gradient_that_overflows_in_fp16_leaves_valid_json(tmp_path: Path) -> None:
    log = RunLog(Accelerator(cpu=True), tmp_path, logging_steps=1, planned_steps=None, max_minutes=1.0)
    log.step(1, 0.5, StepReport(2.0, math.inf, 100), Fill(80, 100), 0.1, seconds=1.0)
    assert "Infinity" not in (tmp_path / "metrics.jsonl").read_text()
    (line,) = lines_of(tmp_path, "train")
    assert float(line["gradient_norm"]) == math.inf
