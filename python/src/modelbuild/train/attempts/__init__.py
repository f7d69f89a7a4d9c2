"""The attempts at one training: the head that holds each, its result, and the delivery to the build."""
