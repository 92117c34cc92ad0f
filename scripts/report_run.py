"""Write the report of a finished or running training run into its output folder: report.html and report.png.

sineformer-report-run runs/first
"""

import argparse
import sys
from functools import partial

from sineformer.training.system.command_line import needs_extra, path, run_command

with needs_extra("train"):
    from sineformer.training.monitoring.html_report import write_run_report
    from sineformer.training.monitoring.metrics_file import ReportError


def main() -> int:
    """Write the report; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=path, help="output folder of the run")
    try:
        report = write_run_report(parser.parse_args().folder)
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"The report is {report}.")
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
