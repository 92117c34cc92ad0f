import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sineformer.training.data.batching import MicroBatch, Seq2SeqCollator
from sineformer.training.data.encoding import EncodedPairs
from sineformer.training.learning.loop import Limits, Position, Trainer, grouped
from sineformer.training.system.signals import Stopped

MakeTrainer = Callable[..., Trainer]


def test_uneven_micro_batches_equal_one_batch(
    small_model: Any, make_learner: Any, make_batches: Any, take_step: Any
) -> None:
    reports, weights = [], []
    for sizes in ([12], [1, 8, 3]):
        model = copy.deepcopy(small_model)
        learner = make_learner(model, label_smoothing=0.1)
        reports.append([take_step(learner, make_batches(sizes)) for _ in range(3)])
        weights.append(model.state_dict())
    for whole, parts in zip(*reports, strict=True):
        assert parts.loss == pytest.approx(whole.loss, rel=1e-5)
        assert parts.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-4)
    # A bias of the keys cannot change a softmax. Its gradient is rounding, which Adam blows up to steps of full size.
    for name in [name for name in weights[0] if not name.endswith("k_proj.bias")]:
        torch.testing.assert_close(weights[0][name], weights[1][name], rtol=1e-5, atol=1e-5)


def test_the_reported_loss_is_the_smoothed_mean_over_the_target_tokens(
    small_model: Any, make_learner: Any, make_batches: Any, tokens_of: Any
) -> None:
    batches = make_batches([3, 5])
    losses = []
    with torch.no_grad():
        for batch in batches:
            logits = small_model(**batch.inputs).logits
            labels = batch.inputs["labels"]
            losses.append(
                torch.nn.functional.cross_entropy(
                    logits.transpose(1, 2), labels, label_smoothing=0.1, reduction="sum"
                ).item()
            )
    report = make_learner(small_model, label_smoothing=0.1).update(batches, tokens_of(batches))
    assert report.loss == pytest.approx(sum(losses) / tokens_of(batches), rel=1e-5)


def test_gradients_are_clipped_to_the_norm_and_reported_unclipped(
    small_model: Any, make_learner: Any, make_batches: Any, take_step: Any
) -> None:
    norms = []
    learner = make_learner(small_model, max_grad_norm=0.01)
    step = learner.optimizer.step

    def look_then_step() -> None:
        norms.append(torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in small_model.parameters()])).item())
        step()

    learner.optimizer.step = look_then_step
    report = take_step(learner, make_batches([4]))
    assert norms[0] == pytest.approx(0.01, rel=1e-3)
    assert report.gradient_norm > 0.1


def test_all_groups_but_the_last_are_full() -> None:
    batches = [MicroBatch([index], {}) for index in range(5)]
    assert [[batch.examples[0] for batch in group] for group in grouped(batches, 2)] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(max_steps=5, eval_steps=2), [2, 4, 5]),
        (Limits(max_steps=4, eval_steps=2), [2, 4]),
        (Limits(max_steps=3), [3]),
        (Limits(num_epochs=2, eval_steps=10**6), ["all"]),
    ],
)
def test_evaluations_come_when_due_and_once_at_the_end(
    small_model: Any, make_trainer: MakeTrainer, limits: Limits, expected: list[Any]
) -> None:
    trainer = make_trainer(small_model, limits)
    seen: list[Any] = []
    trainer.run(lambda step: seen.append(step) or True)  # type: ignore[func-returns-value]
    if expected == ["all"]:
        expected = [trainer.learner.step]
        assert trainer.learner.step >= 4
    assert seen == expected
    assert trainer.learner.step == expected[-1]


def test_without_eval_steps_every_epoch_is_evaluated_at_its_end(small_model: Any, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(small_model, Limits(num_epochs=3))
    ends = []
    for epoch in range(3):
        trainer.batches.set_epoch(epoch)
        ends.append(trainer.batches.steps_per_epoch)
    seen: list[int] = []
    trainer.run(lambda step: seen.append(step) or True)  # type: ignore[func-returns-value]
    assert seen == np.cumsum(ends).tolist()


def test_training_stops_when_the_evaluation_returns_false(small_model: Any, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=9, eval_steps=2))
    trainer.run(lambda step: step < 4)
    assert trainer.learner.step == 4


