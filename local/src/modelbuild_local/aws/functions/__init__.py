"""AWS Lambda that runs its functions."""
