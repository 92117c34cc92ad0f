"""Load, translate with, convert, check and publish a finished model; no extra is needed."""
