"""What a model is for: decode its outputs, say what a user would notice.."""
