"""The plugin ``notify``: shows the result of a training on the build page."""
