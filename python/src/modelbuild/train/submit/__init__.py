"""Submits a training from the agent: one request, one head job, and their annotation."""
