"""Convert the state dict of a model that contains torch.nn.Transformer into a Sineformer folder, without a tokenizer.

sineformer-convert-torch-transformer model.pt runs/mine --heads 8 --pad_token_id 1 --start_token_id 2 \
--eos_token_id 3

Afterwards, save your tokenizer into the folder with `save_pretrained`.
"""

import argparse
import sys
from functools import partial
from typing import Any

from transformers.utils.logging import disable_progress_bar

from sineformer.training.pretrained.conversion.output import ConversionError
from sineformer.training.pretrained.conversion.torch_transformer import LAYOUTS, TorchModel, convert_torch_transformer
from sineformer.training.pretrained.conversion.vocabularies import VocabularyNames
from sineformer.training.system.command_line import path, run_command


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=path, help="a .safetensors file, or a file of torch.save(model.state_dict())")
    parser.add_argument("output_dir", type=path, help="output folder; new or empty")
    for name in ("heads", "pad_token_id", "start_token_id", "eos_token_id"):
        parser.add_argument(f"--{name}", type=int, required=True)
    group = parser.add_argument_group("settings of the model", "the defaults are those of torch.nn.Transformer")
    group.add_argument("--norm_first", action="store_true", help="pre-norm")
    group.add_argument("--activation", choices=["relu", "gelu"], default=TorchModel.activation)
    group.add_argument("--layer_norm_eps", type=float, default=TorchModel.layer_norm_eps, help="(default: %(default)s)")
    group.add_argument("--dropout", type=float, default=TorchModel.dropout, help="(default: %(default)s)")
    scaling = "multiply embeddings by sqrt(d_model) (default: yes)"
    group.add_argument("--scale_embedding", action=argparse.BooleanOptionalAction, default=True, help=scaling)
    group.add_argument("--positions", choices=LAYOUTS, help="(default: as in the table of the state dict)")
    names = parser.add_argument_group("modules", "names in the state dict (default: recognised if only one fits)")
    for name in VocabularyNames._fields:
        names.add_argument(f"--{name}", metavar="NAME")
    return parser


def main() -> int:
    """Convert the state dict; return the exit status."""
    options: dict[str, Any] = vars(make_parser().parse_args())
    source, output_dir = options.pop("source"), options.pop("output_dir")
    names = VocabularyNames(**{name: options.pop(name) for name in VocabularyNames._fields})
    disable_progress_bar()
    try:
        model = convert_torch_transformer(source, output_dir, TorchModel(**options, names=names))
    except ConversionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{output_dir}: {model.num_parameters():,} parameters in {model.dtype}; save your tokenizer there")
    return 0


command = partial(run_command, main)

if __name__ == "__main__":
    sys.exit(command())
