"""The one guarded way to open a stranger's file: regular, of bounded size, and never blocking."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from io import BufferedReader
from pathlib import Path

from sysnoise_conform.errors import BadInput, ConformError
from sysnoise_conform.printable import one_line

_BLOCK = 1 << 20  # bytes that are copied at a time

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a character device"),
    (stat.S_ISBLK, "a block device"),
)


def resolved(path: Path | str, *, what: str, error: type[ConformError]) -> Path:
    """`path` made absolute, every link followed. A name that no file can have raises `error`."""
    if "\0" in str(path):
        raise error(f"{what} {one_line(path, 120)!r}: no file name holds a NUL character")
    return Path(os.path.realpath(path))


def open_regular(path: Path, *, what: str, error: type[ConformError], limit: int | None = None) -> BufferedReader:
    """Open a regular file of at most `limit` bytes for reading; anything else raises `error` in one line.

    `what` names the thing in the message: "the model". A named pipe without a writer would block in
    open(), hence O_NONBLOCK, which means nothing for regular files.
    """
    shown = one_line(path, 200)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as err:
        raise error(f"can't open {what} {shown!r}: {_reason(err)}", hint="check the path") from err
    except ValueError as err:  # an embedded NUL
        raise error(f"{what} {shown!r}: not a file name") from err
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = next((words for test, words in _KINDS if test(status.st_mode)), "not a regular file")
            raise error(f"{what} {shown!r} is {kind}", hint="name a regular file")
        if limit is not None and status.st_size > limit:
            raise error(f"{what} {shown!r} has {status.st_size:,} bytes; the limit is {limit:,}")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_beside(
    path: Path, name: str, *, what: str, error: type[ConformError], limit: int, allow_linked: bool
) -> BufferedReader:
    """Open the file called `name` in the folder of `path`, as another file's reader expects it there.

    Nobody typed that name, so it must lie there after every link is followed, and have one name only: a second one
    (a hard link) may be that of a file elsewhere. `allow_linked` lifts both rules.
    """
    cure = "if that is meant, allow it with --allow-linked-data"
    root = os.path.realpath(path.parent)
    real = Path(os.path.realpath(path.parent / name))
    if not allow_linked and not real.is_relative_to(root):
        raise error(f"{what} {one_line(name, 200)!r} are a link that leaves the folder", hint=cure)
    stream = open_regular(real, what=what, error=error, limit=limit)
    names = os.fstat(stream.fileno()).st_nlink
    if names > 1 and not allow_linked:
        stream.close()
        raise error(
            f"{what} {one_line(name, 200)!r} have {names} names (hard links), maybe outside the folder", hint=cure
        )
    return stream


def read_regular(path: Path, *, what: str, error: type[ConformError], limit: int) -> bytes:
    """The whole content of a regular file of at most `limit` bytes."""
    with open_regular(path, what=what, error=error, limit=limit) as stream:
        try:
            size = os.fstat(stream.fileno()).st_size
            data = stream.read(size + 1)  # read() allocates what it is asked for: never the limit
        except OSError as err:
            raise error(f"can't read {what} {one_line(path, 200)!r}: {_reason(err)}") from err
    if len(data) > size:
        raise error(f"{what} {one_line(path, 200)!r} grew while it was read", hint="run again when it is finished")
    return data


def digest_stream(stream: BufferedReader) -> str:
    """SHA-256 of what is left in the stream, in hexadecimal."""
    return hashlib.file_digest(stream, "sha256").hexdigest()


def copy_hashed(source: BufferedReader, place: Path) -> str:
    """Copy what is left in the stream to a new file; the SHA-256 of what was written, in hexadecimal.

    Hashing, which takes as long as writing, goes on beside it. Raises OSError.
    """
    digest = hashlib.sha256()
    with ThreadPoolExecutor(max_workers=1) as hashing, place.open("wb", buffering=0) as copy:
        before = None
        while block := source.read(_BLOCK):
            if before is not None:
                before.result()  # at most two blocks are held
            before = hashing.submit(digest.update, block)
            view = memoryview(block)
            while len(view):  # an unbuffered file may take less than it is given
                view = view[copy.write(view) or 0 :]
    return digest.hexdigest()


def _reason(err: OSError) -> str:
    words = {
        errno.ENOENT: "no such file",
        errno.ENOTDIR: "no such file",
        errno.EACCES: "permission denied",
        errno.ELOOP: "its links lead in a circle",
        errno.ENAMETOOLONG: "the name is too long",
        errno.ENXIO: "it is a socket or a pipe without a writer",
    }
    return words.get(err.errno or 0) or one_line(err.strerror or err, 120)


def content(path: Path | None) -> str:
    """The SHA-256 of a file's content; of one that can't be read why, which is told where it is used."""
    if path is None:
        return ""
    try:
        with open_regular(path, what="the file", error=BadInput) as stream:
            return digest_stream(stream)
    except (BadInput, OSError) as err:
        return f"unreadable: {err}"
