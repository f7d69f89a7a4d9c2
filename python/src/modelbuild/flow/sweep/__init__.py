"""Trains candidates of a sweep with the steps of an ordinary flow, without Metaflow around each of them."""
