"""Adapters to Buildkite: the agent's command line, and the REST API."""
