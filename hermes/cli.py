"""The `hermes` command: one thin function per subcommand.

Results go to standard output, progress and errors to standard error. Exit codes: 0 done; 1 ran,
but something failed; 2 the input is wrong; 130 interrupted, with all finished work kept.
"""

from __future__ import annotations

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from hermes.cli_profile import profile
from hermes.errors import HermesError, InputError, StudyLockedError, UnknownNameError

if TYPE_CHECKING:
    from hermes.scenario import Scenario
    from hermes.scenario.loading import ScenarioFile
    from hermes.sim import SimulationResult

__all__ = ["app", "main"]

app = typer.Typer(
    name="hermes",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Simulate LLM serving deployments and find the ones worth buying.",
)

ScenarioPath = Annotated[Path, typer.Argument(help="Scenario file (YAML).", show_default=False)]
Overrides = Annotated[
    list[str],
    typer.Option("--set", metavar="PATH=VALUE", help="Override any field; may be repeated."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only.")]
StudyOut = Annotated[
    str, typer.Argument(help="Folder or URL that `hermes sweep` wrote.", show_default=False)
]


class Listing(StrEnum):
    """What `hermes catalog` can list."""

    devices = "devices"
    models = "models"
    indexes = "indexes"
    media = "media"
    metrics = "metrics"
    policies = "policies"


class Schema(StrEnum):
    """What `hermes schema` can print."""

    scenario = "scenario"
    study = "study"


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit with its code."""
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        app(args=arguments)
    except SystemExit as end:
        return int(end.code or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has left; say nothing on the way out
        return 141
    except HermesError as error:
        typer.echo(f"error: {error}", err=True)
        return 2 if isinstance(error, (InputError, StudyLockedError)) else 1
    return 0


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from hermes import __version__

        typer.echo(f"hermes {__version__}")
        raise typer.Exit


@app.command()
def simulate(
    scenario: ScenarioPath,
    overrides: Overrides = [],  # noqa: B006
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for summary.json, requests.parquet and stages.parquet."),
    ] = None,
    breakdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw where the time of a request goes."),
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Exit with 1 when the scenario misses its SLO.")
    ] = False,
    error_bars: Annotated[
        bool,
        typer.Option("--error-bars", help="Say how far the cost model's error moves the metrics."),
    ] = False,
    check_laws: Annotated[
        bool, typer.Option("--check", help="Check the simulator's own laws all along.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Simulate one scenario and print its metrics."""
    from hermes.results.breakdown import write_breakdown
    from hermes.results.run_folder import FILES, write_run
    from hermes.results.terminal import error_bars_text, simulation_text
    from hermes.scenario.loading import read_scenario

    source = read_scenario(scenario, overrides)
    try:
        result, bars = _simulated(source, error_bars, check_laws)
    except InputError as error:
        raise source.located(error) from None
    summary = _summary(source.scenario, result) | bars
    if breakdown is not None:
        write_breakdown(breakdown, source.scenario.name, result.requests)
    if out is not None:
        write_run(out, summary, result.requests)
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    elif not quiet:
        typer.echo(simulation_text(summary, source.scenario.slo))
        if error_bars:
            typer.echo("\n" + error_bars_text(summary))
        if out is not None:
            typer.echo("\nwrote " + ", ".join(str(out / file) for file in FILES))
    attained = result.summary["slo_attainment"] or 0.0
    if gate and attained < source.scenario.slo.attainment:
        raise typer.Exit(1)


def _simulated(
    source: ScenarioFile, error_bars: bool, check_laws: bool
) -> tuple[SimulationResult, dict[str, Any]]:
    """Simulate a scenario; return what was found, and the error bars if asked for."""
    from hermes.sim import simulate as run

    if not error_bars:
        return run(source.scenario, source.folder, check=check_laws), {}
    from hermes.sim.error_bars import simulate_with_error_bars

    result, found, extrapolated = simulate_with_error_bars(source.scenario, source.folder)
    bars = {name: {"low": bar.low, "high": bar.high} for name, bar in found.items()}
    return result, {"error_bars": bars, "rests_on_extrapolation": extrapolated}


def _summary(scenario: Scenario, result: SimulationResult) -> dict[str, Any]:
    """Return what a run tells besides its rows."""
    from hermes import __version__
    from hermes.metrics import stage_means, summarize_kinds
    from hermes.sim.link import link_facts
    from hermes.sim.tiers.store import tier_facts

    return {
        "name": scenario.name,
        "seed": scenario.seed,
        "hermes_version": __version__,
        "workload": result.workload_source,
        "cost_model": result.cost_model,
        **result.summary,
        "stages": stage_means(result.requests.stages),
        **({"classes": summarize_kinds(result.requests, scenario.slo)} if scenario.classes else {}),
        **({"tiers": tier_facts(result.tiers)} if result.tiers else {}),
        "links": link_facts(result.links, float(result.summary["duration_s"] or 0)),
        "cost_provenance": result.cost_origins.facts(),
    }


@app.command()
def check(
    file: Annotated[
        str,
        typer.Argument(
            help="Scenario or study (YAML), or the name of a bundled study.", show_default=False
        ),
    ],
    overrides: Overrides = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Validate a scenario or a study, and explain what would run."""
    from hermes.scenario.loading import read_scenario
    from hermes.scenario.yaml import read_yaml
    from hermes.sim.explain import explain

    bundled = not Path(file).exists() and Path(file).suffix not in {".yaml", ".yml"}
    value = None if bundled else read_yaml(file).value
    if bundled or (isinstance(value, dict) and "space" in value):
        from hermes.sweeps import explain_study, load_study

        facts = explain_study(load_study(file, overrides))
    else:
        source = read_scenario(file, overrides)
        try:
            facts = explain(source.scenario, source.folder)
        except InputError as error:
            raise source.located(error) from None
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        from hermes.results.terminal import facts_text

        typer.echo(facts_text(facts))


@app.command()
def sweep(
    study: Annotated[
        str,
        typer.Argument(help="Study file (YAML), or the name of a bundled one.", show_default=False),
    ],
    overrides: Overrides = [],  # noqa: B006
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder for the results, or the URL of one in an object store (s3, gs, abfs). "
            "[default: runs/<study name>]"
        ),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster to use. [default: a local one, started here]")
    ] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Run at most so many trials.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Trials at once; 0 runs them in this process, without Ray."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the study in the folder.")
    ] = False,
    mirror: Annotated[
        Path | None,
        typer.Option(help="Optuna journal to keep a copy in, for optuna-dashboard."),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report/--no-report", help="Write the report at the end.")
    ] = True,
    yes: Annotated[
        bool, typer.Option("--yes", help="Run a study that asks for very many trials, or much.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Run a study: try many deployments, keep every result, report the best."""
    from hermes.sweeps import load_study, require_allowed, run_study

    loaded = load_study(study, overrides)
    if not yes:
        require_allowed(loaded, trials)
    folder = out or str(Path("runs") / loaded.name)
    outcome = run_study(
        loaded,
        folder,
        address=address,
        trials=trials,
        resume=resume,
        workers=workers,
        quiet=quiet,
        mirror=mirror,
    )
    if outcome.interrupted:
        command = _resume_command(study, folder, overrides, address, trials)
        typer.echo(f"interrupted; finish with: {command}", err=True)
        raise typer.Exit(outcome.exit_code or 1)
    if report:
        from hermes.results import write_report

        paths = write_report(folder)
        if not quiet:
            _print_front(folder)
            typer.echo(f"\nreport: {paths['html']}")
    if outcome.failed:
        raise typer.Exit(1)


def _resume_command(
    study: str, folder: str, overrides: list[str], address: str | None, trials: int | None
) -> str:
    """Return what to type into a shell to finish a study, whatever its names are."""
    words = ["hermes", "sweep", f"--out={folder}", "--resume"]
    words += [f"--set={override}" for override in overrides]
    words += [] if address is None else [f"--address={address}"]
    words += [] if trials is None else [f"--trials={trials}"]
    return shlex.join([*words, "--", study])


@app.command()
def report(folder: StudyOut, quiet: Quiet = False) -> None:
    """Write a study's report: report.html, report.md and pareto.png, in its folder."""
    from hermes.results import write_report

    for path in write_report(folder).values():
        if not quiet:
            typer.echo(str(path))


@app.command()
def pareto(folder: StudyOut, as_json: AsJson = False) -> None:
    """Print the Pareto front of a study."""
    if as_json:
        from hermes.results import front_table

        headers, rows = front_table(folder)
        typer.echo(json.dumps([dict(zip(headers, row, strict=True)) for row in rows], indent=2))
    else:
        _print_front(folder)


@app.command()
def confirm(
    folder: StudyOut,
    trial: Annotated[
        str | None,
        typer.Option(help="Number of the trial, or the beginning of its key. [default: the best]"),
    ] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Largest relative difference of a metric; at 0 every token's time must be equal.",
        ),
    ] = 0.0,
    data: Annotated[
        Path | None,
        typer.Option(help="Where the scenario's relative paths start. [default: as it ran]"),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Simulate a trial again with the real engine's own scheduler, and print the difference."""
    from hermes.sweeps import confirm_trial

    confirmation = confirm_trial(folder, trial, data)
    facts = confirmation.facts(tolerance)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    elif not quiet:
        from hermes.results.terminal import confirmation_text

        typer.echo(confirmation_text(facts))
    if not facts["confirmed"]:
        raise typer.Exit(1)


@app.command()
def calibrate(
    measurements: Annotated[
        list[Path],
        typer.Argument(
            help="Step log (CSV), or results of `vllm bench serve` or AIPerf (JSON, CSV).",
            show_default=False,
        ),
    ],
    scenario: Annotated[Path, typer.Option(help="Scenario of the deployment that was measured.")],
    client: Annotated[
        str | None, typer.Option(help="Client that was measured. [default: the only one]")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="File to write; a scenario names it under `costs`.")
    ] = Path("calibration.json"),
    plot: Annotated[Path | None, typer.Option(help="Picture to write (PNG or SVG).")] = None,
    as_json: AsJson = False,
) -> None:
    """Fit the roofline to your own measurements, and say how well it fits."""
    from hermes.costs.calibration import calibrate as fit
    from hermes.costs.calibration import read_observations
    from hermes.costs.roofline import Roofline
    from hermes.results.terminal import facts_text
    from hermes.scenario.loading import read_scenario
    from hermes.sim.deployment import resolve

    source = read_scenario(scenario)
    try:
        plans = {plan.name: plan for plan in resolve(source.scenario, source.folder).clients}
    except InputError as error:
        raise source.located(error) from None
    if client is None and len(plans) > 1:
        raise InputError(f"name one of the clients: {', '.join(plans)}", "--client")
    if client is not None and client not in plans:
        raise UnknownNameError.among("client", client, list(plans), "--client")
    plan = plans[client] if client else next(iter(plans.values()))
    size = plan.tensor_parallel_size
    roofline = Roofline(plan.model, plan.device, plan.dtype, plan.kv_dtype, size)
    found = fit(roofline, read_observations(measurements), plan.model.name, plan.device.name, size)
    found.factors.write(out)
    if plot is not None:
        from hermes.costs.calibration.plot import write_plot

        write_plot(found, plot)
    facts = {
        "observations": len(found.measured),
        "median error of the roofline as it is": f"{found.unfitted_error:.1%}",
        "median error fitted": f"{found.factors.fitted_error:.1%}",
        "median error held out": f"{found.factors.held_out_error:.1%}",
        "step_us": round(found.factors.step_us, 1),
        "linear": round(found.factors.linear, 3),
        "decode": round(found.factors.decode, 3),
        "prefill": round(found.factors.prefill, 3),
        "request_ms": round(found.factors.request_ms, 2),
        "wrote": str(out),
    }
    typer.echo(json.dumps(facts, indent=2) if as_json else facts_text(facts))


app.command()(profile)


@app.command()
def catalog(listing: Listing, as_json: AsJson = False) -> None:
    """List what Hermes knows: devices, models, indexes, metrics or policies."""
    from hermes.sim.explain import list_known

    rows = list_known(listing.value)
    if listing is Listing.metrics:
        from hermes.evaluation import CAPACITY_METRICS

        found = CAPACITY_METRICS.values()
        rows += [
            {"name": m.name, "unit": m.unit, "better": m.better, "meaning": m.meaning}
            for m in found
        ]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        from hermes.results.terminal import table_text

        typer.echo(table_text(rows))


@app.command()
def schema(
    kind: Annotated[Schema, typer.Argument(help="Which kind of file.")] = Schema.scenario,
) -> None:
    """Print the JSON Schema of a scenario or study file, for editors."""
    if kind is Schema.study:
        from hermes.sweeps import study_schema

        typer.echo(json.dumps(study_schema(), indent=2))
    else:
        from hermes.scenario.schema import scenario_schema

        typer.echo(json.dumps(scenario_schema(), indent=2))


def _print_front(folder: str) -> None:
    from hermes.results import front_text

    typer.echo(front_text(folder))


if __name__ == "__main__":
    main()
