"""Test that a command exits as a shell expects: on a closed pipe, a signal or a full disk, without a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sineformer.training.system import command_line

# The file alone: the package takes seconds to import.
BEGIN = f"""
import importlib.util, os, signal, sys, tempfile, time
spec = importlib.util.spec_from_file_location("command_line", {command_line.__file__!r})
command_line = importlib.util.module_from_spec(spec)
spec.loader.exec_module(command_line)
"""
PRINT_MUCH = """
def main():
    for number in range(100_000):
        print(number)
sys.exit(command_line.run_command(main))
"""
PRINT_LITTLE = "sys.exit(command_line.run_command(lambda: print('one line')))"
# A shell without job control has its background processes, such as a test run, ignore SIGINT.
WAIT = """
signal.signal(signal.SIGINT, signal.default_int_handler)
def main():
    with tempfile.TemporaryDirectory(dir=sys.argv[1]):
        print("waits", flush=True)
        time.sleep(60)
sys.exit(command_line.run_command(main{more}))
"""
both_ways = pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])


def shell(line: str, program: str, unbuffered: str = "") -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which `$COMMAND` is a Python program."""
    variables = {"PYTHONUNBUFFERED": unbuffered, "PROGRAM": BEGIN + program}
    line = line.replace("$COMMAND", f"'{sys.executable}' -c \"$PROGRAM\"")
    return subprocess.run(["bash", "-c", line], env=os.environ | variables, capture_output=True, text=True)


@both_ways
@pytest.mark.parametrize("program", [PRINT_MUCH, PRINT_LITTLE], ids=["much", "little"])
def test_a_closed_pipe_ends_it_quietly(program: str, unbuffered: str) -> None:
    done = shell("$COMMAND | (exec 0<&-; sleep 0.3); echo ${PIPESTATUS[0]}", f"time.sleep(0.2)\n{program}", unbuffered)
    assert (done.stdout, done.stderr) == ("141\n", "")


@both_ways
def test_the_lines_read_before_a_pipe_closes_are_complete(unbuffered: str) -> None:
    done = shell("$COMMAND | head -n 2; echo ${PIPESTATUS[0]}", PRINT_MUCH, unbuffered)
    assert (done.stdout, done.stderr) == ("0\n1\n141\n", "")


def test_help_into_a_closed_pipe_ends_quietly_too() -> None:
    program = "import argparse\nsys.argv[1:] = ['--help']\n"
    program += "sys.exit(command_line.run_command(argparse.ArgumentParser().parse_args))"
    done = shell("$COMMAND | (exec 0<&-; sleep 0.3)", f"time.sleep(0.2)\n{program}")
    assert done.stderr == ""


@both_ways
@pytest.mark.parametrize("program", [PRINT_MUCH, PRINT_LITTLE], ids=["much", "little"])
def test_a_full_disk_is_one_line(program: str, unbuffered: str) -> None:
    done = shell("$COMMAND > /dev/full", program, unbuffered)
    assert (done.returncode, done.stderr) == (1, "error: the output cannot be written: No space left on device\n")


def test_other_system_errors_are_raised() -> None:
    done = shell("$COMMAND", "sys.exit(command_line.run_command(lambda: open('/no/such/file')))")
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")


def test_a_broken_pipe_of_the_program_itself_is_raised() -> None:
    program = "def main():\n    reader, writer = os.pipe(); os.close(reader); os.write(writer, b'x')\n"
    done = shell("$COMMAND", program + "sys.exit(command_line.run_command(main))")
    assert done.stderr.endswith("BrokenPipeError: [Errno 32] Broken pipe\n")


def test_errors_do_not_go_to_standard_output_where_standard_error_is_closed() -> None:
    program = "sys.exit(command_line.run_command(lambda: print('error', file=sys.stderr)))"
    assert shell("$COMMAND 2>&-", program).stdout == ""


def send(number: signal.Signals, folder: Path, more: str = "", nohup: bool = False) -> subprocess.CompletedProcess[str]:
    """Send a signal to a program that waits with a temporary folder open; whether these tests run under nohup does not
    matter."""
    begin = f"signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if nohup else 'SIG_DFL'})\n"
    command = [sys.executable, "-c", BEGIN + begin + WAIT.format(more=more), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "waits\n"
        program.send_signal(number)
        if nohup:
            with pytest.raises(subprocess.TimeoutExpired):
                program.wait(0.3)
            program.send_signal(signal.SIGTERM)
        said, error = program.communicate()
    return subprocess.CompletedProcess(command, program.returncode, said, error)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_it_quietly_without_leftovers(number: signal.Signals, tmp_path: Path) -> None:
    done = send(number, tmp_path)
    assert (done.returncode, done.stderr) == (-number, "")
    assert not list(tmp_path.iterdir())


def test_processes_that_wait_for_each_other_end_at_once(tmp_path: Path) -> None:
    done = send(signal.SIGTERM, tmp_path, ", clear_up=False")
    assert done.returncode == -signal.SIGTERM
    assert list(tmp_path.iterdir())


def test_signals_ignored_by_nohup_stay_ignored(tmp_path: Path) -> None:
    done = send(signal.SIGHUP, tmp_path, nohup=True)
    assert done.returncode == -signal.SIGTERM


def test_a_missing_library_is_one_line_that_names_the_extra() -> None:
    done = shell("$COMMAND", "with command_line.needs_extra('train'):\n    import no_such_library.part")
    expected = "error: this needs no_such_library: pip install 'sineformer[train]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)


def test_a_missing_module_of_sineformer_is_raised() -> None:
    done = shell("$COMMAND", "with command_line.needs_extra('train'):\n    import sineformer_none, sineformer.none")
    assert "sineformer_none: pip" in done.stderr
    with pytest.raises(ModuleNotFoundError), command_line.needs_extra("train"):
        import sineformer.none  # noqa: F401


def test_a_tilde_is_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert command_line.path("~/a") == Path("/somewhere/a")
    assert command_line.path_or_name("~/a") == "/somewhere/a"
    assert [command_line.path_or_name(name) for name in ("owner/model", "a/~/b", "~no-such-user/a")] == [
        *("owner/model", "a/~/b", "~no-such-user/a"),
    ]
