"""Which stages of dvc.yaml make which registered model, and which of its pictures a person wants to see."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ModelName = Literal["report-to-xray", "mri-to-ct"]
Mode = Literal["enabled", "dry_run", "disabled"]
"""Modes of the promotion gate."""
MODELS: tuple[ModelName, ...] = get_args(ModelName)


@dataclass(frozen=True)
class Recipe:
    """The way from raw data to one judged model.

    Parameters
    ----------
    take_in
        Stage that reads the raw data.
    prepare
        Stages up to which the data are prepared and validated, on the CPU.
    train
        Stages up to which is trained, evaluated and audited for copies, on the GPU where there is one.
    training
        The stage that trains the model itself.
    picture
        The picture to look at, a glob from the checkout.
    """

    take_in: str
    prepare: tuple[str, ...]
    train: tuple[str, ...]
    training: str
    picture: str


RECIPES: dict[ModelName, Recipe] = {
    "report-to-xray": Recipe(
        take_in="acquire_chest",
        prepare=("validate_chest", "tokenize_reports"),
        train=("evaluate_report_gan", "audit_report_gan"),
        training="train_report_gan",
        picture="plots/evaluate_report_gan/six_reports.png",
    ),
    "mri-to-ct": Recipe(
        take_in="acquire_brain",
        prepare=("validate_brain",),
        train=("evaluate_mri_to_ct", "audit_mri_to_ct"),
        training="train_cyclegan",
        picture="plots/evaluate_mri_to_ct/*.png",
    ),
}
WHOLE = ("explain", "publish", "report_page")
"""Stages that need both models: run where neither is stale."""
