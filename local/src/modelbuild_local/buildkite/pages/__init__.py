"""The build page, and annotations as HTML."""
