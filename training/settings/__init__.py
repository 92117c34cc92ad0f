"""Settings of a run: their fields, how they are read, the record of them, and learning-rate schedules."""
