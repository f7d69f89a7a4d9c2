"""Access to the AWS stand-in: keys, signatures, and the refusal of requests before they are read."""
