"""Define, read and record the settings of a run, and define learning-rate schedules."""
