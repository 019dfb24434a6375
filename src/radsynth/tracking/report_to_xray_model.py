"""The served model report-to-xray: MLflow runs this file to load it ("models from code"), with safetensors weights."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from radsynth.radiographs.write import png_bytes, stored_values
from radsynth.synthetic_dicom import NOTICE
from radsynth.training.drawing import MAX_SEED, Drawer, prompt

MAX_SAMPLES = 64
"""Pictures of one report in one request."""


class ReportToXray(PythonModel):
    """Findings and impression in, pictures out.

    Input: a table with the text columns ``findings`` and ``impression``; either may be missing or empty, not both.
    Parameters: ``n`` pictures a report (1 to `MAX_SAMPLES`), ``seed``, ``view``.
    Output: a table of ``report_index`` (row of the input), ``sample`` (0 to n - 1) and ``png_base64``: a grey PNG of 16
    bits, 0..65535 for -1..1, bright = dense, as the pipeline's own X-rays are stored.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the generator and the text encoder it was trained with."""
        self.drawer = Drawer(context.artifacts["model"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Draw ``n`` pictures of every report."""
        drawn = self.draw(model_input, **(params or {}))
        places = [(r, k) for r in range(drawn.shape[0]) for k in range(drawn.shape[1])]
        return pd.DataFrame(
            {
                "report_index": [r for r, _ in places],
                "sample": [k for _, k in places],
                "png_base64": [_png_base64(drawn[place]) for place in places],
            }
        )

    def draw(self, reports: pd.DataFrame, n: int = 1, seed: int = 0, view: str = "frontal") -> np.ndarray:
        """Pictures (R, n, S, S), float32 -1..1; sample k of every report is drawn with ``seed + k``.

        Raises
        ------
        MlflowException
            With INVALID_PARAMETER_VALUE (a server answers 400) where a report is empty or a parameter out of range.
        """
        _require(1 <= n <= MAX_SAMPLES, "n", n, f"1 to {MAX_SAMPLES}")
        _require(0 <= seed <= MAX_SEED, "seed", seed, f"0 to {MAX_SEED}")
        views = self.drawer.views
        _require(view in views, "view", repr(view), " or ".join(map(repr, views)))
        _require(len(reports) > 0, "the input", "no row", "one row a report, with the columns findings and impression")
        prompts = [_prompt(i, row) for i, row in enumerate(reports.to_dict("records"))]
        return self.drawer.draw(prompts, seeds=range(seed, seed + n), view=view)


def _prompt(index: int, row: dict[str, Any]) -> str:
    """The text as the training read it: cleaned findings and impression."""
    sections = [row.get(name) for name in ("findings", "impression")]
    findings, impression = (section if isinstance(section, str) else "" for section in sections)
    text = prompt(findings, impression)
    _require(bool(text), f"report {index}", "no text", "words in its findings or its impression")
    return text


def _require(holds: bool, what: str, got: object, expected: str) -> None:
    if not holds:
        raise MlflowException.invalid_parameter_value(f"{what}: got {got}, expected {expected}")


def _png_base64(picture: np.ndarray) -> str:
    return base64.b64encode(png_bytes(stored_values(picture), {"Description": NOTICE})).decode("ascii")


set_model(ReportToXray())
