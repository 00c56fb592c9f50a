"""Where input tensors come from: files, images under a card, a seed.."""
