"""Fine-tuning of pretrained transformers into classifiers of texts.

Nothing is imported here, so that a flow's other steps need no torch: a flow imports the modules in the step
that trains.
"""
