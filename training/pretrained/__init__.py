"""Load, translate with, convert, export, check and publish a finished model; only exporting needs an extra."""
