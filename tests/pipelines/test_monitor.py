"""The flows `monitor`, `promote` and `rollback`, driven by fake programs."""

from __future__ import annotations

import json

import pytest

from pipelines import monitor as module
from pipelines.monitor import monitor
from pipelines.promote import promote
from pipelines.rollback import rollback

pytestmark = pytest.mark.slow


def answer(drifted: bool) -> dict:
    measure = {"name": "effusion (share)", "reference": 0.1, "incoming": 0.6, "p_value": 1e-9, "drifted": drifted}
    return {
        "when": "radsynth drift",
        "says": json.dumps({"measures": [measure]}, indent=2).splitlines(),
        "code": 3 if drifted else 0,
    }


@pytest.fixture
def incoming(fake):
    """A checkout with new chest data and no new brain data."""
    (fake.root / "data/incoming/chest").mkdir(parents=True)
    return fake


def run(fake, **parameters):
    return monitor(
        chest="data/incoming/chest", brain="data/incoming/brain", root=str(fake.root), return_state=True, **parameters
    )


def test_nothing_there_is_said_and_nothing_is_run(prefect, fake):
    assert run(fake).name == "NothingToJudge"
    assert fake.asked == []


def test_no_drift_starts_nothing(prefect, incoming, monkeypatch):
    monkeypatch.setattr(module, "run_deployment", lambda *_, **__: pytest.fail("started"))
    incoming.tell(do=[answer(drifted=False)])
    assert run(incoming).name == "NoDrift"
    assert incoming.asked == ["radsynth drift report-to-xray data/incoming/chest --json"]


def test_drift_starts_the_retraining_of_the_model_concerned(prefect, incoming, monkeypatch):
    started = []

    class Run:
        name = "brave-bee"

    def start(deployment, **how):
        started.append((deployment, how["parameters"]))
        return Run

    monkeypatch.setattr(module, "run_deployment", start)
    incoming.tell(do=[answer(drifted=True)])
    state = run(incoming)
    assert (state.type.value, state.name) == ("COMPLETED", "Drifted")
    assert state.message == "report-to-xray: effusion (share); started retrain/on-demand as brave-bee"
    assert started == [("retrain/on-demand", {"models": ["report-to-xray"], "root": str(incoming.root)})]


def test_drift_without_the_deployment_is_a_failure_that_names_it(prefect, incoming):
    incoming.tell(do=[answer(drifted=True)])
    state = run(incoming, retrain_deployment="retrain/nowhere")
    assert (state.type.value, state.name) == ("FAILED", "StepFailed")
    assert "there is no deployment retrain/nowhere" in state.message


def test_a_folder_that_takes_too_long_is_a_failure_that_says_so(prefect, incoming):
    incoming.tell(do=[{"when": "radsynth drift", "sleeps": 600}])
    state = run(incoming, hours=2 / 3600)
    assert (state.type.value, state.name) == ("FAILED", "StepFailed")
    assert "time limit: radsynth drift report-to-xray" in state.message


def test_a_broken_comparison_does_not_hide_the_drift_of_the_other_model(prefect, incoming, monkeypatch):
    started = []

    class Run:
        name = "brave-bee"

    def start(_, parameters, **__):
        started.extend(parameters["models"])
        return Run

    monkeypatch.setattr(module, "run_deployment", start)
    (incoming.root / "data/incoming/brain").mkdir()
    broken = {"when": "radsynth drift report-to-xray", "complains": ["error: no reports that can be used"], "code": 2}
    incoming.tell(do=[broken, answer(drifted=True)])
    state = run(incoming)
    assert (state.type.value, state.name) == ("FAILED", "StepFailed")
    assert state.message == (
        "mri-to-ct: effusion (share); started retrain/on-demand as brave-bee; "
        "radsynth drift report-to-xray data/incoming/chest --json: no reports that can be used"
    )
    assert started == ["mri-to-ct"]


def test_promote_passes_mode_and_version_on_and_shows_the_decision(prefect, fake):
    state = promote("mri-to-ct", mode="dry_run", version=2, root=str(fake.root), return_state=True)
    assert (state.name, state.message) == ("Promoted", "promoted: mri-to-ct v1 is the champion")
    assert fake.asked == ["radsynth promote mri-to-ct --mode dry_run --version 2"]


def test_rollback_says_why_it_could_not(prefect, fake):
    fake.tell(do=[{"when": "radsynth rollback", "complains": ["error: mri-to-ct has no 'previous'"], "code": 2}])
    state = rollback("mri-to-ct", root=str(fake.root), return_state=True)
    assert (state.type.value, state.name) == ("FAILED", "StepFailed")
    assert state.message == "radsynth rollback mri-to-ct: mri-to-ct has no 'previous'"
    fake.tell(do=[{"when": "radsynth rollback", "says": ["mri-to-ct v1 is the champion again"]}])
    state = rollback("mri-to-ct", root=str(fake.root), return_state=True)
    assert (state.name, state.message) == ("RolledBack", "mri-to-ct v1 is the champion again")
