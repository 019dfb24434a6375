"""Flow `monitor`: compare what comes in with what the models in use learned from; where it drifted, start `retrain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from pipelines.commands import Checkout, StepFailed
from pipelines.process import TimedOut
from pipelines.recipes import ModelName
from pipelines.running import reconcile, recorded

DRIFTED = 3
"""Exit status of ``radsynth drift`` where the data drifted."""


@flow(name="monitor", log_prints=True)
def monitor(
    chest: str | None = None,
    brain: str | None = None,
    retrain_deployment: str | None = "retrain/on-demand",
    root: str = ".",
    hours: float = 6.0,
) -> State:
    """Ends as NothingToJudge, NoDrift, Drifted (all of them completed) or StepFailed.

    A folder that cannot be compared ends the run as StepFailed, after the other was judged and its drift acted upon.

    Parameters
    ----------
    chest, brain
        Folders with new reports and X-rays, and with new volumes; None, or a folder that is not there, is left out.
    retrain_deployment
        Deployment to start for the models whose data drifted; None starts nothing.
    root
        The checkout.
    hours
        Longest time that reading one folder may take.
    """
    here, log = Path(root).resolve(), get_run_logger().info
    folders: dict[ModelName, str | None] = {"report-to-xray": chest, "mri-to-ct": brain}
    given = {name: folder for name, folder in folders.items() if folder and (here / folder).is_dir()}
    with recorded(here, str(flow_run.id)):
        reconcile(here, log)
        if not given:
            return Completed(name="NothingToJudge", message="No folder of incoming data is there.")
        drifts, broken = {}, []
        for name, folder in given.items():
            try:
                drifts[name] = compare(Checkout(here, log, hours * 3600), name, folder)
            except (StepFailed, TimedOut) as error:
                broken.append(str(error))  # one broken folder must not hide the other's drift
        drifted = [name for name, measures in drifts.items() if any(measure["drifted"] for measure in measures)]
        told = [f"{name}: {', '.join(m['name'] for m in drifts[name] if m['drifted'])}" for name in drifted]
        if drifted and retrain_deployment is not None:
            try:
                started = run_deployment(
                    retrain_deployment, parameters={"models": drifted, "root": root}, timeout=0, as_subflow=False
                )
                told.append(f"started {retrain_deployment} as {started.name}")
            except ObjectNotFound:
                broken.append(f"there is no deployment {retrain_deployment}")
        if broken:
            return Failed(name="StepFailed", message="; ".join([*told, *broken]))
        if not drifted:
            return Completed(name="NoDrift", message=f"Judged: {', '.join(given)}.")
        return Completed(name="Drifted", message="; ".join(told))


def compare(checkout: Checkout, name: ModelName, folder: str) -> list[dict[str, Any]]:
    """Every measure of one model's incoming data, as ``radsynth drift`` gives it; shown as a table artifact."""
    done = checkout.radsynth("drift", name, folder, "--json", may_end_with=[DRIFTED])
    measures = json.loads("\n".join(done.stdout))["measures"]
    create_table_artifact(measures, key=f"drift-{name}", description=f"{folder} against the training data of {name}")
    return measures
