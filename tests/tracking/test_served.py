"""The logged models are the trained models, and say plainly what they cannot read."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PyFuncModel, scoring_server
from PIL import Image

from radsynth.reports.encode import TextEncoder
from radsynth.settings import load as load_settings
from radsynth.training.cyclegan import load_mri_to_ct, translate_volume
from radsynth.training.device import pick_device
from radsynth.training.report_gan import generate, load_report_gan
from radsynth.volumes.geometry import resample
from radsynth.volumes.head import depth_mm
from radsynth.volumes.registration import working_head


def load(root: Path, name: str) -> PyFuncModel:
    """Load a logged model as anybody would."""
    folders = (root / "mlruns/artifacts/models").glob("m-*/artifacts")
    code = name.replace("-", "_") + "_model.py"
    return mlflow.pyfunc.load_model(str(next(folder for folder in folders if (folder / code).is_file())))


def ask(model: PyFuncModel, body: dict[str, object]) -> scoring_server.InvocationsResponse:
    """Ask as the scoring server does."""
    return scoring_server.invocations(json.dumps(body), "application/json", model, model.metadata.get_input_schema())


@pytest.fixture(scope="module")
def xray_model(published_once: Path) -> PyFuncModel:
    return load(published_once, "report-to-xray")


@pytest.fixture(scope="module")
def ct_model(published_once: Path) -> PyFuncModel:
    return load(published_once, "mri-to-ct")


def picture_of(cell: str) -> np.ndarray:
    """The stored numbers of a base64 PNG."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(cell))))


def test_logged_model_draws_what_the_library_draws(
    xray_model: PyFuncModel, outputs: Path, encoder: TextEncoder
) -> None:
    reports = pd.DataFrame({"findings": ["Clear lungs", "The heart is XXXX enlarged."], "impression": ["Normal.", ""]})
    served = xray_model.predict(reports, params={"n": 2, "seed": 5})
    gan, _ = load_report_gan(outputs / "models/report_gan")
    tokens, lengths = encoder(["Clear lungs. Normal.", "The heart is enlarged."])
    mask = torch.arange(tokens.shape[1])[None] < torch.from_numpy(lengths.astype(np.int64))[:, None]
    text = torch.from_numpy(tokens.astype(np.float32)), mask, torch.zeros(2, dtype=torch.int64)
    for row in served.itertuples():
        drawn = generate(gan, *text, seed=5 + row.sample, device=pick_device())[row.report_index]
        stored = np.rint((drawn.astype(np.float64) + 1) * 32767.5)
        np.testing.assert_array_equal(picture_of(row.png_base64), stored)
    assert served[["report_index", "sample"]].to_numpy().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_other_noise_and_other_words_give_other_pictures(xray_model: PyFuncModel) -> None:
    reports = pd.DataFrame({"findings": ["Large left effusion.", "Normal."], "impression": ["", ""]})
    cells = xray_model.predict(reports, params={"n": 2})["png_base64"]
    assert cells.nunique() == 4


def test_server_answers_in_json(xray_model: PyFuncModel) -> None:
    answer = ask(xray_model, {"dataframe_records": [{"impression": "Cardiomegaly."}], "params": {"n": 2}})
    predictions = json.loads(answer.response)["predictions"]
    assert answer.status == 200
    assert [p["sample"] for p in predictions] == [0, 1]
    assert picture_of(predictions[0]["png_base64"]).shape == (32, 32)


@pytest.mark.parametrize(
    ("records", "params", "expected"),
    [
        ([{"findings": " ", "impression": "XXXX"}], {}, "report 0: got no text, expected words"),
        ([{"findings": None, "impression": None}], {}, "report 0: got no text, expected words"),
        ([{"impression": "Normal."}, {"impression": ""}], {}, "report 1: got no text"),
        ([{"report": "Normal."}], {}, "columns findings and impression"),
        ([{"findings": "a"}], {"n": 0}, "n: got 0, expected 1 to 64"),
        ([{"findings": "a"}], {"seed": -1}, "seed: got -1"),
        ([{"findings": "a"}], {"view": "lateral"}, "view: got 'lateral', expected 'frontal'"),
        ([{"findings": "a"}], {"n": "two"}, "n"),
    ],
)
def test_bad_report_is_answered_with_400(
    records: list[dict[str, str]], params: dict[str, object], expected: str, xray_model: PyFuncModel
) -> None:
    with pytest.raises(MlflowException, match=expected) as caught:
        ask(xray_model, {"dataframe_records": records, "params": params})
    assert caught.value.get_http_status_code() == 400


def ball() -> np.ndarray:
    """A round head on the grid of the test checkout, (Z, Y, X) 0..1."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (20, 28, 24)), indexing="ij")
    return np.where(z**2 + y**2 + x**2 < 0.8, 0.3 + 0.2 * x, 0).astype(np.float32)


def test_logged_ct_model_translates_as_the_library_does(ct_model: PyFuncModel, outputs: Path) -> None:
    volume, spacing = ball(), np.array([8.0, 8.0, 8.0])
    head = working_head(volume.transpose(2, 1, 0), np.diag([8.0, 8.0, 8.0, 1.0]), "MR", "")
    mask = resample(head.mask, head.affine, (24, 28, 20), np.diag([8.0, 8.0, 8.0, 1.0]), fill=0.0) >= 0.5
    model, _ = load_mri_to_ct(outputs / "models/mri_to_ct")
    expected = translate_volume(model, volume, depth_mm(mask, spacing).transpose(2, 1, 0))
    served = ct_model.predict(volume[None])
    np.testing.assert_array_equal(served[0], expected)
    assert served.dtype == np.float32
    assert served[0][0, 0, 0] == -1024


def test_the_grid_is_the_models_own_whatever_the_settings_are_now(ct_model: PyFuncModel, published_once: Path) -> None:
    now = load_settings(published_once / "params.yaml").align_volumes
    assert (now.grid_size, now.spacing_mm) != ((24, 28, 20), (8.0, 8.0, 8.0))
    assert ct_model.metadata.get_input_schema().inputs[0].shape == (-1, 20, 28, 24)
    assert ct_model.model_config["spacing_mm"] == [8.0, 8.0, 8.0]


@pytest.mark.parametrize(
    ("volumes", "expected"),
    [
        (ball(), "does not match expected shape"),
        (ball()[None, :, :20], "does not match expected shape"),
        (ball()[None] * 100, "expected finite MR intensities scaled to 0..1"),
        (ball()[None] * 0, "no head in the volume"),
    ],
)
def test_bad_volume_is_answered_with_400(volumes: np.ndarray, expected: str, ct_model: PyFuncModel) -> None:
    with pytest.raises(MlflowException, match=expected) as caught:
        ask(ct_model, {"inputs": volumes.tolist()})
    assert caught.value.get_http_status_code() == 400


@pytest.mark.parametrize("name", ["report-to-xray", "mri-to-ct"])
def test_logged_model_states_what_it_needs_and_can_be_tried(name: str, published_once: Path) -> None:
    model = load(published_once, name)
    folder = Path(model.metadata.artifact_path)
    requirements = (folder / "requirements.txt").read_text().split()
    assert all("==" in line for line in requirements)
    assert not any(line.startswith(("radsynth", "cloudpickle")) for line in requirements)
    assert (folder / "code/radsynth/training/report_gan.py").is_file()
    answer = scoring_server.invocations(
        (folder / "serving_input_example.json").read_text(),
        "application/json",
        model,
        model.metadata.get_input_schema(),
    )
    assert answer.status == 200
