"""What lies in S3, with typed access: the only code that knows where, and how each file is written."""
