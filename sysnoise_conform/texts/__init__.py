"""Texts as language models read them: tokens, and the arrays that they become."""
