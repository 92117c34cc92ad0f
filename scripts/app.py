"""Show a model in the browser: translate sentences and files, and see attention, probabilities and positions.

    sineformer-app --model DIR
    sineformer-app --model user/name --write_space DIR

The second command writes a Space for the Hub, which shows the same page.
"""

import argparse
import sys
import threading
from functools import partial

from sineformer.training.pretrained.loading import SHIPPED_MODEL
from sineformer.training.pretrained.translator import TranslationError
from sineformer.training.system.command_line import needs_extra, path, path_or_name, positive, run_command

with needs_extra("app"):
    from sineformer.training.page.application import make_page, serving
    from sineformer.training.page.page_model import PageModel
    from sineformer.training.page.space import SpaceError, write_space


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    model_help = "folder of a model, or its id on the Hub (default: %(default)s)"
    add("--model", type=path_or_name, default=SHIPPED_MODEL, help=model_help)
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all of this machine (default: %(default)s)")
    add("--port", type=positive, help="(default: the first free one from 7860 on)")
    add("--write_space", type=path, metavar="DIR", help="write a Space for the model of this Hub id into a new folder")
    return parser


def main() -> int:
    """Serve the page until a signal ends it, or write a Space; return the exit status."""
    options = make_parser().parse_args()
    try:
        if options.write_space:
            write_space(options.write_space, options.model)
            print(f"Upload it by: hf upload user/name {options.write_space} --repo-type space")
            return 0
        with serving(make_page(PageModel(options.model)), options.host, options.port) as address:
            print(f"The page is at {address}; Ctrl-C ends it.", flush=True)
            threading.Event().wait()
    except (SpaceError, TranslationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
