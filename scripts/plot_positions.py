"""Draw the positional encoding: heat maps of both layouts, single features, dot products against distance.

sineformer-plot-positions --d_model 512 --length 100 --output positions.svg
"""

import argparse
import sys
from functools import partial

from sineformer.training.system.command_line import needs_extra, path, positive, run_command

with needs_extra("train"):
    from sineformer.training.explanation.picture_files import picture_problem, save_picture
    from sineformer.training.explanation.position_pictures import positions_figure


def main() -> int:
    """Write the picture; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d_model", type=positive, default=128, help="number of features, even (default: 128)")
    parser.add_argument("--length", type=positive, default=60, help="number of positions (default: 60)")
    parser.add_argument("--output", type=path, default="positions.png", help=".png or .svg (default: %(default)s)")
    options = parser.parse_args()
    if options.d_model % 2:
        parser.error(f"--d_model is {options.d_model}; it must be even, for one sine and one cosine per frequency")
    problem = picture_problem(options.output)
    if problem is not None:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    save_picture(positions_figure(options.d_model, options.length), options.output)
    print(f"The picture is {options.output}.")
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
