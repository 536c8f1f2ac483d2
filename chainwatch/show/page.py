"""HTML pages that run the scripts they were written with and no other."""

from __future__ import annotations

import base64
import hashlib
import re

_SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)


def with_policy(page: str) -> str:
    """The page under a Content-Security-Policy: its own inline scripts by their hash, nothing from
    elsewhere. Charts are compiled by `new Function`, which the policy has to allow.

    Raises ValueError for a page without a head.
    """
    hashes = " ".join(f"'sha256-{_digest(script)}'" for script in _SCRIPT.findall(page))
    policy = (
        f"default-src 'none'; script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    head, opening, rest = page.partition("<head>")
    if not opening:
        raise ValueError("the page has no head")
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    return f"{head}{opening}\n  {meta}{rest}"


def _digest(script: str) -> str:
    # Browsers see one kind of line end.
    text = script.replace("\r\n", "\n").replace("\r", "\n")
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
