"""The whole way in one command: trains on the embedded task, then loads the result where Sineformer is not installed.

    python scripts/demo.py [--output_dir DIR] [--key value ...]

Flags override the recipe `training/recipes/embedded_demo.yaml`, as in scripts/train.py; --resume goes on with a demo
that was stopped.
"""

import argparse
import sys
import textwrap
from pathlib import Path

from sineformer.training.data import read_split
from sineformer.training.elsewhere import translate_elsewhere
from sineformer.training.evaluation import score_translations
from sineformer.training.interruption import STOPPED, Stopped
from sineformer.training.recipe import read_settings
from sineformer.training.run import run

RECIPE = Path(__file__).parent.parent / "training" / "recipes" / "embedded_demo.yaml"
SHOWN = 10
CELL = 80


def format_table(rows: list[tuple[str, str, str]]) -> str:
    """Source, reference and translation in aligned columns; a translation equal to its reference is not repeated."""
    header = ("English", "German, reference", "German, translated")
    compared = [(source, reference, "=" if ours == reference else ours) for source, reference, ours in rows]
    cells = [tuple(textwrap.shorten(cell, CELL, placeholder=" ...") for cell in row) for row in (header, *compared)]
    widths = [max(len(row[column]) for row in cells) for column in range(2)]
    return "\n".join(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}" for row in cells)


def main() -> None:
    """Train, translate the held-out sentences elsewhere, and print some of them with the scores of all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", default="runs/demo", help="folder for the model; what is in it is replaced")
    arguments, flags = parser.parse_known_args()
    folder = ["--output_dir", arguments.output_dir]
    if "--resume" not in flags:
        folder += ["--overwrite_output_dir", "true"]
    settings = read_settings(["--config", str(RECIPE), *folder, *flags])
    try:
        run(settings)
    except Stopped as stop:
        print(stop, file=sys.stderr)
        sys.exit(STOPPED)

    text, _ = read_split(settings.data, "test")
    print("\nLoading the model with AutoModelForSeq2SeqLM in a process that has no Sineformer ...", flush=True)
    translations = translate_elsewhere(Path(arguments.output_dir), text.sources)
    rows = list(zip(text.sources, text.targets, translations, strict=True))
    scores = score_translations(translations, text.targets)
    print(f"\n{format_table(rows[:SHOWN])}\n")
    print(f"{len(rows)} held-out sentences: BLEU {scores['bleu']:.1f}, exact match {scores['exact_match']:.1f} %")


if __name__ == "__main__":
    main()
