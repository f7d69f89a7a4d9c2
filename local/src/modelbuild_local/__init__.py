"""Laptop mode: stand-ins for Buildkite, AWS and Weights & Biases, and the real agent, on one machine."""
