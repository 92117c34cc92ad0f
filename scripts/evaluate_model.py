"""Evaluate a model on test sets, for publication: write a report (JSON, Markdown) and the translations.

sineformer-evaluate --model DIR --data test.en test.de --output_dir report
sineformer-evaluate --model DIR --data test.en test.de --compare OTHER_DIR --output_dir report
sineformer-evaluate --model DIR --data hub ID test --columns en de --output_dir report --update_model_card

Runs in one process, without a launcher.
"""

import argparse
import sys
from functools import partial

from sineformer.training.system.command_line import needs_extra, path, path_or_name, positive, run_command

with needs_extra("train"):
    from sineformer.training.evaluation.evaluate_model import EvaluationError, EvaluationRequest, evaluate_model
    from sineformer.training.evaluation.report import MARKDOWN_FILE
    from sineformer.training.pretrained.translator import TranslationError
    from sineformer.training.system.processes import is_one_of_several, print_error

DATA_HELP = (
    "a test set: two files of lines, or TSV, CSV, JSONL or Parquet files; or: embedded; or: hub ID SPLIT "
    "[CONFIGURATION]; can be given several times"
)
LANGUAGE_HELP = (
    "code of the references' language; a model of both directions translates into it (default: as recorded with the "
    "model, or en)"
)
COMPARE_HELP = "another model, or a file of translations for each test set"


def parse() -> EvaluationRequest:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model", type=path_or_name, required=True, help="folder of a trained model, or its id on the Hub")
    add("--data", type=path_or_name, required=True, nargs="+", action="append", metavar="FILE", help=DATA_HELP)
    add("--output_dir", required=True, type=path, help="folder for the report; an older report there is replaced")
    add("--names", nargs="+", default=[], help="names of the test sets (default: first file names up to the first dot)")
    add("--columns", nargs=2, metavar=("SOURCE", "TARGET"), help="columns of tables and Hub datasets")
    add("--dataset_name", help="name of the data in the model card")
    add("--target_language", help=LANGUAGE_HELP)
    add("--bleu_tokenize", help="tokenizer of sacrebleu for BLEU (default: as recorded, or by language)")
    add("--on_bad_rows", choices=["refuse", "drop"], default="refuse", help="if rows are not pairs (default: refuse)")
    add("--compare", type=path_or_name, nargs="+", default=[], help=COMPARE_HELP)
    add("--num_beams", type=positive, help="number of beams (default: as saved with the model)")
    add("--batch_size", type=positive, default=64, help="sentences per batch (default: 64)")
    add("--device", help="cpu, cuda, cuda:1, mps, ... (default: an accelerator if there is one)")
    add("--dtype", choices=["float32", "float16", "bfloat16"], default="float32", help="dtype of the weights")
    add("--worst", type=positive, default=10, help="number of sentences with the lowest chrF to show (default: 10)")
    add("--update_model_card", action="store_true", help="also write the scores into README.md of the model folder")
    return EvaluationRequest(**vars(parser.parse_args()))


def main() -> int:
    """Evaluate the model; return the exit status."""
    request = parse()
    if is_one_of_several():
        print_error("error: evaluation takes one process, but a launcher has started several; run it without one")
        return 1
    try:
        report = evaluate_model(request)
    except (EvaluationError, TranslationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: writing failed: {error}; earlier files are unchanged", file=sys.stderr)
        return 1
    for each in report["sets"]:
        scores = "  ".join(f"{name} {score['score']:.2f}" for name, score in each["scores"].items())
        print(f"{each['name']}: {each['sentences']} sentences  {scores}  perplexity {each['perplexity']:.2f}")
    print(f"The report is {request.output_dir / MARKDOWN_FILE}.")
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
