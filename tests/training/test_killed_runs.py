"""Runs that are killed again and again, resumed, and compared with one that was left alone."""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("preloaded_runs.py")
SETTINGS = {
    **{"train_size": "400", "validation_size": "6", "test_size": "5", "vocab_size": "400", "d_model": "16"},
    **{"encoder_layers": "1", "decoder_layers": "1", "encoder_attention_heads": "2", "decoder_attention_heads": "2"},
    **{"encoder_ffn_dim": "16", "decoder_ffn_dim": "16", "max_position_embeddings": "32", "max_length": "32"},
    **{"dropout": "0.1", "attention_dropout": "0.1", "max_tokens": "200", "gradient_accumulation_steps": "3"},
    **{"warmup_steps": "20", "max_grad_norm": "1", "eval_steps": "10", "best_metric": "loss", "num_beams": "2"},
    # Reports of two steps and checkpoints of three: some are saved with half a report.
    **{"logging_steps": "2", "save_steps": "3", "use_cpu": "true", "report_to": "none"},
}
DEADLINE_SECONDS = 120


class Runs:
    """Starts runs, one at a time, and kills them."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log"
        self.log.touch()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.program = subprocess.Popen([sys.executable, str(PROGRAM), str(self.log)], env=environment, **pipes)
        self.processes: list[int] = []

    def _ask(self, request: Any) -> list[Any]:
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(json.dumps(request) + "\n")
        self.program.stdin.flush()
        return json.loads(self.program.stdout.readline())

    def start(
        self,
        output_dir: Path,
        *flags: str,
        processes: int = 1,
        failure: tuple[int | None, str] = (None, ""),
        **environment: str,
    ) -> None:
        """Start a run with `SETTINGS`, or what `flags` give in their place; `failure` is a rank and a way to fail."""
        given = {flag.removeprefix("--") for flag in flags}
        kept = [word for key, value in SETTINGS.items() if key not in given for word in (f"--{key}", value)]
        request: dict[str, Any] = {"arguments": [*kept, "--output_dir", str(output_dir), *flags]}
        request |= {"processes": processes, "examples": f"{output_dir}.examples"}
        self.processes = self._ask(request | {"failure": failure, "environment": environment})

    def statuses(self) -> list[int | None]:
        return self._ask("poll")

    def end(self) -> list[int | None]:
        """Wait for the end."""
        self.wait_until(lambda: False)
        return self.statuses()

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition, or for the end of the run; returns whether it still runs."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        for look in itertools.count():
            if condition():
                return True
            if look % 16 == 0 and None not in self.statuses():
                return False
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.002)
        raise AssertionError("counting has no end")

    def send(self, number: int) -> None:
        """Send a signal to those processes that run."""
        for process, status in zip(self.processes, self.statuses(), strict=True):
            if status is None:
                os.kill(process, number)

    def close(self) -> None:
        self.send(signal.SIGKILL)
        self.program.communicate()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    runs = Runs(tmp_path_factory.mktemp("runs"))
    yield runs
    runs.close()


def metrics(folder: Path) -> list[dict[str, Any]]:
    """All lines of the log without the times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timing = ("seconds", "tokens_per_second")
    return [{key: value for key, value in line.items() if key not in timing} for line in lines]


def examples(folder: Path) -> dict[tuple[int, int], Any]:
    """The batches of every step and rank, after making sure that a repeated step had the same ones."""
    seen: dict[tuple[int, int], Any] = {}
    for line in Path(f"{folder}.examples").read_text().splitlines():
        if line.endswith("]]]"):  # a killed process may have left half a line
            step, rank, batches = json.loads(line)
            assert seen.setdefault((step, rank), batches) == batches
    return seen


