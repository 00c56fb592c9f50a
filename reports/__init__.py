"""Renderers: a report and its verdicts in, text out."""
