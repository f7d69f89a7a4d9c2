"""Compares the predictions of two models row by row.

No other code of the agents' helpers needs numpy and pyarrow.
"""
