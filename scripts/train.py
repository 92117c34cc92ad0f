"""Train a translation model: `python scripts/train.py --config RECIPE.yaml [--key value ...]`."""

import sys

from sineformer.training.train import main

if __name__ == "__main__":
    sys.exit(main())
