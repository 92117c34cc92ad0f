"""Whole runs, of one process or of several, in processes of their own."""

import itertools
import json
import os
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
    "dataset": "embedded",
    **{"train_size": "400", "validation_size": "6", "test_size": "5", "vocab_size": "400", "d_model": "16"},
    **{"encoder_layers": "1", "decoder_layers": "1", "encoder_attention_heads": "2", "decoder_attention_heads": "2"},
    **{"encoder_ffn_dim": "16", "decoder_ffn_dim": "16", "max_position_embeddings": "32", "max_length": "32"},
    # Many sentences of the task are longer.
    "max_unusable_share": "0.6",
    **{"dropout": "0.1", "attention_dropout": "0.1", "max_tokens": "200", "gradient_accumulation_steps": "3"},
    **{"max_grad_norm": "1", "eval_steps": "10", "best_metric": "loss", "num_beams": "2"},
    # Reports of two steps and checkpoints of three: some are saved with half a report.
    **{"logging_steps": "2", "save_steps": "3", "use_cpu": "true", "report_to": "none"},
}
DEADLINE_SECONDS = 120


class Runs:
    """Starts runs, one at a time, kills them and compares what they left; `modules` are imported beforehand."""

    def __init__(self, folder: Path, *modules: str) -> None:
        self.log = folder / "log"
        self.log.touch()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        command = [sys.executable, str(PROGRAM), str(self.log), *modules]
        self.program = subprocess.Popen(command, env=environment, **pipes)
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
        self.log.write_text("")
        given = {flag.removeprefix("--") for flag in flags}
        kept = [word for key, value in SETTINGS.items() if key not in given for word in (f"--{key}", value)]
        request: dict[str, Any] = {"arguments": [*kept, "--output_dir", str(output_dir), *flags]}
        request |= {"processes": processes, "examples": f"{output_dir}.examples"}
        self.processes = self._ask(request | {"failure": failure, "environment": environment})

    def measure(self, model: Path, processes: int) -> list[Any]:
        """What each of several processes finds that measure a model together."""
        found = self.log.with_name("found")
        self.log.write_text("")
        self.processes = self._ask({"model": str(model), "processes": processes, "found": str(found)})
        assert self.end() == [0] * processes, self.log.read_text()
        return [json.loads(found.with_suffix(f".{rank}").read_text()) for rank in range(processes)]

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

    @staticmethod
    def metrics(folder: Path) -> list[dict[str, Any]]:
        """All lines of the metrics without the times."""
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        timing = ("seconds", "tokens_per_second")
        return [{key: value for key, value in line.items() if key not in timing} for line in lines]

    @staticmethod
    def examples(folder: Path) -> dict[tuple[int, int], Any]:
        """The batches of every step and rank, after making sure that a repeated step had the same ones."""
        seen: dict[tuple[int, int], Any] = {}
        for line in Path(f"{folder}.examples").read_text().splitlines():
            if line.endswith("]]]"):  # a killed process may have left half a line
                step, rank, batches = json.loads(line)
                assert seen.setdefault((step, rank), batches) == batches
        return seen

    def assert_same(self, folder: Path, other: Path) -> None:
        """The same run, bit for bit."""
        assert self.metrics(folder) == self.metrics(other)
        assert self.examples(folder) == self.examples(other)
        assert (folder / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
        # The card tells the name of the folder and the minutes.
        names = {path.name for path in other.iterdir()}
        assert {path.name for path in folder.iterdir()} == names
        assert "checkpoints" not in names

    def assert_close(self, folder: Path, other: Path) -> None:
        """The same steps, losses and scores, within rounding."""
        for one, two in zip(self.metrics(folder), self.metrics(other), strict=True):
            assert one.keys() == two.keys()
            for key in ("kind", "step", "learning_rate", "bleu", "chrf", "sentences"):
                assert two.get(key) == one.get(key)
            for key in ("loss", "gradient_norm"):
                assert two.get(key) == pytest.approx(one.get(key), abs=1e-5)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Starts runs, one at a time."""
    runs = Runs(tmp_path_factory.mktemp("runs"))
    yield runs
    runs.close()


_FINE_TUNING = {
    "frozen": ("--freeze", "encoder"),
    "adapted": ("--lora_r", "3", "--lora_dropout", "0.1", "--lora_target_modules", "all-linear"),
}


@pytest.fixture(scope="session")
def base(runs: Runs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model to begin from."""
    folder = tmp_path_factory.mktemp("base") / "base"
    runs.start(folder, "--max_steps", "4")
    assert runs.end() == [0], runs.log.read_text()
    return folder


@pytest.fixture(params=_FINE_TUNING)
def fine_tuning(base: Path, request: pytest.FixtureRequest) -> list[str]:
    """Flags of a run that begins from a model, in one way and in another."""
    return ["--model_name_or_path", str(base), *_FINE_TUNING[request.param]]


@pytest.fixture
def every_option() -> list[str]:
    """Flags of all that keeps a state of its own but draws nothing, over three epochs of the training data."""
    return [
        *("--r_drop", "1", "--bpe_dropout", "0.1", "--ema_decay", "0.9", "--average_checkpoints", "3"),
        *("--lr_scheduler_type", "cosine", "--train_size", "120", "--max_steps", "25", "--eval_steps", "5"),
    ]
