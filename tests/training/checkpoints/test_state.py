"""Test saving and restoring the training state."""

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

from sineformer.training.checkpoints.checkpoint import Checkpoint, Origin
from sineformer.training.checkpoints.selection import Selection
from sineformer.training.checkpoints.state import TrainingState, random_state, set_random_state
from sineformer.training.data.batching import MicroBatch, Seq2SeqCollator
from sineformer.training.data.encoding import encode_pairs
from sineformer.training.evaluation.scores import Scores
from sineformer.training.learning.averaging import Averages
from sineformer.training.learning.learner import Learner
from sineformer.training.learning.loop import Position
from sineformer.training.learning.optimizer import build_optimizer, build_schedule
from sineformer.training.monitoring.run_log import Fill, RunLog, StepReport
from sineformer.training.preflight import read_settings
from sineformer.training.system.files import damage_of
from sineformer.training.system.output_folder import state_folder
from sineformer.training.system.sharding import FullModel

ORIGIN = Origin(processes=1, batches_per_step=2, data={"train": "this text"})


def draw() -> list[Any]:
    """Draw one number from every generator; the normal ones keep half of a draw."""
    return [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(()).item()]


def test_every_random_generator_resumes() -> None:
    accelerator = Accelerator(cpu=True)
    draw()
    state = json.loads(json.dumps(random_state(accelerator)))
    expected = draw(), draw()
    set_random_state(state, accelerator)
    assert (draw(), draw()) == expected


class Machine:
    """Training of a small model on fixed batches."""

    def __init__(self, folder: Path, model: Any, pairs: Any, tokenizers: Any) -> None:
        accelerator = Accelerator(cpu=True)
        model.train()
        optimizer = accelerator.prepare(build_optimizer(model, 0.01))
        schedule = build_schedule(optimizer, warmup_steps=2)
        self.learner = Learner(accelerator, model, optimizer, schedule)
        averages = Averages(model, ema_decay=0.9)
        averages.follow(optimizer.optimizer)
        log = RunLog(accelerator, folder, 3, 10, None)
        self.settings = read_settings(
            ["--dataset", "embedded", "--output_dir", str(folder / "run"), "--max_steps", "10"]
        )
        nothing: Any = None
        selection = Selection(self.settings, nothing, nothing, log)
        full_model = FullModel(model, accelerator)
        self.state = TrainingState(full_model, self.learner, Position(), averages, selection, log)
        self.pairs, self.tokenizers = pairs, tokenizers

    def step(self) -> StepReport:
        inputs = Seq2SeqCollator(0)([self.pairs[index] for index in range(8)])
        report = self.learner.update([MicroBatch(list(range(8)), inputs)], int((inputs["labels"] != -100).sum()))
        self.state.log.step(self.learner.step, 0.1, report, Fill(9, 10), 0.5, 1.0)
        return report

    def save(self) -> Checkpoint:
        """Write a checkpoint and read it."""
        self.state.save(self.settings, self.tokenizers, ORIGIN)
        return Checkpoint.read(state_folder(self.settings.run.folder, self.learner.step))


@pytest.fixture
def machines(tmp_path: Path, small_model: Any, small_text: Any, small_tokenizers: Any, report: Any) -> list[Machine]:
    """Return two equal trainings with a common log."""
    pairs = encode_pairs(small_text, small_tokenizers, 100, report)
    models = (copy.deepcopy(small_model), small_model)
    return [Machine(tmp_path, model, pairs, small_tokenizers) for model in models]


def test_a_restored_state_resumes_bit_for_bit(machines: list[Machine], tmp_path: Path) -> None:
    first, second = machines
    for _ in range(4):
        first.step()
    first.state.position.epoch, first.state.position.steps, first.state.position.evaluated_at = 2, 5, 3
    scores = Scores(1.0, {"bleu": 0.1 + 0.2, "chrf": 3.0}, {"bleu": "b", "chrf": "c"}, 4, 1)
    first.state.selection.best.judge(3, scores, "bleu")
    first.state.selection.base = scores
    first.learner.skips.in_a_row, first.learner.skips.total, first.learner.accumulation.splits = 2, 7, 4
    checkpoint = first.save()
    kept = (tmp_path / "metrics.jsonl").read_text()
    expected = [first.step() for _ in range(3)]

    second.state.restore(checkpoint)
    assert (tmp_path / "metrics.jsonl").read_text() == kept, "what came after the checkpoint is cut off"
    assert second.state.position == Position(2, 5, 3)
    assert second.state.selection.best == first.state.selection.best
    assert second.state.selection.base == scores
    assert second.learner.step == 4
    assert (second.learner.skips.in_a_row, second.learner.skips.total) == (2, 7)
    assert second.learner.accumulation.splits == 4
    assert second.learner.schedule.get_last_lr() != [0.01], "the schedule resumes too"
    assert [second.step() for _ in range(3)] == expected
    weights = first.state.full_model.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in second.state.full_model.model.state_dict().items())
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 6
    averages = [each.state.averages.shadow for each in machines]
    assert all(torch.equal(value, averages[1][name]) for name, value in averages[0].items())
    assert checkpoint.origin == ORIGIN
    assert checkpoint.best_folder == first.state.selection.folder == tmp_path / "run" / "checkpoints" / "best-3"


def test_a_checkpoint_holds_everything_in_one_folder(machines: list[Machine]) -> None:
    machines[0].step()
    folder = machines[0].save().folder
    assert damage_of(folder) is None
    model = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    state = {"optimizer.safetensors", "averages.safetensors", "random_states.json", "trainer_state.json"}
    files = {path.name for path in folder.iterdir() if path.suffix != ".py"}
    assert files == model | state | {"training_args.yaml", "manifest.json"}


def test_another_number_of_processes_resumes_with_other_random_numbers(
    machines: list[Machine],
) -> None:
    first, second = machines
    first.step()
    checkpoint = first.save()
    states = checkpoint.folder / "random_states.json"
    states.write_text(json.dumps(json.loads(states.read_text()) * 2))
    second.state.restore(checkpoint)
    drawn = draw()
    second.state.restore(checkpoint)
    assert draw() == drawn


def test_a_log_that_lost_lines_resumes_with_a_warning(
    machines: list[Machine], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = machines[0].state.log
    log.restore({"bytes": 100, "seconds": 7.0, "seconds_training": 5.0, "sums": log.state()["sums"]}, 3)
    assert f"{tmp_path / 'metrics.jsonl'} has lost lines: it had 100 bytes, now 0" in capsys.readouterr().err
    assert log.seconds() >= 7


@pytest.mark.parametrize("distributed_type", [DistributedType.FSDP, DistributedType.DEEPSPEED])
def test_sharded_runs_do_not_restore_splits_since_processes_could_differ_in_their_number(
    machines: list[Machine], monkeypatch: pytest.MonkeyPatch, distributed_type: DistributedType
) -> None:
    accumulation = machines[0].learner.accumulation
    accumulation.resume(4)
    assert accumulation.splits == 4
    monkeypatch.setattr(Accelerator, "distributed_type", distributed_type)
    accumulation.resume(4)
    assert accumulation.splits == 1
