"""Text from a stranger (a model's names, a runtime's messages) made safe to print.

Every message to a terminal and every log goes through here: control characters, terminal escapes
and bidirectional overrides are shown as `\\x1b`-like escapes, never sent.
"""

from __future__ import annotations

import re

# C0 and C1 controls, DEL, the bidirectional controls of UAX #9, line/paragraph separators,
# zero-width characters, byte-order mark, surrogates and non-characters.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\uffff\ud800-\udfff]"
)
_ANSI = re.compile("\x1b\\[[0-9;?]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?")


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: object, limit: int = 400) -> str:
    """`text` as one printable line of at most `limit` characters; line breaks become spaces."""
    joined = " ".join(_ANSI.sub("", str(text)).split())
    safe = _UNSAFE.sub(_escape, joined)
    return safe if len(safe) <= limit else f"{safe[: limit - 1]}…"


def lines(text: str) -> str:
    """`text` with its line breaks kept and everything else that could steer a terminal escaped."""
    plain = _ANSI.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(_UNSAFE.sub(_escape, each.replace("\t", "    ")) for each in plain.split("\n"))
