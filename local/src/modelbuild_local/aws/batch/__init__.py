"""AWS Batch that runs its jobs, as processes of this machine."""
