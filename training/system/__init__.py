"""The machine: files and folders, processes, signals, accelerators."""
