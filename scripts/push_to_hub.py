"""Check a model folder and upload it to the Hub.

    sineformer-push DIR user/name [--dry-run] [--card] [--public] [--revision BRANCH] [--commit_message TEXT]

The folder must contain a complete model with its code, tokenizer and card, and nothing else; it is first loaded in a
process without Sineformer. Logs, checkpoints and optimizer states of its training are not uploaded. The token is that
of `hf auth login` or HF_TOKEN; a dry run needs none.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

from sineformer.training.pretrained.card import CardError, write_card
from sineformer.training.pretrained.model_folder import files_left_out
from sineformer.training.pretrained.publishing import Destination, PublishingError, Upload, plan_upload, send
from sineformer.training.system.command_line import path, run_command
from sineformer.training.system.output_folder import CARD


def describe(folder: Path, upload: Upload, destination: Destination) -> str:
    """Return a summary of the upload, one line per file."""
    lines = [f"{size:>15,}  {path}" for path, size in upload.files.items()]
    lines += [f"{'left out':>15}  {name}" for name in (files_left_out(folder) if folder.is_dir() else [])]
    lines += [f"{'removed there':>15}  {name}" for name in upload.removed]
    visibility = "private" if destination.private else "public"
    where = f"{destination.repo_id} ({visibility}), branch {destination.revision or 'main'}"
    return "\n".join([*lines, f"{len(upload.files)} files, {sum(upload.files.values()):,} bytes, to {where}"])


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("folder", type=path, metavar="DIR", help="model folder")
    add("repo_id", metavar="user/name", help="repository; created if missing")
    add("--dry-run", action="store_true", help="list and check everything, without uploading")
    add("--card", action="store_true", help="write the model card, README.md, if the folder has none")
    languages_help = "codes for that card (default: as recorded in the folder)"
    add("--languages", nargs=2, metavar=("SOURCE", "TARGET"), help=languages_help)
    add("--public", action="store_true", help="create a public repository (default: private)")
    add("--revision", help="branch, created if missing, or refs/pr/N (default: main)")
    add("--commit_message", default="Upload a Sineformer model", help="(default: %(default)s)")
    return parser


def main() -> int:
    """Check the folder and, unless in a dry run, upload it; return the exit status."""
    options = make_parser().parse_args()
    destination = Destination(options.repo_id, private=not options.public, revision=options.revision)
    try:
        if options.card and not (options.folder / CARD).exists():
            write_card(options.folder, options.repo_id, options.languages)
            print(f"{options.folder / CARD} was written; read it, and add what others should know", flush=True)
        upload = plan_upload(options.folder, destination, options.dry_run)
        print(describe(options.folder, upload, destination), flush=True)
        if upload.problems:
            count = len(upload.problems)
            print(f"error: {count} problem{'s' * (count > 1)}; nothing was uploaded:", file=sys.stderr)
            print("\n".join(f"  - {problem}" for problem in upload.problems), file=sys.stderr)
            return 1
        if options.dry_run:
            print("No problems found. Nothing was uploaded: this was a dry run.")
            if upload.unchecked:
                print(f"{options.repo_id} was not checked: {upload.unchecked}.")
            return 0
        print(send(options.folder, upload, destination, options.commit_message))
    except (CardError, PublishingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
