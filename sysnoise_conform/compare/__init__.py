"""Numbers about two tensors, without an opinion about them.."""
