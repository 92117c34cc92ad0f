"""Translates standard input, line by line, with a model folder and nothing but torch and transformers.

    python -I -S scripts/load_elsewhere.py DIR SITE_PACKAGES... < english.txt

This is what somebody does who got the folder and never heard of Sineformer; it refuses to run where Sineformer can be
imported. `-S` leaves out the import hooks that Python finds in site-packages, so an editable installation does not
count; the folders that hold torch and transformers are therefore named on the command line.
"""

import importlib.util
import sys
from pathlib import Path

BATCH_SIZE = 100


def main(model_dir: str, site_packages: list[str]) -> None:
    """Write one translation per line of standard input to standard output."""
    sys.path += site_packages
    if importlib.util.find_spec("sineformer") is not None:
        sys.exit("Sineformer can be imported here, so loading the model would prove nothing.")

    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir, trust_remote_code=True)
    model = AutoModelForSeq2SeqLM.from_pretrained(model_dir, trust_remote_code=True).eval()
    lines = [line.rstrip("\n") for line in sys.stdin]
    for start in range(0, len(lines), BATCH_SIZE):
        batch = tokenizer(lines[start : start + BATCH_SIZE], return_tensors="pt", padding=True)
        with torch.inference_mode():
            generated = model.generate(**batch)
        for translation in tokenizer.batch_decode(generated, skip_special_tokens=True):
            print(" ".join(translation.splitlines()))


if __name__ == "__main__":
    main(str(Path(sys.argv[1]).resolve()), sys.argv[2:])
