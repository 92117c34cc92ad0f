"""Runs transformers' own tests of models on Sineformer and on Marian, the nearest model in transformers, and compares.

    python scripts/hf_suite.py

Sineformer is tested twice: its classes from the package, and the same classes out of a saved model folder, which the
Auto classes load with `trust_remote_code`. pip downloads the tests, of the version that is installed; they are unpacked
in a temporary folder and run there. It takes a few minutes. Exits with 1 if a test of Sineformer fails.
"""

import argparse
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from sineformer.training.hf_suite import (
    SuiteResult,
    SuiteUnavailableError,
    fetch_suite,
    run_suite,
    save_subject,
    skipped_by_reason,
)
from sineformer.training.system.command_line import run_command

NOT_THERE = (
    "The tests of generation and export are no part of what transformers publishes, and so not counted here. The tests "
    "in tests/modeling compare generation with Marian's, token by token."
)


def format_comparison(results: dict[str, SuiteResult]) -> str:
    """One row for each subject: tests passed, failed, skipped."""
    lines = [f"{'':30}{'passed':>8}{'failed':>8}{'skipped':>8}"]
    for title, result in results.items():
        counts = (len(result.passed), len(result.failed), len(result.skipped))
        lines.append(f"{title:30}" + "".join(f"{count:8}" for count in counts))
    return "\n".join(lines)


def format_skipped(result: SuiteResult) -> str:
    """Every reason with the tests that were skipped for it."""
    return "\n".join(
        f"  {reason}\n" + "\n".join(f"    {name}" for name in names)
        for reason, names in skipped_by_reason(result.skipped).items()
    )


def main() -> int:
    """Run the suite three times, and print what passed, what failed and why the rest was skipped."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            root = fetch_suite(folder)
        except SuiteUnavailableError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        subjects = {
            "Sineformer, from the package": "package",
            "Sineformer, by remote code": save_subject(folder / "saved"),
            "Marian": "marian",
        }
        results = {}
        for title, subject in subjects.items():
            print(f"Running the tests of transformers {metadata.version('transformers')}: {title} ...", flush=True)
            results[title] = run_suite(root, subject)
    *ours, marian = results.values()
    print(f"\n{format_comparison(results)}\n\n{NOT_THERE}\n")
    for title, result in results.items():
        for name, report in result.failed.items():
            print(f"{title}: {name} failed\n{report}\n")
    more = sorted(set.intersection(*(result.passed for result in ours)) - marian.passed)
    print("Passed by Sineformer and not by Marian:\n" + "\n".join(f"  {name}" for name in more))
    print(f"\nSkipped by Sineformer, by reason:\n{format_skipped(ours[0])}")
    return 1 if any(result.failed for result in ours) else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
