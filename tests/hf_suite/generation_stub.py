"""Becomes `tests/generation/test_utils.py`, which the suite imports and its archive leaves out."""


class GenerationTesterMixin:
    """Holds no test: those of the original are not in the archive."""
