"""The subcommand `hermes profile`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["profile"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only.")]


def profile(
    out: Annotated[Path, typer.Option(help="Folder for the table and what goes with it.")] = Path(
        "profile"
    ),
    device: Annotated[str, typer.Option(help="auto (a GPU), cuda or cpu.")] = "auto",
    device_name: Annotated[
        str, typer.Option(help="Name for scenarios. [default: the catalog's, or the driver's]")
    ] = "",
    minutes: Annotated[float, typer.Option(help="Time for everything.")] = 10.0,
    operators: Annotated[
        list[str], typer.Option(help="Measure only these families; may be repeated.")
    ] = [],  # noqa: B006
    models: Annotated[
        list[str], typer.Option(help="Measure the shapes of these models; may be repeated.")
    ] = [],  # noqa: B006
    everything: Annotated[
        bool, typer.Option("--all", help="Check whole steps and a served trace too.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Continue in the folder.")] = False,
    publish: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA",
            help="Measure nothing: add what --out holds to the package's data, hermes/costs/data.",
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Measure the operators of this machine's device; write a table that scenarios name."""
    from hermes.profile import Request
    from hermes.profile import profile as run
    from hermes.results.terminal import facts_text

    if publish is not None:
        from hermes.profile.publish import publish as add

        added = add(out, publish)
        typer.echo(json.dumps(added, indent=2) if as_json else facts_text(added))
        return
    facts = run(
        Request(
            out=out,
            device=device,
            device_name=device_name,
            minutes=minutes,
            operators=tuple(operators),
            models=tuple(models),
            everything=everything,
            resume=resume,
            quiet=quiet,
        )
    )
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    elif not quiet:
        typer.echo(facts_text(facts))
        typer.echo(f"\nwrote {out / 'table.csv'}; try: hermes simulate {out / 'scenario.yaml'}")
        typer.echo(f"ship it: hermes profile --out {out} --publish hermes/costs/data")
    if facts["interrupted"]:
        raise typer.Exit(130)
