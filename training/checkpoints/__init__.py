"""What a run saves: checkpoints to resume from, and the best model so far."""
