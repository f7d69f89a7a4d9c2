"""Traces a model or a prediction back to its build."""
