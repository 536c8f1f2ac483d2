"""A report as text in the format that was asked for."""

from __future__ import annotations

import json

from chainwatch.show.document import Format, Report
from chainwatch.show.machine import csv_text, json_text, plain_rows
from chainwatch.show.markdown import markdown_text
from chainwatch.show.table import table_text


def text_of(report: Report, form: Format, *, width: int | None = None, color: bool = False) -> str:
    """The report as text, with a newline at its end."""
    match form:
        case Format.CSV:
            return csv_text(report.result)
        case Format.JSON:
            return json_text(report)
        case Format.JSONL:
            return "".join(
                json.dumps(r, ensure_ascii=False) + "\n" for r in plain_rows(report.result)
            )
        case Format.MARKDOWN:
            return "\n".join(map(markdown_text, (report, *report.parts)))
        case Format.TABLE:
            return "\n".join(table_text(part, width, color) for part in (report, *report.parts))
