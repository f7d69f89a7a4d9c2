"""Who may call the AWS stand-in: keys, signatures, and what is refused before a request is read."""