def test_the_time_limit_ends_training_with_an_evaluation(small_model: Any, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=10**6, max_minutes=0.005))
    seen: list[int] = []
    trainer.run(lambda step: seen.append(step) or True)  # type: ignore[func-returns-value]
    assert seen[-1] == trainer.learner.step
    assert seen == sorted(set(seen))


def test_checkpoints_are_written_every_n_steps_and_at_the_end_after_the_evaluation(
    small_model: Any, make_trainer: MakeTrainer
) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=7, eval_steps=4, save_steps=2))
    saved: list[tuple[int, int]] = []
    trainer.run(lambda step: True, lambda: saved.append((trainer.learner.step, trainer.position.evaluated_at)))
    assert saved == [(2, -1), (4, 4), (6, 4), (7, 7)]


def test_checkpoints_are_written_every_n_minutes(small_model: Any, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=4, save_minutes=1e-9))
    saved: list[int] = []
    trainer.run(lambda step: True, lambda: saved.append(trainer.learner.step))
    assert saved == [1, 2, 3, 4]


def test_a_stop_saves_before_an_evaluation_and_resuming_begins_with_it(
    small_model: Any, make_trainer: MakeTrainer
) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=9, eval_steps=3))
    trainer.stop_asked = lambda: trainer.learner.step == 6
    seen: list[str] = []
    with pytest.raises(Stopped, match="stopped after step 6 by a signal; continue with --resume"):
        trainer.run(
            lambda step: not seen.append(f"evaluate {step}"), lambda: seen.append(f"save {trainer.learner.step}")
        )
    assert seen == ["evaluate 3", "save 6"]
    assert trainer.position.evaluated_at == 3
    trainer.stop_asked = lambda: False
    trainer.run(lambda step: not seen.append(f"evaluate {step}"))
    assert seen[2:] == ["evaluate 6", "evaluate 9"]


def test_an_evaluation_before_the_checkpoint_is_not_repeated(small_model: Any, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=6, eval_steps=2))
    trainer.learner.step, trainer.position = 4, Position(epoch=0, steps=1, evaluated_at=4)
    seen: list[int] = []
    trainer.run(lambda step: not seen.append(step))
    assert seen == [6]


def test_a_run_resumes_from_the_middle_and_from_the_end_of_an_epoch(
    small_model: Any, make_trainer: MakeTrainer
) -> None:
    def examples_of(trainer: Trainer, log: list[Any]) -> None:
        update = trainer.learner.update

        def noted(batches: list[MicroBatch], tokens: int) -> Any:
            log.append([batch.examples for batch in batches])
            return update(batches, tokens)

        trainer.learner.update = noted  # type: ignore[method-assign]

    whole: list[Any] = []
    trainer = make_trainer(copy.deepcopy(small_model), Limits(num_epochs=3))
    examples_of(trainer, whole)
    positions: list[tuple[int, Position]] = []
    trainer.limits.save_steps = 1
    trainer.run(lambda step: True, lambda: positions.append((trainer.learner.step, copy.copy(trainer.position))))
    assert len({position.epoch for _, position in positions}) == 3
    in_the_middle, at_an_end = positions[1], [each for each in positions if each[1].epoch == 0][-1]
    for step, position in (in_the_middle, at_an_end):
        rest: list[Any] = []
        again = make_trainer(copy.deepcopy(small_model), Limits(num_epochs=3))
        again.learner.step, again.position = step, copy.copy(position)
        examples_of(again, rest)
        again.run(lambda step: True)
        assert rest == whole[step:]


def test_training_memorises_the_text(small_model: Any, pairs: EncodedPairs, make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=60))
    batch = Seq2SeqCollator(0)([pairs[index] for index in range(len(pairs))])

    def loss() -> float:
        small_model.eval()
        with torch.no_grad():
            value = float(small_model(**batch).loss)
        small_model.train()
        return value

    before = loss()
    trainer.run(lambda step: True)
    assert loss() < 0.7 * before


def test_a_signal_before_the_first_step_leaves_nothing_to_save(
    small_model: Any, make_trainer: Callable[..., Trainer]
) -> None:
    trainer = make_trainer(small_model, Limits(max_steps=3, num_epochs=None))
    trainer.stop_asked = lambda: True
    with pytest.raises(Stopped, match="stopped before the first step by a signal; nothing was saved"):
        trainer.run(lambda step: True, lambda: pytest.fail("there is nothing to save"))
