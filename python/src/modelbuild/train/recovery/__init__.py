"""Delivers the results of heads that died or never started: the stack's function, and reconciliation."""
