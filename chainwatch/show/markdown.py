"""Tables in Markdown."""

from __future__ import annotations

from chainwatch.show.document import Report
from chainwatch.show.table import columns_shown
from chainwatch.show.values import cell_text, is_number
from chainwatch.text import visible


def markdown_text(report: Report) -> str:
    result = report.result
    shown = columns_shown(report)
    lines = []
    if report.title:
        lines += [f"**{_md(report.title)}**", ""]
    lines += [f"{_md(line)}  " for line in report.header]
    if report.header:
        lines.append("")
    lines.append("| " + " | ".join(_md(title) for _, title in shown) + " |")
    lines.append(
        "|" + "|".join(" ---: " if is_number(result.types[i]) else " --- " for i, _ in shown) + "|"
    )
    for row in result.rows:
        cells = [_md(cell_text(result.columns[i], row[i])) for i, _ in shown]
        lines.append("| " + " | ".join(cells) + " |")
    if report.notes:
        lines += ["", *(f"{_md(note)}  " for note in report.notes)]
    return "\n".join(lines) + "\n"


def _md(text: str) -> str:
    escaped = visible(text).replace("\\", "\\\\")
    for sign in ("|", "<", "`", "*", "_", "["):
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped
