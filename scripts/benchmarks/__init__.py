"""Measure Sineformer beside its peers; `scripts/benchmark.py` is the command."""
