"""The served model mri-to-ct: MLflow runs this file to load it ("models from code"), with safetensors weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

from radsynth.errors import InputRefused
from radsynth.training.cyclegan import load_mri_to_ct, translate_volume
from radsynth.training.device import pick_device
from radsynth.volumes.geometry import resample
from radsynth.volumes.head import depth_mm
from radsynth.volumes.registration import working_head


class MriToCtModel(PythonModel):
    """Heads on the common grid in, HU out.

    Input: float32 (B, Z, Y, X), MR on the common grid (RAS+, axes z, y, x), scaled 0..1 as `align_volumes` scales it, 0
    outside the field of view; the whole grid, because the atlases go by the place on it. The head mask and the depth
    below the skin are found in what is given. They come near those of the training (found before the MR was scaled and
    resampled): Dice 0.985 and 1 to 1.5 mm on the embedded sample.
    Output: float32 (B, Z, Y, X), HU.

    The grid's spacing, mm (x, y, z), is in the model's configuration as ``spacing_mm``.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Load the networks."""
        self.model, _ = load_mri_to_ct(context.artifacts["model"])
        self.model.networks.to(pick_device().device)
        self.spacing_mm = np.array(context.model_config["spacing_mm"], dtype=np.float64)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> np.ndarray:
        """Translate every volume.

        Raises
        ------
        MlflowException
            With INVALID_PARAMETER_VALUE (a server answers 400) where a value is out of range or no head is found.
        """
        for index, volume in enumerate(model_input):
            if not volume.size or not np.isfinite(volume).all() or volume.min() < 0 or volume.max() > 1:
                found = f"{volume.min():g} to {volume.max():g}" if volume.size else "no voxel"
                raise MlflowException.invalid_parameter_value(
                    f"volume {index}: got {found}, expected finite MR intensities scaled to 0..1 inside the head"
                )
        depths = [self._depth(index, volume) for index, volume in enumerate(model_input)]
        return np.stack([translate_volume(self.model, v, d) for v, d in zip(model_input, depths, strict=True)])

    def _depth(self, index: int, volume: np.ndarray) -> np.ndarray:
        """Distance to the skin (Z, Y, X), mm, 0 outside the head: found as `align_volumes` finds it."""
        voxels, grid = volume.transpose(2, 1, 0), np.diag([*self.spacing_mm, 1.0])
        try:
            head = working_head(voxels, grid, "MR", f"volume {index}")
        except InputRefused as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        mask = resample(head.mask, head.affine, voxels.shape, grid, fill=0.0) >= 0.5
        return depth_mm(mask, self.spacing_mm).transpose(2, 1, 0)


set_model(MriToCtModel())
