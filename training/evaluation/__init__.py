"""Score models, and write evaluation reports and model cards."""
