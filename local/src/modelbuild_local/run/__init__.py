"""``modelbuild local run``: one build of the current commit."""
