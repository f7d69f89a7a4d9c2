"""Which job runs next, and what follows from a change."""
