"""AWS Batch: job definitions and jobs."""
