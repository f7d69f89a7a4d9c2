"""The experimental runs in W&B: those with the parameters of a training, or all of a project."""
