"""Sets up the Python process that runs a command: its text encoding, and how fast it starts."""
