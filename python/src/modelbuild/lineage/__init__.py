"""From a model, or a prediction it made, back to where it came from."""
