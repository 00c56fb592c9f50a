"""Model cards and the models that demo and tests use."""
