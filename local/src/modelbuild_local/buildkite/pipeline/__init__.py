"""What a pipeline says, from its text to the steps of a build."""
