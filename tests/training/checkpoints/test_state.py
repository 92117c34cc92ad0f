"""The state of a training, saved and restored."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

from sineformer.training.checkpoints.checkpoint import BestCheckpoint, save_model
from sineformer.training.checkpoints.state import (
    TrainingState,
    best_name_of,
    random_state,
    read_state,
    set_random_state,
)
from sineformer.training.data.batching import MicroBatch, Seq2SeqCollator, encode_pairs
from sineformer.training.evaluation.scores import Scores
from sineformer.training.learning.loop import Learner, Position
from sineformer.training.learning.optimizer import build_optimizer, build_schedule
from sineformer.training.monitoring.run_log import Fill, RunLog, StepReport
from sineformer.training.system.sharding import WholeModel


def draw() -> list[Any]:
    """One number of every generator, one of a kind that leaves half of a draw behind."""
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()]


def test_every_generator_goes_on_where_it_was() -> None:
    accelerator = Accelerator(cpu=True)
    draw()
    state = json.loads(json.dumps(random_state(accelerator)))
    expected = draw(), draw()
    set_random_state(state, accelerator)
    assert (draw(), draw()) == expected


class Machine:
    """A training of a small model on fixed batches."""

    def __init__(self, folder: Path, model: Any, pairs: Any) -> None:
        accelerator = Accelerator(cpu=True)
        model.train()
        optimizer = accelerator.prepare(build_optimizer(model, 0.01))
        schedule = build_schedule(optimizer, warmup_steps=2)
        self.learner = Learner(accelerator, model, optimizer, schedule)
        best, log = BestCheckpoint(folder, "bleu"), RunLog(accelerator, folder, 3, 10, None)
        self.state = TrainingState(WholeModel(model, accelerator), self.learner, Position(), best, log)
        self.pairs = pairs

    def step(self) -> StepReport:
        inputs = Seq2SeqCollator(0)([self.pairs[index] for index in range(8)])
        report = self.learner.update([MicroBatch(list(range(8)), inputs)], int((inputs["labels"] != -100).sum()))
        self.state.log.step(self.learner.step, 0.1, report, Fill(9, 10), 0.5, 1.0)
        return report


@pytest.fixture
def machines(tmp_path: Path, small_model: Any, small_text: Any, small_tokenizers: Any, report: Any) -> list[Machine]:
    """Two alike, with a log in common."""
    pairs = encode_pairs(small_text, small_tokenizers, 100, report)
    return [Machine(tmp_path, model, pairs) for model in (copy.deepcopy(small_model), small_model)]


def test_what_is_restored_goes_on_bit_for_bit(machines: list[Machine], tmp_path: Path, small_tokenizers: Any) -> None:
    first, second = machines
    for _ in range(4):
        first.step()
    first.state.position.epoch, first.state.position.steps, first.state.position.evaluated_at = 2, 5, 3
    first.state.best.judge(3, Scores(1.0, {"bleu": 0.1 + 0.2, "chrf": 3.0}, {"bleu": "b", "chrf": "c"}, 4, 1))
    first.learner.skips.in_a_row, first.learner.skips.total, first.learner.accumulation.parts = 2, 7, 4
    folder = tmp_path / "checkpoint"
    save_model(folder, first.state.whole.model, small_tokenizers)
    first.state.save(folder, first.state.moments(), [random_state(first.learner.accelerator)], {"of": "this run"})
    kept = (tmp_path / "metrics.jsonl").read_text()
    expected = [first.step() for _ in range(3)]

    second.state.restore(folder)
    assert (tmp_path / "metrics.jsonl").read_text() == kept, "what came after the checkpoint is cut off"
    assert second.state.position == Position(2, 5, 3)
    assert second.state.best == first.state.best
    assert second.learner.step == 4
    assert (second.learner.skips.in_a_row, second.learner.skips.total) == (2, 7)
    assert second.learner.accumulation.parts == 4
    assert second.learner.schedule.get_last_lr() != [0.01], "the schedule goes on too"
    assert [second.step() for _ in range(3)] == expected
    weights = first.state.whole.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in second.state.whole.model.state_dict().items())
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 6
    assert read_state(folder)["origin"] == {"of": "this run"}
    assert best_name_of(folder) == "best-3"


def test_another_number_of_processes_begins_with_other_random_numbers_than_the_run_did(
    machines: list[Machine], tmp_path: Path, small_tokenizers: Any
) -> None:
    first, second = machines
    first.step()
    folder = tmp_path / "checkpoint"
    save_model(folder, first.state.whole.model, small_tokenizers)
    first.state.save(folder, first.state.moments(), [random_state(first.learner.accelerator)] * 2, {})
    second.state.restore(folder)
    drawn = draw()
    second.state.restore(folder)
    assert draw() == drawn


def test_a_log_that_lost_lines_goes_on_with_a_warning(
    machines: list[Machine], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = machines[0].state.log
    log.restore({"bytes": 100, "seconds": 7.0, "seconds_training": 5.0, "sums": log.state()["sums"]}, 3)
    assert f"lines of {tmp_path / 'metrics.jsonl'} are lost: it was 100 bytes long, now 0" in capsys.readouterr().err
    assert log.seconds() >= 7


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_a_damaged_checkpoint_has_no_best_model(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "trainer_state.json").write_text(content)
    assert best_name_of(tmp_path) is None


@pytest.mark.parametrize("distributed_type", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_in_shares_no_cut_is_taken_over_since_processes_could_compute_unequal_numbers_of_parts(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch, distributed_type: DistributedType
) -> None:
    accumulation = machines[0].learner.accumulation
    accumulation.go_on_with(4)
    assert accumulation.parts == 4
    monkeypatch.setattr(Accelerator, "distributed_type", distributed_type)
    accumulation.go_on_with(4)
    assert accumulation.parts == 1
