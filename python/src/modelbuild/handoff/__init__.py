"""What a build hands from the training to notify and deploy: the model, and a person's approval."""
