"""Flow `rollback`: put the previous model back in use."""

from __future__ import annotations

from pathlib import Path

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from pipelines.commands import Checkout, StepFailed
from pipelines.recipes import ModelName
from pipelines.running import recorded


@flow(name="rollback", log_prints=True)
def rollback(model: ModelName, root: str = ".") -> State:
    """Ends as RolledBack or StepFailed; the message says which model is in use, or why it could not be changed."""
    here, log = Path(root).resolve(), get_run_logger().info
    with recorded(here, str(flow_run.id)):
        try:
            done = Checkout(here, log).radsynth("rollback", model)
        except StepFailed as error:
            return Failed(name="StepFailed", message=str(error))
    return Completed(name="RolledBack", message=done.stdout[-1] if done.stdout else model)
