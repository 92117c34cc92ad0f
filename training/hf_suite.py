"""transformers' own tests of models, run on ours: fetched, completed and run in a temporary folder.

The source distribution of transformers holds the tests that all its models share, but not the few modules that these
import, nor the tests of a single model. Those are written anew in `tests/hf_suite/` and laid over the unpacked files.
Nothing of the suite itself becomes part of the project.
"""

import importlib.util
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from ..configuration import SineformerConfig
from ..modeling import SineformerForConditionalGeneration

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


def _lay_over(tests: Path) -> None:
    for name, place in PLACES.items():
        target = tests / place
        target.parent.mkdir(exist_ok=True)
        target.write_text((OURS / name).read_text(encoding="utf-8"), encoding="utf-8")
