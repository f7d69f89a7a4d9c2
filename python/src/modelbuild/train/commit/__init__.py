"""Reads a commit on the agent: its files, and the flow, steps and parameters in them."""