def assert_same(folder: Path, undisturbed: Path) -> None:
    assert metrics(folder) == metrics(undisturbed)
    assert examples(folder) == examples(undisturbed)
    assert (folder / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
    # The card tells the name of the folder and the minutes.
    names = {path.name for path in undisturbed.iterdir()}
    assert {path.name for path in folder.iterdir()} == names
    assert "checkpoints" not in names


def lines_in(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def kill(runs: Runs, output_dir: Path, way: str, dice: random.Random) -> None:
    """Kill the run that was just started: while it starts, some steps later, or in the middle of a save."""
    log, checkpoints = output_dir / "metrics.jsonl", output_dir / "checkpoints"
    already = set(checkpoints.glob("*.writing"))
    if way == "start":
        time.sleep(dice.uniform(0, 1))
    elif way == "step":
        wanted = lines_in(log) + dice.randint(0, 2)
        runs.wait_until(lambda: lines_in(log) >= wanted)
        time.sleep(dice.uniform(0, 0.05))
    else:
        runs.wait_until(lambda: any(path not in already for path in checkpoints.glob("*.writing")))
        time.sleep(dice.uniform(0, 0.02))
    runs.send(signal.SIGKILL)


def survive(runs: Runs, output_dir: Path, ways: list[str], *flags: str, processes: int = 1) -> int:
    """Kill a run in all these ways, then let it end; returns how many saves were cut off."""
    dice, cut_off = random.Random(processes), 0
    for way in ways:
        runs.start(output_dir, "--resume", *flags, processes=processes)
        kill(runs, output_dir, way, dice)
        statuses = runs.end()
        assert -signal.SIGKILL in statuses, f"ended by itself, {statuses}:\n{runs.log.read_text()}"
        cut_off += way == "save" and any((output_dir / "checkpoints").glob("*.writing"))
    runs.start(output_dir, "--resume", *flags, processes=processes)
    assert runs.end() == [0] * processes, runs.log.read_text()
    return cut_off


def test_a_run_killed_three_times_ends_as_if_it_had_not_been(runs: Runs, tmp_path: Path) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    runs.start(undisturbed, "--max_steps", "20")
    assert runs.end() == [0], runs.log.read_text()
    assert survive(runs, killed, ["save", "step", "save"], "--max_steps", "20") > 0
    assert_same(killed, undisturbed)


FINE_TUNING = {
    "frozen": ("--freeze", "encoder"),
    "adapted": ("--lora_r", "3", "--lora_dropout", "0.1", "--lora_target_modules", "all-linear"),
}


@pytest.fixture(scope="module")
def base(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to begin from."""
    folder = tmp_path_factory.mktemp("base") / "base"
    runs.start(folder, "--max_steps", "4")
    assert runs.end() == [0], runs.log.read_text()
    return folder


@pytest.mark.parametrize("kind", FINE_TUNING)
def test_a_fine_tuning_that_is_killed_ends_as_if_it_had_not_been(
    runs: Runs, base: Path, tmp_path: Path, kind: str
) -> None:
    flags = ["--max_steps", "11", "--model_name_or_path", str(base), *FINE_TUNING[kind]]
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    runs.start(undisturbed, *flags)
    assert runs.end() == [0], runs.log.read_text()
    assert survive(runs, killed, ["save", "step"], *flags) > 0
    assert_same(killed, undisturbed)
    for file in undisturbed.glob("adapter/*"):
        assert (killed / "adapter" / file.name).read_bytes() == file.read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("kind", FINE_TUNING)
def test_two_processes_tune_as_one_does(runs: Runs, base: Path, tmp_path: Path, kind: str) -> None:
    tuning = [word.replace("0.1", "0") for word in FINE_TUNING[kind]]
    flags = ["--dropout", "0", "--attention_dropout", "0", "--max_steps", "10", "--model_name_or_path", str(base)]
    flags += [*tuning, "--gradient_accumulation_steps"]
    runs.start(tmp_path / "one", *flags, "4")
    assert runs.end() == [0], runs.log.read_text()
    runs.start(tmp_path / "two", *flags, "2", processes=2)
    assert runs.end() == [0, 0], runs.log.read_text()
    for one, two in zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_a_run_killed_twenty_times_ends_as_if_it_had_not_been(runs: Runs, tmp_path: Path, processes: int) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    runs.start(undisturbed, "--max_steps", "100", processes=processes)
    assert runs.end() == [0] * processes, runs.log.read_text()
    ways = ["start"] * 3 + ["step"] * 10 + ["save"] * 7
    random.Random(7).shuffle(ways)
    assert survive(runs, killed, ways, "--max_steps", "100", processes=processes) >= 3
    assert_same(killed, undisturbed)


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both_with_one_checkpoint(runs: Runs, tmp_path: Path) -> None:
    undisturbed, stopped = tmp_path / "undisturbed", tmp_path / "stopped"
    runs.start(undisturbed, "--max_steps", "40", processes=2)
    assert runs.end() == [0, 0]
    runs.start(stopped, "--max_steps", "40", processes=2)
    runs.wait_until(lambda: lines_in(stopped / "metrics.jsonl") >= 1)
    os.kill(runs.processes[1], signal.SIGTERM)
    assert runs.end() == [75, 75]
    assert runs.log.read_text().count("by a signal; go on with --resume") == 1
    runs.start(stopped, "--max_steps", "40", "--resume", processes=2)
    assert runs.end() == [0, 0], runs.log.read_text()
    assert_same(stopped, undisturbed)


@pytest.mark.slow
def test_another_number_of_processes_takes_the_same_batches(runs: Runs, tmp_path: Path) -> None:
    undisturbed, changed = tmp_path / "undisturbed", tmp_path / "changed"
    flags = ["--max_steps", "20", "--dropout", "0", "--attention_dropout", "0", "--gradient_accumulation_steps"]
    runs.start(undisturbed, *flags, "4")
    assert runs.end() == [0]
    runs.start(changed, *flags, "4")
    runs.wait_until(lambda: (changed / "checkpoints" / "step-6").exists())
    runs.send(signal.SIGKILL)
    assert runs.end() == [-signal.SIGKILL]
    runs.start(changed, *flags, "2", "--resume", processes=2)
    assert runs.end() == [0, 0], runs.log.read_text()
    assert "The checkpoint is of 1 processes, this run has 2: batches, their order and" in runs.log.read_text()
    alone, both = examples(undisturbed), examples(changed)
    for step in range(1, 21):
        ranks = [both[step, rank] for rank in (0, 1) if (step, rank) in both]
        shares = [alone[step, 0]] if len(ranks) == 1 else [alone[step, 0][0::2], alone[step, 0][1::2]]
        assert ranks == shares
    assert (20, 1) in both
    for one, two in zip(metrics(undisturbed), metrics(changed), strict=True):
        assert one.keys() == two.keys()
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert two.get("learning_rate") == one.get("learning_rate")


# All that draws at random, and all else that keeps a state of its own, over three epochs of the training data.
DRAWN = [
    *("--encoder_layerdrop", "0.2", "--decoder_layerdrop", "0.2", "--activation_dropout", "0.1"),
    *("--gradient_accumulation_steps", "2"),
]
NOT_DRAWN = [
    *("--r_drop", "1", "--bpe_dropout", "0.1", "--ema_decay", "0.9", "--average_checkpoints", "3"),
    *("--lr_scheduler_type", "cosine", "--train_size", "120", "--max_steps", "25", "--eval_steps", "5"),
]


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_no_option_of_a_recipe_is_lost_with_a_process(runs: Runs, tmp_path: Path, processes: int) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    runs.start(undisturbed, *DRAWN, *NOT_DRAWN, processes=processes)
    assert runs.end() == [0] * processes, runs.log.read_text()
    assert [line["step"] for line in metrics(undisturbed) if line["kind"] == "validation_mean"] == [25]
    assert {int(line["epoch"]) for line in metrics(undisturbed) if line["kind"] == "train"} >= {0, 1}
    assert survive(runs, killed, ["save", "step", "save"], *DRAWN, *NOT_DRAWN, processes=processes) > 0
    assert_same(killed, undisturbed)


@pytest.mark.slow
def test_two_processes_learn_with_every_option_what_one_learns(runs: Runs, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    flags = [*NOT_DRAWN, "--dropout", "0", "--attention_dropout", "0", "--gradient_accumulation_steps"]
    for folder, processes, accumulation in ((one, 1, "4"), (two, 2, "2")):
        runs.start(folder, *flags, accumulation, processes=processes)
        assert runs.end() == [0] * processes, runs.log.read_text()
    for alone, together in zip(metrics(one), metrics(two), strict=True):
        assert (together["kind"], together["step"]) == (alone["kind"], alone["step"])
        assert together["loss"] == pytest.approx(alone["loss"], abs=1e-5)
        assert together.get("learning_rate") == alone.get("learning_rate")


LOST = "ends because another process of the run has ended, whose own error tells why"


@pytest.mark.parametrize(
    ("rank", "way", "status", "message"),
    [
        (1, "raises", 1, "ValueError: a mistake of this process alone"),
        (0, "raises", 1, "ValueError: a mistake of this process alone"),
        (1, "no data", 1, "error: train.en: no such file on this machine"),
        (1, "killed", -signal.SIGKILL, ""),
        (0, "exits", 3, ""),
    ],
)
def test_a_process_that_fails_ends_the_other_which_says_so_in_one_line(
    runs: Runs, tmp_path: Path, rank: int, way: str, status: int, message: str
) -> None:
    before = len(runs.log.read_text())
    runs.start(tmp_path / "run", "--max_steps", "3", processes=2, failure=(rank, way))
    statuses = runs.end()
    log = runs.log.read_text()[before:]
    assert (statuses[rank], statuses[1 - rank]) == (status, 1), log
    assert log.count(f"process {1 - rank} {LOST}") == log.count(LOST) == 1
    assert message in log.partition(LOST)[0]
    assert log.count("Traceback") == (way == "raises")


def test_processes_with_different_data_do_not_begin(runs: Runs, tmp_path: Path) -> None:
    runs.start(tmp_path / "run", "--max_steps", "3", processes=2, failure=(1, "other data"))
    assert runs.end() == [1, 1], runs.log.read_text()
    assert "error: the processes do not have the same data; what differs: validation\n" in runs.log.read_text()
    assert not (tmp_path / "run").exists()


def test_that_a_run_has_finished_is_for_the_main_process_to_see(runs: Runs, tmp_path: Path) -> None:
    runs.start(tmp_path / "run", "--max_steps", "1", processes=2)
    assert runs.end() == [0, 0], runs.log.read_text()
    runs.start(tmp_path / "run", "--max_steps", "1", "--resume", processes=2)
    assert runs.end() == [0, 0], runs.log.read_text()
    assert runs.log.read_text().count("has finished") == 1


SHARES = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def assert_close(folder: Path, other: Path) -> None:
    """The same steps and scores, within rounding."""
    for one, two in zip(metrics(folder), metrics(other), strict=True):
        assert (one["kind"], one["step"]) == (two["kind"], two["step"])
        assert two["loss"] == pytest.approx(one["loss"], abs=1e-5)
        assert two.get("gradient_norm") == pytest.approx(one.get("gradient_norm"), abs=1e-5)
        assert two.get("chrf") == one.get("chrf")


@pytest.mark.slow
def test_weights_in_shares_learn_as_whole_ones_and_survive_a_kill(runs: Runs, tmp_path: Path) -> None:
    alone, shares, killed, taken_over = (tmp_path / name for name in ("alone", "shares", "killed", "taken_over"))
    flags = ["--max_steps", "7", "--dropout", "0", "--attention_dropout", "0", "--gradient_accumulation_steps"]
    runs.start(alone, *flags, "4")
    assert runs.end() == [0], runs.log.read_text()
    runs.start(shares, *flags, "2", processes=2, **SHARES)
    assert runs.end() == [0, 0], runs.log.read_text()
    assert_close(alone, shares)
    assert {path.name for path in shares.iterdir()} == {path.name for path in alone.iterdir()}
    for folder in (killed, taken_over):
        runs.start(folder, *flags, "2", processes=2, **SHARES)
        runs.wait_until(lambda folder=folder: (folder / "checkpoints" / "step-3").exists())
        runs.send(signal.SIGKILL)
        assert runs.end() == [-signal.SIGKILL] * 2, runs.log.read_text()
    runs.start(killed, *flags, "2", "--resume", processes=2, **SHARES)
    assert runs.end() == [0, 0], runs.log.read_text()
    assert_same(killed, shares)
    runs.start(taken_over, *flags, "4", "--resume")
    assert runs.end() == [0], runs.log.read_text()
    assert_close(alone, taken_over)
