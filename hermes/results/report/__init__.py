"""Reports: what a study found, for people, as one HTML file, Markdown and a picture."""

from __future__ import annotations

from hermes.results.report.contents import Report, gather_report
from hermes.results.report.front_table import front_table, front_text
from hermes.results.report.writing import write_report

__all__ = ["Report", "front_table", "front_text", "gather_report", "write_report"]
