"""Train on the embedded task, then translate with the model in a process without Sineformer.

    sineformer-demo [--output_dir DIR] [--key value ...]

Flags override the recipe `training/recipes/embedded_demo.yaml`, as in scripts/train.py; --resume resumes an interrupted
demo.
"""

import argparse
import sys
import textwrap
from functools import partial
from pathlib import Path

from sineformer.training.pretrained.bare_process import BareProcessError, translate_in_bare_process
from sineformer.training.system.command_line import needs_extra, path, run_command

with needs_extra("train"):
    from sineformer.training.data.loading import read_split
    from sineformer.training.evaluation.scores import score_translations
    from sineformer.training.preflight import read_settings
    from sineformer.training.train import main as train

RECIPE = Path(__file__).parent.parent / "training" / "recipes" / "embedded_demo.yaml"
SHOWN = 10
CELL = 80


def format_table(rows: list[tuple[str, str, str]]) -> str:
    """Return sources, references and translations in aligned columns; "=" is a translation equal to its reference."""
    header = ("English", "German, reference", "German, translated")
    compared = [(source, reference, "=" if ours == reference else ours) for source, reference, ours in rows]
    cells = [tuple(textwrap.shorten(cell, CELL, placeholder=" ...") for cell in row) for row in (header, *compared)]
    widths = [max(len(row[column]) for row in cells) for column in range(2)]
    return "\n".join(f"{row[0]:{widths[0]}}  {row[1]:{widths[1]}}  {row[2]}" for row in cells)


def main() -> int:
    """Train, translate held-out sentences in a bare process, print examples and scores; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    output_help = "folder for the model; its content is replaced"
    parser.add_argument("--output_dir", type=path, default=Path("runs/demo"), help=output_help)
    arguments, flags = parser.parse_known_args()
    recipe = ["--config", str(RECIPE), "--output_dir", str(arguments.output_dir)]
    if "--resume" not in flags:
        recipe += ["--overwrite_output_dir", "true"]
    status = train([*recipe, *flags])
    if status != 0:
        return status

    text, _ = read_split(read_settings([*recipe, *flags]).data, "test")
    print("\nLoading the model with AutoModelForSeq2SeqLM in a process without Sineformer ...", flush=True)
    try:
        translations = translate_in_bare_process(arguments.output_dir, text.sources)
    except BareProcessError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = list(zip(text.sources, text.targets, translations, strict=True))
    scores = score_translations(translations, text.targets)
    print(f"\n{format_table(rows[:SHOWN])}\n")
    print(f"{len(rows)} held-out sentences: BLEU {scores['bleu']:.1f}, exact match {scores['exact_match']:.1f} %")
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
