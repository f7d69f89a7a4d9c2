"""A console for the AWS stand-in: pages at the AWS console's own paths, read through AWS's API."""
