"""The matrix of noises: every disagreement alone and together, on every backend, and what it costs the task."""
