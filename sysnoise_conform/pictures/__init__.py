"""Pictures: examined before anything native sees them, decoded, resized and placed as a card or a noise says."""
