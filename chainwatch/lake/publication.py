"""Files of the lake get their names: all of them, or none that counts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from chainwatch.lake.catalog import read_statement
from chainwatch.lake.engine import connect
from chainwatch.lake.faults import refuse_write
from chainwatch.lake.layout import SUFFIX, Layout
from chainwatch.lake.locks import hold_sequence
from chainwatch.lake.segments import flush_file, flush_folder, quoted, write_segment
from chainwatch.tables.log import Load


class Publication:
    """Drafts of segments in the order in which they get their names."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.entries: list[tuple[Path, Path]] = []
        self.named: list[Path] = []

    def add_segment(self, table: str, span: str, load: str) -> Path:
        """Note a segment before it is written; returns the path of its draft."""
        draft = self._layout.draft(f"{load}-{table}.parquet")
        self.entries.append((draft, self._layout.segment(table, span, load)))
        return draft

    def name_segments(self) -> None:
        """Give each draft its name that has none yet. Raises OSError."""
        for draft, segment in self.entries[len(self.named) :]:
            segment.parent.mkdir(parents=True, exist_ok=True)
            draft.rename(segment)
            self.named.append(segment)
            flush_folder(segment.parent)
            flush_folder(segment.parent.parent)

    def add_receipt(self, day: str, load: str, receipt: Load) -> Load:
        """Give the segments their names and let their load count; returns its row in `loads`.

        That row lies where the segments do: with those of `day`, or of the period that it names. It
        gets the next number of the lake, under the lake's lock until it has its name: who sees a
        number sees all smaller ones. A number that a crash took is not given again. Raises OSError,
        duckdb.Error.
        """
        with hold_sequence(self._layout, lambda: _last_sequence(self._layout)) as number:
            numbered = msgspec.structs.replace(receipt, sequence=number)
            draft = self.add_segment(Load.table, receipt.period or day, load)
            with connect() as engine:
                write_segment(engine, draft, Load, [numbered], load, day if receipt.period else "")
            # At once, so that a process that is killed seldom leaves segments that never count.
            self.name_segments()
        return numbered


def _last_sequence(layout: Layout) -> int:
    """The largest number of a row in `loads`; 0 where none has one."""
    if not any((layout.lake / Load.table).glob(f"*/*{SUFFIX}")):
        return 0
    files = quoted(str(layout.lake / Load.table / "*" / f"*{SUFFIX}"))
    text = (
        "SELECT coalesce(max(sequence), 0) FROM (SELECT NULL::BIGINT AS sequence "
        f"UNION ALL BY NAME SELECT * FROM read_parquet({files}, union_by_name = true, "
        "hive_partitioning = false))"
    )
    with connect() as engine:
        ((largest,),) = read_statement(lambda: engine.execute(text).fetchall())
    return int(largest)


@contextlib.contextmanager
def publishing(layout: Layout) -> Iterator[Publication]:
    """Give each draft noted in the body its name, in order, when the body ends.

    Raises StoreError where the disk refuses; drafts are removed, and segments of a load that does
    not count.
    """
    publication = Publication(layout)
    try:
        yield publication
        publication.name_segments()
    except Exception as failure:
        counts = any(path.parts[-3] == Load.table for path in publication.named)
        for path in [draft for draft, _ in publication.entries] + publication.named * (not counts):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
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
