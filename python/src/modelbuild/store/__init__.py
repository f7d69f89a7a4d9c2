"""Typed access to the files in S3: the only code that knows their keys, and how each file is written."""
