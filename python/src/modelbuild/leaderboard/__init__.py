"""All models of a pipeline by their quality: all builds and branches, candidates, experiments."""
