"""Tables in Markdown."""

from __future__ import annotations

from chainwatch.show.document import Report
from chainwatch.show.table import columns_shown
from chainwatch.text import visible


def markdown_text(report: Report) -> str:
    shown = columns_shown(report)
    lines = []
    if report.title:
        lines += [f"**{_md(report.title)}**", ""]
    lines += [f"{_md(line)}  " for line in report.header]
    if report.header:
        lines.append("")
    lines.append("| " + " | ".join(_md(column.title) for column in shown) + " |")
    lines.append(
        "|" + "|".join(" ---: " if column.unit.is_number else " --- " for column in shown) + "|"
    )
    for row in report.result.rows:
        lines.append("| " + " | ".join(_md(column.cell(row)) for column in shown) + " |")
    if report.notes:
        lines += ["", *(f"{_md(note)}  " for note in report.notes)]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    escaped = visible(text).replace("\\", "\\\\")
    for sign in ("|", "<", "`", "*", "_", "["):
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped
