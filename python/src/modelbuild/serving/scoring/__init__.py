"""Scores rows with a model in its own serving image, as a job of Batch that ends with its answers in S3."""
