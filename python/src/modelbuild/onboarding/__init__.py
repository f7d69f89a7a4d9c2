"""What helps a first user: ``modelbuild init``, ``modelbuild check`` and ``modelbuild doctor``."""
