"""What a deployed file says of its own inputs and tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """One input: every name it goes by, its shape (None: a size, or the rank, left open), its type in the file's words.

    >>> print(Port(names=("x",), shape=(1, None), elem_type="f32"))
    f32 [1, ?]
    """

    names: tuple[str, ...]
    shape: tuple[int | None, ...] | None
    elem_type: str

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.elem_type}, no rank declared"
        return f"{self.elem_type} [{', '.join('?' if each is None else str(each) for each in self.shape)}]"


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """The inputs, and the names of all tensors that can be asked for."""

    inputs: tuple[Port, ...]
    tensors: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """A file that passed: its interface, and the files that it consists of with the SHA-256 of each as it was read."""

    interface: Interface
    files: tuple[tuple[Path, str], ...]
