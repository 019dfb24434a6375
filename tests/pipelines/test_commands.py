"""What it means when a program fails."""

from __future__ import annotations

import pytest

from pipelines.commands import StepFailed
from pipelines.process import Finished


def failure(*lines: str, code: int = 255) -> StepFailed:
    return StepFailed(["dvc", "repro", "x"], Finished(code, (), lines))


def stage_failure(stage: str, status: int, said: str = "error: something") -> StepFailed:
    return failure(
        said, f"ERROR: failed to reproduce '{stage}': failed to run: python -m stages.{stage}, exited with {status}"
    )


def test_the_reason_is_the_stages_own_line_and_the_stage_is_named():
    error = stage_failure("validate_chest", 2, "error: chest: the data must not be used: too few studies")
    assert error.stage == "validate_chest"
    assert error.status == 2
    assert error.reason == "chest: the data must not be used: too few studies"
    assert str(error) == "validate_chest: chest: the data must not be used: too few studies"
    assert error.is_refused_data


def test_a_tracebacks_last_line_is_the_reason():
    assert stage_failure("train_cyclegan", 1, "torch.OutOfMemoryError: CUDA out of memory").reason.endswith(
        "CUDA out of memory"
    )


def test_a_stage_of_a_nested_pipeline_is_named_without_its_file():
    assert stage_failure("data/incoming/dvc.yaml:download_openi", 2).stage == "download_openi"


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (stage_failure("validate_chest", 2), False),
        (stage_failure("validate_chest", 1), False),
        (stage_failure("parse_reports", 1), False),
        (stage_failure("train_report_gan", 2), False),
        (stage_failure("train_report_gan", 1), True),
        (stage_failure("train_report_gan", -9), True),
        (stage_failure("align_volumes", 137), True),
        (stage_failure("data/incoming/dvc.yaml:download_openi", 2), True),
        (failure("ERROR: Unable to acquire lock. Most likely another DVC process is running"), True),
        (failure("error: no settings", code=2), False),
        (failure("ERROR: dvc.yaml is broken"), False),
        (failure(code=137), True),
    ],
    ids=lambda value: str(value),
)
def test_a_retry_is_tried_only_where_it_can_help(error, passes):
    assert error.may_pass_later is passes
