"""Save and load checkpoints to resume from, and keep the best model so far."""
