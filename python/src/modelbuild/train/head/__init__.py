"""What runs inside the head's Batch job: the flow, what is watched meanwhile, and why it failed."""
