"""Test that commit hooks, the workflow and the local script run the same checks with the same tools."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PYTHON = "Programming Language :: Python :: "


def jobs() -> list[dict[str, Any]]:
    """Return the jobs of all workflows."""
    loaded = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in WORKFLOWS]
    return [job for workflow in loaded for job in workflow["jobs"].values()]


def make_targets(script: str) -> list[str]:
    """Return the targets of `make` in a shell script, in order."""
    return [target for line in re.findall(r"^make (.+)$", script, re.MULTILINE) for target in line.split()]


def test_every_job_runs_the_targets_of_the_local_script() -> None:
    local = make_targets((ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    assert local
    assert [make_targets("\n".join(step.get("run", "") for step in job["steps"])) for job in jobs()] == [local]


def test_the_workflow_has_every_supported_python() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    declared = re.findall(rf'^    "{re.escape(PYTHON)}(\d\.\d+)",$', text, re.MULTILINE)
    assert declared
    assert [job["strategy"]["matrix"]["python"] for job in jobs()] == [declared]
    assert [job["runs-on"].partition("-")[0] for job in jobs()] == ["ubuntu"]


def test_the_workflow_uses_the_python_of_the_matrix() -> None:
    for job in jobs():
        (step,) = (step for step in job["steps"] if step.get("uses", "").startswith("actions/setup-python@"))
        assert step["with"]["python-version"] == "${{ matrix.python }}"


def test_pre_commit_has_the_ruff_of_make_lint() -> None:
    pinned = re.findall(r"^ruff==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "https://github.com/astral-sh/ruff-pre-commit"
    assert [repository["rev"]] == [f"v{version}" for version in pinned]
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff-check", "ruff-format"]
