"""Facts about the rows of a training: how many, which labels, and which evaluation inputs are among them."""
