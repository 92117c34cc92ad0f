"""Check a model folder and upload it to the Hub.

    sineformer-push DIR user/name [--dry-run] [--public] [--revision BRANCH] [--commit_message TEXT]

The folder must contain a complete model with its code, tokenizer and card, and nothing else; it is first loaded in a
process without Sineformer. Training logs (tensorboard/, wandb/, profile/) are not uploaded. The token is that of
`hf auth login` or HF_TOKEN.
"""

import argparse
import sys
from functools import partial

from sineformer.training.pretrained.publishing import Destination, PublishingError, Upload, plan_upload, send
from sineformer.training.system.command_line import path, run_command


def describe(upload: Upload, destination: Destination) -> str:
    """Return a summary of the upload, one line per file."""
    lines = [f"{size:>15,}  {path}" for path, size in upload.files.items()]
    lines += [f"{'removed there':>15}  {name}" for name in upload.removed]
    visibility = "private" if destination.private else "public"
    where = f"{destination.repo_id} ({visibility}), branch {destination.revision or 'main'}"
    return "\n".join([*lines, f"{len(upload.files)} files, {sum(upload.files.values()):,} bytes, to {where}"])


def main() -> int:
    """Check the folder and, unless in a dry run, upload it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=path, metavar="DIR", help="model folder")
    parser.add_argument("repo_id", metavar="user/name", help="repository; created if missing")
    parser.add_argument("--dry-run", action="store_true", help="list and check everything, without uploading")
    parser.add_argument("--public", action="store_true", help="create a public repository (default: private)")
    parser.add_argument("--revision", help="branch, created if missing, or refs/pr/N (default: main)")
    parser.add_argument("--commit_message", default="Upload a Sineformer model", help="(default: %(default)s)")
    options = parser.parse_args()
    destination = Destination(options.repo_id, private=not options.public, revision=options.revision)
    upload = plan_upload(options.folder, destination)
    print(describe(upload, destination), flush=True)
    if upload.problems:
        count = len(upload.problems)
        print(f"error: {count} problem{'s' * (count > 1)}; nothing was uploaded:", file=sys.stderr)
        print("\n".join(f"  - {problem}" for problem in upload.problems), file=sys.stderr)
        return 1
    if options.dry_run:
        print("No problems found. Nothing was uploaded: this was a dry run.")
        return 0
    try:
        print(send(options.folder, upload, destination, options.commit_message))
    except PublishingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
