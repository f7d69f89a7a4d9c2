"""Reads files and documents that people write, by the rules of their formats."""
