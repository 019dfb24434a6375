"""The flow `retrain`, driven through its branches by fake programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from pipelines import pages
from pipelines import retrain as module
from pipelines.retrain import GPU_LIMIT, retrain
from pipelines.running import STATE

pytestmark = pytest.mark.slow

STALE = {
    "prepare_xrays": ["evaluate_report_gan", "explain", {"changed deps": {"params.yaml": {"prepare_xrays": "new"}}}],
    "align_volumes": ["explain", "evaluate_mri_to_ct"],
}
REFUSAL = {
    "when": "dvc repro validate_chest",
    "complains": [
        "error: chest: the data must not be used: there are enough studies",
        "ERROR: failed to reproduce 'validate_chest': failed to run: python -m stages.validate_chest, exited with 2",
    ],
    "code": 255,
    "times": 9,
}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    """Retries at once."""
    for name in ("find_stale", "reproduce"):
        monkeypatch.setattr(module, name, getattr(module, name).with_options(retry_delay_seconds=0))


@pytest.fixture
def whole(fake):
    """A checkout in which everything is out of date."""
    fake.tell(stale={"prepare_xrays": ["explain"], "align_volumes": ["explain"]})
    return fake


def run(fake, **parameters):
    return retrain(root=str(fake.root), return_state=True, **parameters)


def artifacts(state) -> dict[str, object]:
    """The artifacts of a flow run by key."""
    flow_run_id = state.state_details.flow_run_id
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(
            artifact_filter=ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[flow_run_id]))
        )
    return {artifact.key: artifact for artifact in found}


def test_what_is_stale_is_made_published_and_judged_in_order(prefect, whole):
    picture = whole.root / "plots/evaluate_report_gan/six_reports.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"\x89PNG")
    state = run(whole)
    assert state.name == "Promoted", state.message
    assert state.message == (
        "report-to-xray: promoted: report-to-xray v1 is the champion; mri-to-ct: promoted: mri-to-ct v1 is the champion"
    )
    assert whole.asked == [
        "dvc status --json --with-deps explain publish report_page",
        "dvc repro acquire_chest acquire_brain",
        "dvc repro validate_chest tokenize_reports validate_brain",
        "dvc repro evaluate_report_gan audit_report_gan",
        "dvc repro evaluate_mri_to_ct audit_mri_to_ct",
        "dvc repro explain publish report_page",
        "radsynth publish",
        "radsynth promote report-to-xray",
        "radsynth promote mri-to-ct",
    ]
    shown = artifacts(state)
    assert shown["progress"].data == 100.0
    assert "promoted: mri-to-ct v1 is the champion" in shown["gate-mri-to-ct"].data
    assert "data:image/png;base64,iVBORw==" in json.dumps(shown["picture-report-to-xray"].data)
    assert "ftrain_report_gan" in shown["mlflow-report-to-xray"].description
    assert "prepare_xrays" in json.dumps(shown["stale-stages"].data)


def test_nothing_stale_ends_early_and_says_so(prefect, whole):
    run(whole)
    whole.tell(stale={})
    done = len(whole.asked)
    state = run(whole)
    assert (state.type.value, state.name) == ("COMPLETED", "NothingStale")
    assert whole.asked[done:] == ["dvc status --json --with-deps explain publish report_page"]


def test_a_run_that_died_before_the_gate_is_caught_up(prefect, whole):
    run(whole)
    whole.tell(stale={}, content="second")
    (whole.root / "mlruns/published.json").write_text(
        json.dumps(
            {stage: {"fingerprint": "f", "content": "second"} for stage in ("train_report_gan", "train_cyclegan")}
        )
    )
    assert run(whole).name == "Promoted"
    assert whole.asked[-2:] == ["radsynth promote report-to-xray", "radsynth promote mri-to-ct"]


def test_after_a_change_of_the_gate_what_was_refused_is_judged_again(prefect, whole):
    (whole.root / "params.yaml").write_text("gate: {mode: enabled, repetitions: 200}")
    refused = {"when": "radsynth promote", "says": ["the table", "refused: mae_hu: too little gained"], "code": 4}
    whole.tell(do=[refused | {"times": 2}])
    assert run(whole).name == "NotPromoted"
    whole.tell(stale={})
    assert run(whole).name == "NothingStale"
    (whole.root / "params.yaml").write_text("gate: {mode: enabled, repetitions: 100}")
    assert run(whole).name == "Promoted"
    assert run(whole).name == "NothingStale"


def test_a_checkout_that_another_dvc_holds_is_asked_again_what_is_stale(prefect, whole):
    busy = "ERROR: Unable to acquire lock. Most likely another DVC process is running or was terminated abruptly."
    whole.tell(do=[{"when": "dvc status", "complains": [busy], "code": 255, "times": 2}])
    assert run(whole).name == "Promoted"
    assert sum(line.startswith("dvc status") for line in whole.asked) == 3


def test_one_model_alone_trains_no_other(prefect, fake):
    fake.tell(stale=STALE)
    assert run(fake, models=("mri-to-ct",)).name == "Promoted"
    assert fake.asked == [
        "dvc status --json --with-deps evaluate_report_gan audit_report_gan",
        "dvc status --json --with-deps evaluate_mri_to_ct audit_mri_to_ct",
        "dvc repro acquire_brain",
        "dvc repro validate_brain",
        "dvc repro evaluate_mri_to_ct audit_mri_to_ct",
        "radsynth publish",
        "radsynth promote mri-to-ct",
    ]


def test_refused_data_stop_the_run_with_the_reason_and_without_a_retry(prefect, whole):
    whole.tell(do=[REFUSAL])
    (whole.root / "metrics").mkdir()
    outcome = {"severity": "critical", "success": False, "name": "enough studies", "observed": "3", "expected": ">= 20"}
    (whole.root / "metrics/validate_chest.json").write_text(json.dumps({"expectations": [outcome]}))
    state = run(whole)
    assert (state.type.value, state.name) == ("FAILED", "DataRefused")
    assert state.message == "validate_chest: chest: the data must not be used: there are enough studies"
    assert whole.asked[-1] == "dvc repro validate_chest tokenize_reports validate_brain"
    assert sum(line.startswith("dvc repro validate_chest") for line in whole.asked) == 1
    assert "enough studies: 3, expected >= 20" in artifacts(state)["refused-data"].data


def test_a_training_that_was_killed_is_tried_again(prefect, whole):
    killed = (
        "ERROR: failed to reproduce 'train_cyclegan': failed to run: python -m stages.train_cyclegan, exited with -9"
    )
    whole.tell(do=[{"when": "dvc repro evaluate_mri_to_ct", "complains": [killed], "code": 255, "times": 2}])
    assert run(whole).name == "Promoted"
    assert whole.asked.count("dvc repro evaluate_mri_to_ct audit_mri_to_ct") == 3


def test_a_program_that_explains_itself_is_not_run_again(prefect, whole):
    said = "error: cannot open the MLflow store"
    whole.tell(do=[{"when": "radsynth publish", "complains": [said], "code": 2, "times": 9}])
    state = run(whole)
    assert (state.type.value, state.name) == ("FAILED", "StepFailed")
    assert state.message == "radsynth publish: cannot open the MLflow store"
    assert whole.asked.count("radsynth publish") == 1


def test_a_refusal_by_the_gate_is_a_completed_run_that_says_why(prefect, whole):
    refused = {"when": "radsynth promote", "says": ["the table", "refused: mae_hu: too little gained"], "code": 4}
    whole.tell(do=[refused | {"times": 2}])
    state = run(whole, mode="enabled")
    assert (state.type.value, state.name) == ("COMPLETED", "NotPromoted")
    assert "mri-to-ct: refused: mae_hu: too little gained" in state.message
    assert whole.asked[-1] == "radsynth promote mri-to-ct --mode enabled"
    assert "the table" in artifacts(state)["gate-mri-to-ct"].data


def test_a_second_retraining_leaves_at_once(prefect, whole):
    lock = FileLock(whole.root / STATE / "retrain.lock")
    Path(lock.lock_file).parent.mkdir(parents=True)
    with lock:
        state = run(whole)
    assert (state.type.value, state.name) == ("COMPLETED", "AlreadyRunning")
    assert whole.asked == []


def test_out_of_time_is_a_failure_of_its_own(prefect, whole):
    whole.tell(do=[{"when": "dvc repro acquire_chest", "sleeps": 600}])
    state = run(whole, hours=2 / 3600)
    assert (state.type.value, state.name) == ("FAILED", "TimedOut")
    assert "dvc repro acquire_chest" in state.message


def test_the_limit_is_made_once_and_a_persons_number_stays(prefect, whole):
    module.ensure_limit(GPU_LIMIT)
    with get_client(sync_client=True) as client:
        assert client.read_global_concurrency_limit_by_name(GPU_LIMIT).limit >= 1
        from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

        client.update_global_concurrency_limit(GPU_LIMIT, GlobalConcurrencyLimitUpdate(limit=3))
        module.ensure_limit(GPU_LIMIT)
        assert client.read_global_concurrency_limit_by_name(GPU_LIMIT).limit == 3


def test_a_picture_too_large_for_the_database_is_named(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(pages, "create_markdown_artifact", lambda text, **_: told.append(text))
    monkeypatch.setattr(pages, "MAX_PICTURE_BYTES", 3)
    (tmp_path / "a.png").write_bytes(b"four")
    pages.show_picture("mri-to-ct", "*.png", tmp_path)
    assert told == ["Too large to show here: `a.png`"]
