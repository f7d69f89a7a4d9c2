"""Athena that runs its queries, with DuckDB."""
