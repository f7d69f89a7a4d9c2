"""``modelbuild check-image``: proves that an image does what a SageMaker endpoint of modelbuild must do."""
