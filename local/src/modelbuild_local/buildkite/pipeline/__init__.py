"""Pipelines, from their text to the steps of a build."""
