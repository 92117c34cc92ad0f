"""Use the machine: files and folders, processes, signals, accelerators."""
