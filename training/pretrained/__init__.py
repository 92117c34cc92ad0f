"""What one does with a finished model: load, translate, convert, check, publish; no extra is needed."""
