"""Flow `promote`: let the gate judge the latest training, or one version by number, without training anything."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from pipelines import pages
from pipelines.commands import REFUSED, Checkout, StepFailed
from pipelines.recipes import Mode, ModelName
from pipelines.running import recorded


@flow(name="promote", log_prints=True)
def promote(model: ModelName, mode: Mode | None = None, version: int | None = None, root: str = ".") -> State:
    """Ends as Promoted, NotPromoted (completed: the gate did its work) or StepFailed; the message is the decision.

    Parameters
    ----------
    model
        The registered model.
    mode
        Mode of the gate; None is that of the settings.
    version
        The version to judge; None is the latest training.
    root
        The checkout.
    """
    here, log = Path(root).resolve(), get_run_logger().info
    options = [*(["--mode", mode] if mode else []), *(["--version", str(version)] if version is not None else [])]
    with recorded(here, str(flow_run.id)):
        try:
            done = Checkout(here, log).radsynth("promote", model, *options, may_end_with=[REFUSED])
        except StepFailed as error:
            return Failed(name="StepFailed", message=str(error))
    pages.show_decision(model, done.stdout)
    words = done.stdout[-1] if done.stdout else f"exit status {done.returncode}"
    return Completed(name="Promoted" if words.startswith("promoted") else "NotPromoted", message=words)
