"""A machine-learning model as a build: train, decide and deploy from Buildkite."""

__version__ = "0.1.0"
