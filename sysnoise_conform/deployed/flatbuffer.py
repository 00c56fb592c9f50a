"""A bounds-checked reader of FlatBuffers: every offset, table and vector of a file is checked before it is followed.

A schema maps a table's name to its fields in slot order, `name:kind` each; `_` is a slot of no interest. Kinds are
struct's letters for a scalar (`i=1`: 1 where it is absent), `str`, `[b]` for a vector of scalars, `[Name]` for one of
tables, `Name` for a table, and `|Name` for a union, whose type is the slot before it. Format:
https://flatbuffers.dev/internals/
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# What the C++ verifier of FlatBuffers allows by default.
MAX_TABLES = 1_000_000
# Elements of vectors; vectors may overlap, so that a small file can hold very many.
MAX_ELEMENTS = 50_000_000
_TABLE_COST = 10  # of a table among others, in elements

Schema = Mapping[str, str]
Unions = Mapping[str, Mapping[int, str]]  # union -> its type's number -> table


class FlatBufferError(Exception):
    """What is wrong with the file, in words."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The fields that a table holds, by name; absent ones are the default, None or an empty vector, as the kind has it.

    One table of the file is one object, however many fields refer to it.
    """

    fields: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]


class Reader:
    """Reads one file: `Reader(data, schema, unions).root("Model")`."""

    def __init__(self, data: bytes, schema: Schema, unions: Unions) -> None:
        self._data = data
        self._fields = {name: _parse(text) for name, text in schema.items()}
        self._unions = unions
        self._tables: dict[tuple[int, str], Table] = {}
        self._elements = 0

    def root(self, name: str, identifier: bytes) -> Table:
        """The file's root table, with everything below it. Raises FlatBufferError."""
        if self._data[4:8] != identifier:
            raise FlatBufferError(f"it does not start as {identifier.decode()} files do")
        return self._table(self._follow(0, "the root"), name)

    def _scalar(self, position: int, letter: str, what: str) -> Any:
        size = struct.calcsize("<" + letter)
        if position % size or position < 0 or position + size > len(self._data):
            raise FlatBufferError(f"{what} lies outside the file, or across its grid")
        return struct.unpack_from("<" + letter, self._data, position)[0]

    def _follow(self, position: int, what: str) -> int:
        offset = self._scalar(position, "I", what)
        if offset == 0 or position + offset >= len(self._data):
            raise FlatBufferError(f"{what} points outside the file")
        return int(position + offset)

    def _table(self, position: int, name: str) -> Table:
        known = self._tables.get((position, name))
        if known is not None:
            return known
        if len(self._tables) >= MAX_TABLES:
            raise FlatBufferError(f"it has more than {MAX_TABLES:,} tables")
        what = f"a table {name}"
        vtable = position - self._scalar(position, "i", what)
        vtable_size, size = self._scalar(vtable, "H", what), self._scalar(vtable + 2, "H", what)
        if vtable_size < 4 or vtable_size % 2 or vtable + vtable_size > len(self._data):
            raise FlatBufferError(f"{what} has a broken table of fields")
        if size < 4 or position + size > len(self._data):
            raise FlatBufferError(f"{what} reaches beyond the file")
        slots = struct.unpack_from(f"<{vtable_size // 2 - 2}H", self._data, vtable + 4)
        table = self._tables[position, name] = Table()
        for index, (key, kind, default) in enumerate(self._fields[name]):
            offset = slots[index] if index < len(slots) else 0
            if key == "_":
                continue
            width = struct.calcsize("<" + kind) if len(kind) == 1 else 4
            if offset and not 4 <= offset <= size - width:
                raise FlatBufferError(f"{key!r} of {what} lies outside it")
            place = position + offset if offset else None
            if place is None and default:
                table.fields[key] = default
                continue
            table.fields[key] = self._field(place, kind, table, f"{key!r} of {what}")
        return table

    def _field(self, position: int | None, kind: str, table: Table, what: str) -> Any:
        if len(kind) == 1:
            return 0 if position is None else self._scalar(position, kind, what)
        if kind == "str":
            return None if position is None else self._string(self._follow(position, what), what)
        if kind.startswith("["):
            inner = kind[1:-1]
            if position is None:
                return np.zeros(0, inner) if len(inner) == 1 else []
            return self._vector(self._follow(position, what), inner, what)
        if kind.startswith("|"):
            return self._union(position, kind[1:], table, what)
        return None if position is None else self._table(self._follow(position, what), kind)

    def _union(self, position: int | None, union: str, table: Table, what: str) -> Table | None:
        number = next(reversed(table.fields.values()), 0)  # the slot before: a union's type always stands there
        if position is None or not number:
            return None
        name = self._unions[union].get(number)
        if name is None:
            raise FlatBufferError(f"{what} is of the type {number}, which this version of conform does not know")
        return self._table(self._follow(position, what), name)

    def _spend(self, count: int) -> None:
        self._elements += count
        if self._elements > MAX_ELEMENTS:
            raise FlatBufferError(f"its vectors have more than {MAX_ELEMENTS:,} elements")

    def _vector(self, position: int, inner: str, what: str) -> Any:
        count = self._scalar(position, "I", what)
        size = struct.calcsize("<" + inner) if len(inner) == 1 else 4
        if position + 4 + count * size > len(self._data):
            raise FlatBufferError(f"{what} has {count:,} elements, more than the file holds")
        start = position + 4
        if len(inner) > 1:
            self._spend(count * _TABLE_COST)
        elif size > 1:  # bytes are data, not structure
            self._spend(count)
        if len(inner) == 1:
            return np.frombuffer(self._data, np.dtype(inner).newbyteorder("<"), count, start)
        return [self._table(self._follow(start + 4 * each, what), inner) for each in range(count)]

    def _string(self, position: int, what: str) -> str:
        count = self._scalar(position, "I", what)
        end = position + 4 + count
        if end >= len(self._data) or self._data[end] != 0:
            raise FlatBufferError(f"{what} is not ended")
        self._spend(count // 64)
        try:
            return self._data[position + 4 : end].decode()
        except UnicodeDecodeError as err:
            raise FlatBufferError(f"{what} is not UTF-8") from err


def _parse(text: str) -> list[tuple[str, str, int]]:
    parsed = []
    for each in text.split():
        key, _, kind = each.partition(":")
        kind, _, default = kind.partition("=")
        parsed.append((key, kind or "b", int(default or 0)))
    return parsed
