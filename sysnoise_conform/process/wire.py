"""Messages between a parent and its child: JSON in frames on a private socket, with descriptors beside them.

A frame is a header (magic, length of the body, number of descriptors) and a body of UTF-8 JSON. Nothing that
arrives is trusted: sizes are bounded, a descriptor more than announced is dropped, and nothing is unpickled.
Runs in children: Python 3.10, numpy alone.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sysnoise_conform.backend import Build, Effective, Optimised, Runtime

MAX_BODY = 256 << 20  # bytes of JSON; string tensors travel in it, all other tensors in the arena
_MAX_DESCRIPTORS = 1
_HEADER = struct.Struct(">4sII")
_MAGIC = b"cnf1"
_TICK_S = 0.2


class WireError(Exception):
    """The other side sent what no version of ours sends."""


class ClosedError(WireError):
    """The other side is gone, or has closed the channel."""


class Channel:
    """One end of the socket pair; not for two threads at once.

    `peer` is a pidfd of the other side: when that process is dead and nothing is left to read, the channel
    is closed, even if a process that it left behind still holds its end. `tick` is called about five times
    a second while waiting.
    """

    def __init__(self, sock: socket.socket, *, peer: int | None = None, tick: Callable[[], None] | None = None) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._peer = peer
        self._tick = tick

    def send(self, message: Mapping[str, Any], fds: Sequence[int] = (), *, deadline: float | None = None) -> None:
        """Send one frame. `deadline` is on `time.monotonic`'s clock.

        Raises TimeoutError at the deadline, ClosedError when nobody is there to read, WireError for what is no JSON.
        """
        try:
            body = json.dumps(message).encode("ascii")
        except (TypeError, ValueError, RecursionError) as err:
            raise WireError(f"a message that is no JSON: {err}") from err
        if len(body) > MAX_BODY:
            raise WireError(f"a message of {len(body)} bytes; at most {MAX_BODY} travel")
        header = _HEADER.pack(_MAGIC, len(body), len(fds))
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            rest = memoryview(header + body)
            while rest:
                self._wait(select.POLLOUT, deadline)
                with contextlib.suppress(BlockingIOError):
                    rest = rest[self._sock.sendmsg([rest], ancillary) :]
                    ancillary = []  # descriptors go with the first byte, once
        except (BrokenPipeError, ConnectionResetError) as err:
            raise ClosedError("the other side has closed the channel") from err

    def receive(self, *, deadline: float | None = None) -> tuple[dict[str, Any], list[int]]:
        """The next message and the descriptors that came with it, now the caller's to close.

        Raises TimeoutError at the deadline, ClosedError at the end, WireError for a frame that makes no sense.
        """
        fds: list[int] = []
        try:
            header = self._read(_HEADER.size, deadline, fds)
            magic, length, count = _HEADER.unpack(header)
            if magic != _MAGIC or length > MAX_BODY or count != len(fds):
                raise WireError("a frame with a broken header")
            try:
                message = json.loads(bytes(self._read(length, deadline, fds)))
            except (ValueError, RecursionError) as err:
                raise WireError("a frame that holds no JSON") from err
            if not isinstance(message, dict) or count != len(fds):
                raise WireError("a frame that holds no message")
        except BaseException:
            for each in fds:
                os.close(each)
            raise
        return message, fds

    def close(self) -> None:
        """Close this end; calling it twice is harmless."""
        self._sock.close()

    def _read(self, size: int, deadline: float | None, fds: list[int]) -> bytearray:
        buffer = bytearray()
        while len(buffer) < size:
            self._wait(select.POLLIN, deadline)
            try:
                chunk, ancillary, _, _ = self._sock.recvmsg(
                    min(size - len(buffer), 1 << 20), socket.CMSG_SPACE(4 * _MAX_DESCRIPTORS), socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                continue
            except ConnectionResetError as err:
                raise ClosedError("the other side has closed the channel") from err
            for level, kind, data in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    got = array.array("i")
                    got.frombytes(data[: len(data) - len(data) % got.itemsize])
                    fds.extend(got)
            if not chunk:
                raise ClosedError("the other side has closed the channel")
            buffer += chunk
        return buffer

    def _wait(self, event: int, deadline: float | None) -> None:
        poll = select.poll()
        poll.register(self._sock, event)
        if self._peer is not None:
            poll.register(self._peer, select.POLLIN)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("the deadline has passed")
            span = left if self._tick is None else min(_TICK_S, _TICK_S if left is None else left)
            ready = dict(poll.poll(None if span is None else span * 1000))
            if self._sock.fileno() in ready:
                return
            if ready:  # the other side is dead, and nothing of it is left to read
                raise ClosedError("the other side is dead")
            if self._tick is not None:
                self._tick()


def build_fields(build: Build) -> dict[str, Any]:
    """A build as JSON; `build_from` reads it."""
    return {
        "model": str(build.model),
        "format": build.format,
        "shapes": {name: list(shape) for name, shape in build.shapes.items()},
        "dtypes": dict(build.dtypes),
        "precision": build.precision,
        "device": build.device,
        "options": dict(build.options),
        "taps": list(build.taps),
        "workdir": str(build.workdir),
        "threads": build.threads,
    }


def build_from(fields: Mapping[str, Any]) -> Build:
    """The build that `build_fields` described."""
    return Build(
        **{
            **fields,
            "model": Path(fields["model"]),
            "workdir": Path(fields["workdir"]),
            "shapes": {name: tuple(shape) for name, shape in fields["shapes"].items()},
            "taps": tuple(fields["taps"]),
        }
    )


def runtime_from(fields: Mapping[str, Any]) -> Runtime:
    """What a child answered to `probe`."""
    return Runtime(**{**fields, "devices": tuple(fields["devices"])})


def effective_from(fields: Mapping[str, Any]) -> Effective:
    """What a child answered to `compile`."""
    return Effective(**fields)


def optimised_from(fields: Mapping[str, Any]) -> Optimised:
    """What a child answered to `optimised`."""
    tensors = fields["tensors"]
    return Optimised(tensors=None if tensors is None else tuple(tensors), passes=tuple(fields["passes"]))
