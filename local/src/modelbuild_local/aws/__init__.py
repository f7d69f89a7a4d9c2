"""The AWS stand-in: moto's server, with a Batch that runs jobs, a SageMaker that serves and an Athena that
queries.
"""
