"""What a run is told: its settings, how they are read, and the record of them."""
