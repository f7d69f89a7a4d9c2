"""The Weights & Biases run of a training, or of an experiment.

A training never fails because of W&B and is never slowed down much: what W&B does not take is logged in one
line, and the training continues without it. The modules:

- ``description``: what a run is called, and what it is made with
- ``run``: the run that this process writes
- ``media``: an evaluation as W&B's tables and charts
- ``failure``: the command by which the head reports a failed training to W&B
"""
