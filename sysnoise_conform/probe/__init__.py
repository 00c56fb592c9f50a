"""A corpus of tiny cases on which runtimes are known to differ, run against a target, kept, and held against a model.

`case` says what a case is, the families (`pooling`, `resizing`, ...) hold them, `measure` and `relations` run them,
`kept` stores what came of it, `findings` tells which nodes of a model are of a kind that a target got wrong. The truth
of a case stands in the case: PyTorch has no part in it.
"""
