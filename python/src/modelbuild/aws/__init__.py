"""Adapters to AWS: the only code that imports botocore."""
