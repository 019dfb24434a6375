"""Flow `retrain`: what is out of date is made anew, judged against the model in use, and promoted where it is better.

DVC decides what must run and goes on where a broken-off run stopped; the registry knows each result once. So running
this flow again is always safe, and all that it adds is when, in which order, and what a person is told.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from pipelines import pages
from pipelines.commands import REFUSED, Checkout, StepFailed
from pipelines.process import TimedOut
from pipelines.recipes import MODELS, RECIPES, WHOLE, Mode, ModelName
from pipelines.running import STATE, only_one, reconcile, recorded, slot

GPU_LIMIT = "radsynth-gpu"
"""Global concurrency limit of trainings; its slots are GPU workers."""


def a_later_try_may_pass(_: object, __: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task is worth another try; see `StepFailed.may_pass_later`."""
    try:
        state.result()
    except StepFailed as error:
        return error.may_pass_later
    except Exception:
        return False
    return False


TRIED_AGAIN: dict[str, Any] = {
    "retries": 2,
    "retry_delay_seconds": [30, 300],
    "retry_condition_fn": a_later_try_may_pass,
    "cache_policy": NO_CACHE,
    "persist_result": False,
}
"""How tasks that run DVC are tried again."""


@task(task_run_name="dvc status {targets}", **TRIED_AGAIN)
def find_stale(checkout: Checkout, targets: str) -> dict[str, Any]:
    """Stages that are out of date, their names parted by spaces; see `Checkout.stale`."""
    return checkout.stale(*targets.split())


@task(task_run_name="dvc repro {targets}", **TRIED_AGAIN)
def reproduce(checkout: Checkout, targets: str) -> None:
    """Make stages of the pipeline, their names parted by spaces, with all that they need."""
    checkout.dvc("repro", *targets.split())


@task(task_run_name="publish", cache_policy=NO_CACHE, persist_result=False)
def publish(checkout: Checkout) -> None:
    """Show every finished training in MLflow."""
    checkout.radsynth("publish")


@task(task_run_name="gate {name}", cache_policy=NO_CACHE, persist_result=False)
def judge(checkout: Checkout, name: ModelName, mode: Mode | None) -> str:
    """Register the finished training as challenger and let the gate decide; returns the decision in one line."""
    options = ["--mode", mode] if mode else []
    done = checkout.radsynth("promote", name, *options, may_end_with=[REFUSED])
    pages.show_decision(name, done.stdout)
    return done.stdout[-1] if done.stdout else ("refused" if done.returncode == REFUSED else "promoted")


@flow(name="retrain", log_prints=True)
def retrain(
    models: tuple[ModelName, ...] = MODELS,
    mode: Mode | None = None,
    root: str = ".",
    hours: float = 72.0,
) -> State:
    """Retrain what is out of date and promote it where the gate finds it better.

    Ends as one of: AlreadyRunning, NothingStale, Promoted, NotPromoted (all of them completed), DataRefused, StepFailed
    or TimedOut (failed). The message says why.

    Parameters
    ----------
    models
        One of the two models, or both.
    mode
        Mode of the gate; None is that of the settings.
    root
        The checkout.
    hours
        Longest time that one program may take.
    """
    here, log = Path(root).resolve(), get_run_logger().info
    with only_one(here, "retrain") as mine:
        if not mine:
            return Completed(name="AlreadyRunning", message="Another retraining is at work in this checkout.")
        with recorded(here, str(flow_run.id)):
            reconcile(here, log)
            try:
                return make_and_judge(Checkout(here, log, hours * 3600), models, mode)
            except StepFailed as error:
                if not error.is_refused_data:
                    return Failed(name="StepFailed", message=str(error))
                pages.show_refused_data(error.stage, error.reason, here)
                return Failed(name="DataRefused", message=str(error))
            except TimedOut as error:
                return Failed(name="TimedOut", message=str(error))


def make_and_judge(checkout: Checkout, models: tuple[ModelName, ...], mode: Mode | None) -> State:
    """The steps of a retraining, in their order; `models` may name each model once."""
    recipes = [RECIPES[name] for name in models]
    whole = is_whole(checkout, models)
    wanted = WHOLE if whole else tuple(stage for recipe in recipes for stage in recipe.train)
    stale = find_stale(checkout, " ".join(wanted))
    waiting = [name for name in models if name not in judged(checkout.root)]
    if not stale and not waiting:
        return Completed(name="NothingStale", message="Data, settings, code and models are as the last run left them.")
    progress = pages.Progress(steps=4 + len(recipes) + len(models))
    if stale:
        pages.show_stale(stale)
    reproduce(checkout, " ".join(recipe.take_in for recipe in recipes))
    progress.advance("raw data taken in")
    reproduce(checkout, " ".join(stage for recipe in recipes for stage in recipe.prepare))
    progress.advance("data prepared and validated")
    ensure_limit(GPU_LIMIT)
    checkout.log(f"waiting for a slot of {GPU_LIMIT}; one whose holder died on another machine is free in two minutes")
    with slot(checkout.root, str(flow_run.id), GPU_LIMIT):
        for name, recipe in zip(models, recipes, strict=True):
            reproduce(checkout, " ".join(recipe.train))
            progress.advance(f"{name} trained, evaluated and audited")
        if whole:
            reproduce(checkout, " ".join(WHOLE))
    progress.advance("explained" if whole else "not explained: the other model is out of date")
    publish(checkout)
    progress.advance("published to MLflow")
    said = {}
    for name, recipe in zip(models, recipes, strict=True):
        pages.show_picture(name, recipe.picture, checkout.root)
        said[name] = judge(checkout, name, mode)
        if not said[name].startswith("dry run"):
            remember(checkout.root, name)
        pages.link_run(name, recipe.training, checkout.root)
        progress.advance(f"{name} judged")
    message = "; ".join(f"{name}: {words}" for name, words in said.items())
    promoted = any(words.startswith("promoted") for words in said.values())
    return Completed(name="Promoted" if promoted else "NotPromoted", message=message)


def is_whole(checkout: Checkout, models: tuple[ModelName, ...]) -> bool:
    """Whether explaining and publishing by DVC would train no model but `models`."""
    others = [stage for name in MODELS if name not in models for stage in RECIPES[name].train]
    return not others or not find_stale(checkout, " ".join(others))


def ensure_limit(name: str) -> None:
    """Create a global concurrency limit of one slot where there is none; a person's own number stays."""
    with get_client(sync_client=True) as client:
        try:
            client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            try:
                client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=1))
            except ObjectAlreadyExists:
                return  # another flow was faster


def judged(root: Path) -> set[str]:
    """Models whose published training the gate, as it is set, has already judged.

    A run that died before the gate is caught up, and after a change of the gate's settings it judges again.
    """
    path = root / STATE / "judged.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    there = pages.published(root)
    found = {name for name, recipe in RECIPES.items() if recipe.training in there}
    return {name for name in found if known.get(name) == _result(root, there, name)}


def remember(root: Path, name: ModelName) -> None:
    """Note that the gate has judged what is published of a model."""
    path = root / STATE / "judged.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[name] = _result(root, pages.published(root), name)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(known, indent=2, sort_keys=True), encoding="utf-8")
    os.replace(temporary, path)


def _result(root: Path, published: dict[str, dict[str, str]], name: str) -> dict[str, Any]:
    """What is published of a model, and how the gate is set."""
    path = root / "params.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    content = published.get(RECIPES[name].training, {}).get("content")
    return {"content": content, "gate": (settings or {}).get("gate")}
