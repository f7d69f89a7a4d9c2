"""Tells Buildkite that a training has ended."""
