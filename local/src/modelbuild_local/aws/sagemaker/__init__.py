"""SageMaker whose endpoints serve."""
