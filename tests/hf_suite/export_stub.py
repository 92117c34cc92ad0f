"""Becomes `tests/exporters/test_export.py`, which the suite imports and its archive leaves out."""


class ExportTesterMixin:
    """Holds no test: those of the original are not in the archive."""
