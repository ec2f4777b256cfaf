"""Writing a study's reports beside its rows."""

from __future__ import annotations

from pathlib import Path

from hermes.results.files import explained
from hermes.results.place import open_place
from hermes.results.report.contents import gather_report
from hermes.results.report.html import html_page
from hermes.results.report.markdown import markdown_page
from hermes.results.report.png import pareto_png

__all__ = ["write_report"]


def write_report(folder: str | Path) -> dict[str, Path | str]:
    """Write `report.html`, `report.md` and `pareto.png` into a study's folder.

    Existing reports are replaced atomically. Needs no lock: a running study can be reported.

    Returns:
        The paths or URLs written, under `html`, `md` and `png`.
    """
    report = gather_report(folder)
    contents = {
        "html": ("report.html", html_page(report).encode()),
        "md": ("report.md", markdown_page(report).encode()),
        "png": ("pareto.png", pareto_png(report)),
    }
    place = open_place(folder)
    paths = {}
    for kind, (name, content) in contents.items():
        with explained("write", place.at(name)):
            place.replace(name, content)
        paths[kind] = place.at(name)
    return paths
