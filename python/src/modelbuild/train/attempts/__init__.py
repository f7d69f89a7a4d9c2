"""The attempts at one training: which head is the one, how it ended, and that the build knows."""
