"""The graphs of a matrix: the model's own, and what the noises of its graph make of it."""

from __future__ import annotations

from pathlib import Path

from sysnoise_conform.graph.intake import Model
from sysnoise_conform.matrix.facts import Levels


class Graphs:
    """Writes the graph of given levels for a session."""

    def __init__(self, model: Model) -> None:
        self._model = model

    def write(self, levels: Levels, folder: Path) -> Path:
        """A private copy in `folder`."""
        assert not levels, levels
        return self._model.write(folder)
