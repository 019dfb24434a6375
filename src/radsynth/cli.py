"""The command line. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

from pathlib import Path

import click

from radsynth.errors import one_line_errors

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def examples(*lines: str) -> str:
    """The examples below a command's help, as they are typed."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="radsynth", prog_name="radsynth")
def cli() -> None:
    """Make medical images across modalities (report to chest X-ray, MRI to CT) and explain them.

    For research, not for clinical use. The pipeline itself is run by `dvc repro`.
    """


@cli.command(
    epilog=examples(
        "radsynth check data/incoming/openi brain/ct/head.nii.gz",
        "radsynth check --json data/incoming > verdicts.json",
    )
)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--json", "as_json", is_flag=True, help="Print one array of {path, kind, verdict, reason, message}.")
@click.pass_context
def check(context: click.Context, paths: tuple[str, ...], as_json: bool) -> None:
    """Say of each input file whether it can be used.

    Judges reports, images, volumes, DICOM series and archives with their members, as the pipeline does.

    Folders are walked. Exit status: 0 all accepted, 3 some quarantined and none refused, 2 some refused.
    """
    import json
    from dataclasses import asdict

    from radsynth import checks

    verdicts = checks.check(paths)
    if as_json:
        click.echo(json.dumps([asdict(verdict) for verdict in verdicts], indent=2))
    else:
        for verdict in verdicts:
            reason = f" [{verdict.reason}]" if verdict.reason else ""
            click.echo(checks.one_line(f"{verdict.verdict:<11} {verdict.kind:<7} {verdict.message}{reason}"))
    context.exit(checks.exit_code(verdicts))


@cli.command(
    epilog=examples(
        "radsynth configure profile=full chest=openi acquire_chest.path=/data/openi",
        "radsynth configure  # back to the quickstart",
    )
)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--conf", default="conf", show_default=True, help="Folder of the settings to compose.")
@click.option("--params", default="params.yaml", show_default=True, help="File to write.")
def configure(overrides: tuple[str, ...], conf: str, params: str) -> None:
    """Choose a profile, the sources and any setting.

    Composes conf/ into params.yaml.

    What is not named gets its default, whatever params.yaml held before.
    """
    from radsynth.configure import configure as compose_and_write

    new = not Path(params).exists()
    changed = compose_and_write(overrides, conf, params)
    if new:
        click.echo(f"{params}: written")
        return
    for name, (before, after) in changed.items():
        click.echo(f"{name}: {before} -> {after}")
    count = len(changed)
    click.echo(f"{params}: {count} setting{'' if count == 1 else 's'} changed" if count else f"{params}: no change")


@cli.command("download-openi", epilog=examples("radsynth download-openi data/incoming/openi"))
@click.argument("folder", type=click.Path(file_okay=False))
def download_openi(folder: str) -> None:
    """Download the two archives of the Open-i chest X-rays into FOLDER.

    1 MB of reports and 14 GB of images, from the NLM. What is there already stays; broken off and started again, it
    goes on where it was. Size and SHA-256 of each are printed.
    """
    from radsynth.sources.download import openi_download

    openi_download(folder)


@cli.command(epilog=examples("radsynth doctor --deep", "radsynth doctor --json > doctor.json"))
@click.option("--deep", is_flag=True, help="Also start a Prefect server of its own and see a run scheduled: 20 s.")
@click.option("--json", "as_json", is_flag=True, help="Print one array of {check, status, found, advice}.")
@click.pass_context
def doctor(context: click.Context, deep: bool, as_json: bool) -> None:
    """Check this machine and this checkout, and say what to do.

    Packages that break each other, torch and its GPU, git, the scheduler, settings, weights, disk, MLflow's store, and
    every byte of the DVC cache (about 0.6 GB a second). Nothing is changed.

    Exit status: 0 all is ok, or there are warnings alone; 2 there is a problem.
    """
    import json
    from dataclasses import asdict

    from radsynth.checks import one_line
    from radsynth.doctor.examination import examine, exit_code

    results = []
    for result in examine(deep=deep):
        results.append(result)
        if not as_json:
            advice = f"; {result.advice}" if result.advice else ""
            click.echo(one_line(f"{result.status:<8} {result.check:<10} {result.found}{advice}"))
    if as_json:
        click.echo(json.dumps([asdict(result) for result in results], indent=2))
    context.exit(exit_code(results))


