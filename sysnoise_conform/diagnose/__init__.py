"""Names the operator that diverges on a target: replay, islands, the observer's effect, a verdict, a reproducer."""
