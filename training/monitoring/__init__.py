"""Log a run: progress, `metrics.jsonl`, trackers, profiles and the HTML report."""