@cli.command("accept-data", epilog=examples("dvc repro validate_chest && radsynth accept-data"))
def accept_data() -> None:
    """Make the validated data the reference for drift.

    Writes data/accepted/chest_label_rates.json from metrics/validate_chest.json; data that failed are not accepted.
    """
    from radsynth.validation.accept import ACCEPTED, accept

    rates = accept()
    click.echo(f"{ACCEPTED}: the rates of {len(rates)} findings are now the reference")


@cli.command(epilog=examples("radsynth publish"))
def publish() -> None:
    """Show the finished trainings in MLflow.

    `dvc repro` does this at its end. Run it again whenever mlruns/ was lost; what is there already stays as it is.
    """
    from radsynth.tracking.publish import publish as publish_trainings

    for stage, marks in publish_trainings().items():
        click.echo(f"{stage}: run {marks['fingerprint']} is in MLflow")


@cli.command(epilog=examples("radsynth promote report-to-xray", "radsynth promote mri-to-ct --mode dry_run"))
@click.argument("name")
@click.option(
    "--mode",
    type=click.Choice(["enabled", "dry_run", "disabled"]),
    help="In place of the setting gate.mode: judge and move, judge alone, or move without judging.",
)
@click.option("--version", type=click.IntRange(1), help="Promote this version, not the finished training's.")
@click.pass_context
def promote(context: click.Context, name: str, mode: str | None, version: int | None) -> None:
    """Make the finished training of NAME the champion, if the gate lets it.

    NAME is report-to-xray or mri-to-ct. Registers the model, scores it and the champion on the test set of this
    checkout, and prints every figure.

    Exit status: 0 promoted, unchanged or dry run, 4 refused, 2 a mistake.
    """
    from radsynth.tracking.registry import promote as judge_and_move

    decision = judge_and_move(".", name, mode=mode, version=version)
    click.echo(str(decision))
    context.exit(decision.exit_code)


@cli.command(epilog=examples("radsynth rollback report-to-xray"))
@click.argument("name")
def rollback(name: str) -> None:
    """Make the previous version of NAME the champion again.

    The champion becomes the previous version: a second rollback undoes the first.
    """
    from radsynth.tracking.registry import rollback as swap

    click.echo(f"{swap('.', name)} is the champion again")


@cli.command(epilog=examples("radsynth trace report-to-xray@champion"))
@click.argument("model", metavar="NAME@ALIAS")
def trace(model: str) -> None:
    """Say where a model comes from, down to the raw files.

    Prints the chain from alias to version, run, commit, settings, processed and raw data, what of it is missing, and
    whether it is what the checkout holds now. NAME@3 names a version.
    """
    from radsynth.tracking import trace as chain

    for line in chain.lines(chain.trace(".", *chain.parse(model))):
        click.echo(line)


@cli.command(epilog=examples("radsynth models"))
def models() -> None:
    """List the versions of the registered models, with their aliases."""
    from radsynth.tracking.registry import models_table

    click.echo(models_table("."))


@cli.command(epilog=examples("radsynth ui --port 5001"))
@click.option("--port", default=5000, show_default=True, help="Port on 127.0.0.1.")
def ui(port: int) -> None:
    """Look at runs and models in MLflow.

    Serves on 127.0.0.1 alone, until it is interrupted.
    """
    from radsynth.tracking.ui import serve_ui

    serve_ui(port)


main = one_line_errors(cli)

if __name__ == "__main__":
    main()
