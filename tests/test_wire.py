"""Frames on a socket: whole messages and descriptors, within bounds and in time, or an error that says so."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sysnoise_conform.backend import Build, Effective, Runtime
from sysnoise_conform.process.wire import (
    MAX_BODY,
    Channel,
    ClosedError,
    WireError,
    build_fields,
    build_from,
    effective_from,
    runtime_from,
)


def soon() -> float:
    return time.monotonic() + 5


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_a_message_arrives_as_it_was_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    message = {"do": "run", "name": "a\x00b\udc80é", "number": 1.5, "nothing": None, "nan": float("inf")}

    Channel(pair[0]).send(message, deadline=soon())

    assert Channel(pair[1]).receive(deadline=soon()) == (message, [])


def test_messages_keep_their_bounds_and_their_order(pair: tuple[socket.socket, socket.socket]) -> None:
    sender, receiver = Channel(pair[0]), Channel(pair[1])
    for number in range(20):
        sender.send({"number": number}, deadline=soon())

    assert [receiver.receive(deadline=soon())[0]["number"] for _ in range(20)] == list(range(20))


def test_a_message_larger_than_the_sockets_buffer_arrives(pair: tuple[socket.socket, socket.socket]) -> None:
    message = {"strings": ["x" * 1000] * 5000}
    thread = threading.Thread(target=lambda: Channel(pair[0]).send(message, deadline=soon()))
    thread.start()

    received, _ = Channel(pair[1]).receive(deadline=soon())
    thread.join()

    assert received == message


def test_a_descriptor_travels_and_is_not_inherited(pair: tuple[socket.socket, socket.socket], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("hello")
    with file.open() as handle:
        Channel(pair[0]).send({}, [handle.fileno()], deadline=soon())

    _, fds = Channel(pair[1]).receive(deadline=soon())

    assert not os.get_inheritable(fds[0])
    assert os.read(fds[0], 10) == b"hello"
    os.close(fds[0])


def test_descriptors_beyond_the_one_announced_are_refused_and_closed(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    socket.send_fds(pair[0], [struct.pack(">4sII", b"cnf1", 2, 1) + b"{}"], [0, 1, 2])

    with pytest.raises(WireError):
        Channel(pair[1]).receive(deadline=soon())

    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "frame",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">4sII", b"cnf1", MAX_BODY + 1, 0),
        struct.pack(">4sII", b"cnf1", 2, 1) + b"{}",
        struct.pack(">4sII", b"cnf1", 3, 0) + b"[1]",
        struct.pack(">4sII", b"cnf1", 3, 0) + b"\xff\xfe{",
        struct.pack(">4sII", b"cnf1", 200_000, 0) + b"[" * 200_000,
    ],
    ids=["no frame", "too long", "descriptor missing", "no object", "no text", "nested too deep"],
)
def test_what_is_no_frame_of_ours_is_refused(pair: tuple[socket.socket, socket.socket], frame: bytes) -> None:
    threading.Thread(target=lambda: pair[0].sendall(frame)).start()

    with pytest.raises(WireError):
        Channel(pair[1]).receive(deadline=soon())


def test_silence_ends_at_the_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    started = time.monotonic()

    with pytest.raises(TimeoutError):
        Channel(pair[0], tick=lambda: None).receive(deadline=started + 0.3)

    assert 0.3 <= time.monotonic() - started < 1


def test_half_a_frame_ends_at_the_deadline_too(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].sendall(struct.pack(">4sII", b"cnf1", 100, 0) + b"{")

    with pytest.raises(TimeoutError):
        Channel(pair[1]).receive(deadline=time.monotonic() + 0.2)


def test_a_reader_that_does_not_read_ends_at_the_deadline(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(TimeoutError):
        Channel(pair[0]).send({"much": "x" * 5_000_000}, deadline=time.monotonic() + 0.2)


def test_an_end_is_told_from_silence(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].close()

    with pytest.raises(ClosedError):
        Channel(pair[1]).receive(deadline=soon())
    with pytest.raises(ClosedError):
        Channel(pair[1]).send({}, deadline=soon())


def test_a_dead_peer_is_noticed_though_somebody_else_holds_its_end(pair: tuple[socket.socket, socket.socket]) -> None:
    pid = os.posix_spawn("/bin/sleep", ["sleep", "0.2"], {})
    peer = os.pidfd_open(pid)
    started = time.monotonic()

    with pytest.raises(ClosedError):
        Channel(pair[0], peer=peer).receive(deadline=soon())

    assert time.monotonic() - started < 2
    os.waitpid(pid, 0)
    os.close(peer)


def test_what_a_dead_peer_sent_is_still_read(pair: tuple[socket.socket, socket.socket]) -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    peer = os.pidfd_open(pid)
    Channel(pair[1]).send({"last": "words"}, deadline=soon())
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    assert Channel(pair[0], peer=peer).receive(deadline=soon())[0] == {"last": "words"}
    os.waitpid(pid, 0)
    os.close(peer)


def test_what_is_no_json_can_not_be_sent(pair: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(WireError, match="no JSON"):
        Channel(pair[0]).send({"array": np.zeros(1)}, deadline=soon())


def test_a_build_survives_the_way_through_json() -> None:
    build = Build(
        model=Path("/a/model.onnx"), format="tflite", shapes={"x": (1, 3)}, dtypes={"x": "float32"}, precision="auto",
        device="gpu", options={"opt": "all"}, taps=("t",), workdir=Path("/a"), threads=2,
    )  # fmt: skip

    assert build_from(json.loads(json.dumps(build_fields(build)))) == build


def test_what_a_runtime_says_survives_the_way_through_json() -> None:
    runtime = {"name": "r", "version": "1", "devices": ["cpu"], "default_precision": "bf16", "details": {"isa": "avx"}}

    assert runtime_from(runtime) == Runtime("r", "1", ("cpu",), "bf16", {"isa": "avx"})
    assert effective_from({"device": "CPU", "precision": "fp32", "options": {}}) == Effective("CPU", "fp32", {})
