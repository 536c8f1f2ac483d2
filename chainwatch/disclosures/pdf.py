"""Text of a PDF, page by page: the only user of pypdf (extra `pdf`)."""

from __future__ import annotations

import io
import logging

from chainwatch.collect.document import Unreadable
from chainwatch.errors import UsageError

# A reserve report has a dozen pages.
MAX_PAGES = 200


def pages(body: bytes) -> list[str]:
    """The text of each page.

    Raises Unreadable for a file that is not a PDF, is locked, or has pictures of text, and
    UsageError where pypdf is not installed.
    """
    try:
        import pypdf
    except ImportError:
        raise UsageError(
            "reading PDFs needs pypdf: install it with `pip install 'chainwatch[pdf]'`"
        ) from None
    # It logs every font that it does not support.
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    if not body.startswith(b"%PDF-"):
        raise Unreadable("not a PDF")
    try:
        reader = pypdf.PdfReader(io.BytesIO(body))
        if len(reader.pages) > MAX_PAGES:
            raise Unreadable(f"a PDF of {len(reader.pages):,} pages is not a reserve report")
        texts = [page.extract_text() for page in reader.pages]
    except pypdf.errors.FileNotDecryptedError:
        raise Unreadable("the PDF is locked with a password") from None
    except Unreadable:
        raise
    # Broken files fail anywhere inside the reader, with any exception.
    except Exception as failure:
        raise Unreadable(f"the PDF is broken ({type(failure).__name__})") from None
    if not any(len(text.split()) > 40 for text in texts):
        raise Unreadable("image PDF: its pages are pictures without text")
    return texts
