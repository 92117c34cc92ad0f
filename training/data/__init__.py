"""From files and datasets to batches of token ids."""
