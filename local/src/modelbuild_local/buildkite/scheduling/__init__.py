"""Scheduling: the next job of an agent, and the consequences of a change."""
