"""Files of the lake get their names: all of them, or none that counts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from chainwatch.lake.faults import refuse_write
from chainwatch.lake.layout import Layout
from chainwatch.lake.segments import flush_file, flush_folder


class Publication:
    """Drafts of segments in the order in which they get their names."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.entries: list[tuple[Path, Path]] = []

    def add_segment(self, table: str, day: str, load: str) -> Path:
        """Note a segment before it is written; returns the path of its draft."""
        draft = self._layout.draft(f"{load}-{table}.parquet")
        self.entries.append((draft, self._layout.segment(table, day, load)))
        return draft


@contextlib.contextmanager
def publishing(layout: Layout) -> Iterator[Publication]:
    """Give each draft noted in the body its name, in order, when the body ends.

    Raises StoreError where the disk refuses; drafts that got no name are removed.
    """
    publication = Publication(layout)
    try:
        yield publication
        for draft, segment in publication.entries:
            segment.parent.mkdir(parents=True, exist_ok=True)
            draft.rename(segment)
            flush_folder(segment.parent)
            flush_folder(segment.parent.parent)
    except Exception as failure:
        for draft, _ in publication.entries:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
        refuse_write(layout, failure)


def keep_document(layout: Layout, name: str, body: bytes) -> None:
    """Store the bytes of a document once, under their SHA-256. Raises StoreError."""
    path, draft = layout.document(name), layout.new_draft(name)
    try:
        if not path.exists():
            draft.write_bytes(body)
            flush_file(draft)
            path.parent.mkdir(parents=True, exist_ok=True)
            draft.rename(path)
            flush_folder(path.parent)
    except OSError as failure:
        refuse_write(layout, failure)
