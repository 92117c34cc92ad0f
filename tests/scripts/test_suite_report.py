"""What is read from a run of transformers' suite, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from sineformer.scripts import hf_suite
from sineformer.scripts.hf_suite import (
    OURS,
    PLACES,
    SuiteUnavailableError,
    fetch_suite,
    read_report,
    skipped_by_reason,
)

REPORT = """<testsuites><testsuite>
<testcase name="test_good"/>
<testcase name="test_bad"><failure message="assert">Traceback</failure></testcase>
<testcase name="test_torn"/>
<testcase name="test_torn"><error message="no teardown"/></testcase>
<testcase name="test_absent"><skipped message="needs a GPU"/><skipped message="needs a GPU"/></testcase>
<testcase name="test_partly"><skipped message="one class cannot"/><failure>the other broke</failure></testcase>
</testsuite></testsuites>"""


def test_a_report_is_read_by_the_worst_that_happened_to_each_test(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT, encoding="utf-8")
    result = read_report(tmp_path / "report.xml")
    assert result.passed == {"test_good"}
    assert result.skipped == {"test_absent": "needs a GPU"}
    assert result.failed == {"test_bad": "Traceback", "test_torn": "no teardown", "test_partly": "the other broke"}


def test_skipped_tests_are_listed_under_their_reasons_the_frequent_first() -> None:
    listed = skipped_by_reason({"test_a": "rare", "test_b": "frequent", "test_c": "frequent"})
    assert list(listed.items()) == [("frequent", ["test_b", "test_c"]), ("rare", ["test_a"])]


def test_every_file_that_is_laid_over_the_suite_has_a_place_there() -> None:
    assert {file.name for file in OURS.glob("*.py")} == set(PLACES)


def test_a_version_that_pip_cannot_get_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf_suite.metadata, "version", lambda name: "0.0.0.dev0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(SuiteUnavailableError, match=r"transformers 0\.0\.0\.dev0"):
        fetch_suite(tmp_path)
