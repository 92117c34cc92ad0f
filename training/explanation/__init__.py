"""Explain a model: pictures of attention and positions, and a walk through every step of a translation."""
