"""The code of the train plugin: on the agent, and inside Batch."""
