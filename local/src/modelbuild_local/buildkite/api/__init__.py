"""The Agent API and the REST API."""
