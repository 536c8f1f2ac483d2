"""Text that came from outside: made safe for a terminal, a table, a spreadsheet and a page."""

import json
import unicodedata
from collections.abc import Iterable

# Control, format (bidirectional overrides among them), surrogate, private use, unassigned,
# line and paragraph separators: none may reach a terminal.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str, limit: int | None = None) -> str:
    """The text with every control and invisible character written out, cut to `limit`."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(c if unicodedata.category(c) not in _HIDDEN else _escape(c) for c in text)
    if limit is not None and len(text) > limit:
        return text[: limit - 1] + "…"
    return text


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def suggest(name: str, names: Iterable[str]) -> str:
    """The words "did you mean X? " with the nearest of some names, or "" where none is near.

    Case does not count. The blank at the end lets a message go on after it.
    """
    from difflib import get_close_matches

    by_lower_case = {candidate.lower(): candidate for candidate in names}
    nearest = get_close_matches(name.lower(), by_lower_case, n=1)
    return f"did you mean {by_lower_case[nearest[0]]}? " if nearest else ""


class ScriptJson(json.JSONEncoder):
    """JSON to stand in a <script> of a page: nothing in it ends the script or begins a comment.

    HTML reads a script up to "</script" and knows no escapes there, JavaScript before 2019 ends
    a line at U+2028 and U+2029. All of them occur in strings only, where JSON may escape them.
    """

    def encode(self, o: object) -> str:
        return super().encode(o).translate(_IN_SCRIPT)


_IN_SCRIPT = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def contract_text(data: bytes, limit: int = 32) -> str:
    """What a contract returned as a string (ABI string, or bytes32 of old tokens), made visible.

    An answer that is neither gives "": the caller falls back to the address.
    """
    body = b""
    if len(data) == 32:
        body = data.rstrip(b"\0")
    elif len(data) >= 64:
        offset = int.from_bytes(data[:32])
        if offset + 32 <= len(data):
            length = int.from_bytes(data[offset : offset + 32])
            body = data[offset + 32 : offset + 32 + min(length, 4 * limit)]
    return visible(body.decode("utf-8", "replace").strip(), limit)
