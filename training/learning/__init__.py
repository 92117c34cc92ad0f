"""The model that learns, and the steps it takes."""
