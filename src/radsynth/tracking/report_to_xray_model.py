"""The served model report-to-xray: MLflow runs this file to load it ("models from code"), with safetensors weights."""

from __future__ import annotations

import base64
import io
import threading
from typing import Any

import numpy as np
import pandas as pd
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from radsynth.reports.encode import load_encoder
from radsynth.reports.parse import Report, prompt_of
from radsynth.training.device import pick_device
from radsynth.training.report_gan import generate, load_report_gan
from radsynth.vocabulary import VIEWS

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
        self.device = pick_device()
        gan, self.description = load_report_gan(context.artifacts["model"])
        self.gan = gan.to(self.device.device)
        known = self.description["encoder"]
        self.encoder = load_encoder(known["encoder"], max_tokens=known["max_tokens"])
        if self.encoder.digest != known["digest"]:
            raise MlflowException(
                f"the text encoder {known['encoder']} is not the one of the training: "
                f"digest {self.encoder.digest[:12]}, expected {known['digest'][:12]}"
            )
        # the texture noise comes from torch's global generator; a server predicts in several threads
        self.lock = threading.Lock()

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
        _require(0 <= seed < 2**31, "seed", seed, "0 to 2147483647")
        _require(
            view in self.description["views"], "view", repr(view), " or ".join(map(repr, self.description["views"]))
        )
        _require(len(reports) > 0, "the input", "no row", "one row a report, with the columns findings and impression")
        tokens, lengths, _ = self.encoder([_prompt(i, row) for i, row in enumerate(reports.to_dict("records"))])
        text = (
            torch.from_numpy(tokens.astype(np.float32)),
            torch.arange(tokens.shape[1])[None] < torch.from_numpy(lengths.astype(np.int64))[:, None],
            torch.full((len(reports),), VIEWS.index(view)),
        )
        with self.lock:
            samples = [generate(self.gan, *text, seed=seed + k, device=self.device) for k in range(n)]
        return np.stack(samples, axis=1)


def _prompt(index: int, row: dict[str, Any]) -> str:
    """The text as the training read it: cleaned findings and impression."""
    sections = [row.get(name) for name in ("findings", "impression")]
    findings, impression = (section if isinstance(section, str) else "" for section in sections)
    prompt = prompt_of(Report("", findings, impression, "", "", (), ()))
    _require(bool(prompt), f"report {index}", "no text", "words in its findings or its impression")
    return prompt


def _require(holds: bool, what: str, got: object, expected: str) -> None:
    if not holds:
        raise MlflowException.invalid_parameter_value(f"{what}: got {got}, expected {expected}")


def _png_base64(picture: np.ndarray) -> str:
    info = PngInfo()
    info.add_text("Description", "synthetic image, research, not clinical use")
    file = io.BytesIO()
    stored = np.rint((picture.clip(-1, 1).astype(np.float64) + 1) * 32767.5).astype(np.uint16)
    Image.fromarray(stored).save(file, "PNG", pnginfo=info)
    return base64.b64encode(file.getvalue()).decode("ascii")


set_model(ReportToXray())
