"""What survives a stop, and how a run goes on from it."""
