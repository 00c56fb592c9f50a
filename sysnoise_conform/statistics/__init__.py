"""Whether a drop is real: tests and intervals for two results on the same pictures, never on two sets of them."""
