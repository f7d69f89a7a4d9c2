"""The AWS stand-in: moto's server, with Batch, SageMaker and Athena that really do the work."""
