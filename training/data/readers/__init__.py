"""Read sentence pairs from files and datasets, each with its location."""
