"""Test that no file of the project has a path of a particular machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MACHINE_PATHS = re.compile(r"(?<![\w.$}/:-])/(?:root|home|Users|work|opt|mnt)/\w|\b[A-Z]:\\Users")


def test_no_tracked_file_has_a_path_of_a_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in listed.splitlines()
        if (ROOT / name).is_file()
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if MACHINE_PATHS.search(line)
    ]
    assert found == []


def test_the_pattern_finds_paths_of_machines_but_not_addresses() -> None:
    assert MACHINE_PATHS.search("data in " + "/".join(["", "home", "someone", "data"]))
    assert not MACHINE_PATHS.search("https://example.org/home/page, tests/work/x and runs/home/y")
