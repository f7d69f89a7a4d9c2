"""What the agent reads of a commit: its files, and the flow, steps and parameters in them."""
