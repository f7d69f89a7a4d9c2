"""The plugin ``deploy``: copies a model to production and serves it."""
