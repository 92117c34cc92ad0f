"""Sentence pairs out of files and datasets, each with its place."""
