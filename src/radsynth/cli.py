"""The command line. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from radsynth.errors import RadsynthError, one_line_errors

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


@cli.command(
    epilog=examples(
        "radsynth drift report-to-xray data/incoming/chest", "radsynth drift mri-to-ct data/incoming/brain --json"
    )
)
@click.argument("model", metavar="MODEL")
@click.argument("folder", type=click.Path(file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print {folder, champion, refused, known, measures: [...]}.")
@click.pass_context
def drift(context: click.Context, model: str, folder: str, as_json: bool) -> None:
    """Compare what is new in FOLDER with what the champion of MODEL learned from.

    Reads reports and X-rays for report-to-xray, mr/ and ct/ with volumes for mri-to-ct. The limits are the settings'
    section `monitor`. Exit status: 0 nothing drifted, 3 something did.
    """
    import json

    from radsynth.tracking.drift import drift as compare

    found = compare(".", model, folder)
    click.echo(json.dumps(found.record(), indent=2) if as_json else str(found))
    context.exit(3 if found.drifted else 0)


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


_MODEL = click.option(
    "--model", default="champion", show_default=True, metavar="ALIAS|VERSION|PATH", help="Which registered model."
)
_FORCE = click.option("--force", is_flag=True, help="Overwrite what an earlier command made.")
_SEED = click.option("--seed", default=0, show_default=True, help="Seed of the first picture.")
_VIEW = click.option("--view", default="frontal", show_default=True, help="frontal or lateral, as the model knows.")
_JUDGE = click.option(
    "--judge", default="models/classifier", show_default=True, help="Folder of the classifier that judges."
)


@cli.command(
    epilog=examples(
        'radsynth generate --report "Large left pleural effusion." --n 4 --seed 7 -o pictures',
        "radsynth generate --csv reports.csv --format dicom -o pictures",
    )
)
@click.option("--report", help="Text of the report.")
@click.option("--xml", metavar="FILE", help="A report as Open-i XML.")
@click.option("--csv", metavar="FILE", help="Reports as a table: findings, impression.")
@click.option("--n", default=1, show_default=True, help="Pictures a report.")
@_SEED
@_VIEW
@click.option("--format", "form", default="png", show_default=True, help="png (16 bits) or dicom (secondary capture).")
@_MODEL
@_FORCE
@click.option("-o", "--out", required=True, metavar="OUT", help="Folder to make.")
def generate(out: str, **asked: Any) -> None:
    """Draw chest X-rays from reports.

    Writes a picture and a JSON sidecar (model, digests, report, seed, settings) each. Research only.
    """
    from radsynth.use import generate as draw

    pictures = draw(out=out, keep=False, **asked)
    click.echo(f"{out}: {_count(len(pictures), 'picture')} by {_model_of(pictures[0].about)}")


@cli.command(
    epilog=examples(
        "radsynth translate mr.nii.gz -o ct.nii.gz",
        "radsynth translate mr_series -o ct_series --format dicom --model 3",
    )
)
@click.argument("mr")
@click.option("-o", "--out", required=True, metavar="CT", help="NIfTI file, or folder of a DICOM series, to make.")
@click.option("--format", "form", default="nifti", show_default=True, help="nifti or dicom.")
@_MODEL
@_FORCE
def translate(mr: str, out: str, **asked: Any) -> None:
    """Make a CT in HU from MR, a magnetic resonance volume of the head.

    MR is a NIfTI, MHA or NRRD file or the folder of a DICOM series. The CT lies on the MR's own grid; outside the head
    and beyond the model's grid it is air, -1024. A JSON sidecar says how it was made. Research only.
    """
    from radsynth.use import translate as to_ct

    ct = to_ct(mr, out, **asked)
    size = " x ".join(str(n) for n in ct.voxels.shape)
    click.echo(f"{out}: CT of {size} voxels, {ct.voxels.min()} to {ct.voxels.max()} HU")


@cli.command(
    epilog=examples(
        "radsynth explain xray.png --finding effusion -o why",
        'radsynth explain --report "Small right pneumothorax." --seed 7 -o why',
    )
)
@click.argument("image", required=False)
@click.option("--report", help="What the picture is said to show; without IMAGE it is drawn.")
@click.option("--against", help="The report that the discriminator compares with.")
@click.option("--finding", help="Finding to explain; the most probable one by default.")
@click.option("--method", default="hirescam", show_default=True, help="gradcam, hirescam or layercam.")
@_SEED
@_VIEW
@_MODEL
@_JUDGE
@_FORCE
@click.option("-o", "--out", required=True, metavar="OUT", help="Folder to make.")
def explain(image: str | None, out: str, **asked: Any) -> None:
    """Show where a finding is seen in IMAGE, or in a picture that is drawn.

    Writes the picture, an overlay and a map (npy) of the classifier and, with a report, of the discriminator. Research
    only.
    """
    from radsynth.use import explain as why

    about = why(image, out, **asked).about
    click.echo(f"{out}: {about['finding']}, probability {about['probabilities'][about['finding']]:.2f}")


@cli.command(
    epilog=examples(
        "printf 'finding,side,count\\npneumothorax,left,40\\nnormal,,40\\n' > plan.csv",
        "radsynth dataset --plan plan.csv -o synthetic",
    )
)
@click.option("--plan", required=True, metavar="FILE", help="CSV table: finding (or normal), side, count.")
@_SEED
@_VIEW
@click.option(
    "--threshold",
    type=float,
    help="Probability below which the judge disagrees, for every finding. [default: its own for each, from validation]",
)
@_MODEL
@_JUDGE
@_FORCE
@click.option("-o", "--out", required=True, metavar="OUT", help="Folder to make.")
def dataset(plan: str, out: str, **asked: Any) -> None:
    """Draw a labelled training set by a plan.

    Writes images/ with labels.csv (as the source `folder` reads it), rejected/ with the pictures on which the judge
    disagrees, and a dataset card. Research only, never to evaluate with.
    """
    from radsynth.use import dataset as draw

    made = draw(plan, out, **asked)
    for line in made.about["counts"]:
        name = " ".join(filter(None, (line["side"], line["finding"])))
        judged = "" if line["judged"] else ", not judged: the judge has not learned it"
        click.echo(f"{name}: {line['accepted']} of {line['drawn']} accepted{judged}")
    click.echo(f"{out}: {_count(len(made.accepted), 'picture')} by {_model_of(made.about)}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _model_of(about: dict[str, Any]) -> str:
    model = about["model"]
    return f"{model['name']} v{model['version']}" if model["version"] else f"{model['name']} in {model['reference']}"


def _one_line_usage() -> None:
    """Run the command line; what Click finds wrong with the arguments is one line as well, but for the help."""
    try:
        status = cli.main(standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        raise SystemExit(error.exit_code) from None
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "radsynth"
        raise RadsynthError(error.format_message().rstrip("."), next_step=f"see `{path} --help`") from None
    except click.Abort:
        raise SystemExit(130) from None
    raise SystemExit(status if isinstance(status, int) else 0)


main = one_line_errors(_one_line_usage)

if __name__ == "__main__":
    main()
