"""Runs transformers' own tests of models on Sineformer and on Marian, the nearest model in transformers, and compares.

    python scripts/hf_suite.py

Sineformer is tested twice: its classes from the package, and the same classes out of a saved model folder, which the
Auto classes load with `trust_remote_code`. pip downloads the tests, of the version that is installed; they are unpacked
in a temporary folder and run there. It takes a few minutes. Exits with 1 if a test of Sineformer fails.

The source distribution of transformers holds the tests that all its models share, but not the few modules that these
import, nor the tests of a single model. Those are in `tests/hf_suite/` and are laid over the unpacked files. Nothing of
the suite itself becomes part of the project.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from sineformer.configuration import SineformerConfig
from sineformer.modeling import SineformerForConditionalGeneration
from sineformer.training.system.command_line import run_command

OURS = Path(__file__).parent.parent / "tests" / "hf_suite"
PLACES = {
    "package.py": "__init__.py",
    "subjects.py": "subjects.py",
    "parallel_translation.py": "parallel_translation.py",
    "model_suite.py": "test_subject.py",
    "distributed.py": "distributed_testing_utils.py",
    "generation_stub.py": "generation/test_utils.py",
    "export_stub.py": "exporters/test_export.py",
    "config_values.py": "utils/test_configuration_utils.py",
}
FINISHED = (0, 1)  # pytest's exit codes after all tests ran: none failed, some failed
NOT_THERE = (
    "The tests of generation and export are no part of what transformers publishes, and so not counted here. The tests "
    "in tests/modeling compare generation with Marian's, token by token."
)


class SuiteUnavailableError(RuntimeError):
    """The tests of transformers cannot be had or not be run here; the message says why."""


@dataclass
class SuiteResult:
    """What became of each test, by name: those passed, and what the others said."""

    passed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def fetch_suite(folder: Path) -> Path:
    """Download the installed version's tests into `folder` and lay our own modules over them.

    Returns:
        The root of the unpacked source distribution.

    Raises:
        SuiteUnavailableError: pip found no registry, or there no such version; or what the tests need is missing.
    """
    if not OURS.is_dir():
        raise SuiteUnavailableError(f"{OURS} is missing; run the suite from a clone of the project")
    for library in ("pytest", "parameterized"):
        if importlib.util.find_spec(library) is None:
            raise SuiteUnavailableError(f"this needs {library}: pip install 'sineformer[test]'")
    version = metadata.version("transformers")
    flags = ["--quiet", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--dest", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *flags, f"transformers=={version}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SuiteUnavailableError(f"pip could not download the source of transformers {version}:\n{done.stderr}")
    (archive,) = folder.glob("transformers-*.tar.gz")
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    root = folder / archive.name.removesuffix(".tar.gz")
    _lay_over(root / "tests")
    return root


def _lay_over(tests: Path) -> None:
    for name, place in PLACES.items():
        target = tests / place
        target.parent.mkdir(exist_ok=True)
        target.write_text((OURS / name).read_text(encoding="utf-8"), encoding="utf-8")


def save_subject(folder: Path) -> str:
    """Save a small model into `folder`, and return what `run_suite` takes to test the classes that lie there."""
    config = SineformerConfig(vocab_size=99, d_model=32, encoder_layers=1, decoder_layers=1)
    SineformerForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


def run_suite(root: Path, subject: str) -> SuiteResult:
    """Run the suite unpacked in `root` on "package", on "marian", or on the classes saved in a folder.

    Raises:
        RuntimeError: the tests could not be run at all.
    """
    report = root / "report.xml"
    report.unlink(missing_ok=True)
    environment = os.environ | {
        "SUITE_SUBJECT": subject,
        "HF_HUB_OFFLINE": "1",
        "HF_MODULES_CACHE": str(root / "modules"),
        "OMP_NUM_THREADS": "1",  # several processes share the machine
        "TOKENIZERS_PARALLELISM": "false",
    }
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "log_cli=0",
        "--disable-warnings",
        "--tb=short",
        f"--junitxml={report}",
    ]
    command = [sys.executable, "-m", "pytest", "tests/test_subject.py", *options]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode not in FINISHED or not report.is_file():
        raise RuntimeError(f"pytest did not run the suite on {subject}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return read_report(report)


def read_report(file: Path) -> SuiteResult:
    """Read a JUnit report. A test of which one part failed has failed; of which one part was skipped, is skipped."""
    result = SuiteResult()
    for test in ElementTree.parse(file).iter("testcase"):
        name = test.attrib["name"]
        failures = [each for kind in ("failure", "error") for each in test.iter(kind)]
        skips = [each.get("message", "") for each in test.iter("skipped")]
        if failures:
            result.failed[name] = "\n".join(each.text or each.get("message") or each.tag for each in failures)
        elif skips:
            result.skipped[name] = skips[0]
        else:
            result.passed.add(name)
    result.passed -= result.failed.keys() | result.skipped.keys()
    return result


def skipped_by_reason(skipped: dict[str, str]) -> dict[str, list[str]]:
    """The names of skipped tests under each reason, the most frequent reason first."""
    reasons: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        reasons.setdefault(reason, []).append(name)
    return dict(sorted(reasons.items(), key=lambda item: -len(item[1])))


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
