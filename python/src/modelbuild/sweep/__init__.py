"""Sweeps: which candidates there are, how they are trained on Batch, and which is the best."""
