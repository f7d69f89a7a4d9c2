"""The process that Metaflow starts for a step: its variables, its packages and device, and its duration."""
