"""Make the network behind the perceptual loss: cached ImageNet VGG-16, or a VGG trained on the training pictures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from radsynth.errors import RadsynthError, one_line_errors
from radsynth.networks.vgg import VGG16_BLOCKS, Vgg
from radsynth.settings import load
from radsynth.training.chest_data import load_chest
from radsynth.training.device import pick_device
from radsynth.training.findings import FindingsPlan, train_findings
from radsynth.training.loop import forget_checkpoints
from radsynth.training.models import fingerprint, save_model, write_history
from radsynth.training.perceptual import cached_imagenet_weights, imagenet_vgg
from radsynth.vocabulary import FINDINGS

DATA = [Path("data/chest/manifest.parquet"), Path("data/chest/xrays/pixels.npy")]


@one_line_errors
def main() -> None:
    """Run the stage."""
    settings = load()
    own, seed = settings.train_perceptual, settings.seed
    cached = None if own.weights == "pipeline" else cached_imagenet_weights()
    if own.weights == "imagenet" and cached is None:
        raise RadsynthError(
            "no ImageNet VGG-16 weights in torch's cache",
            expected="vgg16-397923af.pth",
            next_step="let torchvision fetch them once, or set train_perceptual.weights=pipeline",
        )
    mark = fingerprint(own.model_dump() | {"seed": seed, "cached": bool(cached)}, DATA)
    checkpoints = Path("checkpoints/train_perceptual") / mark
    if cached:
        network, history = imagenet_vgg(cached), None
        arguments = {"blocks": VGG16_BLOCKS, "in_channels": 3, "classes": 0}
    else:
        w = own.width
        blocks = ((w,), (2 * w,), (4 * w, 4 * w), (8 * w, 8 * w))
        arguments = {"blocks": blocks, "in_channels": 1, "classes": len(FINDINGS)}
        plan = FindingsPlan(own.images_seen, own.batch_size, own.learning_rate, seed)
        sets = load_chest(DATA[0], "data/chest/xrays", "data/chest/embeddings")
        network, history = train_findings(
            "training the perceptual network",
            partial(Vgg, **arguments),
            sets,
            plan,
            pick_device(own.precision),
            checkpoints,
        )
    described = {
        "network": arguments,
        "weights": "imagenet" if cached else "pipeline",
        "settings": own.model_dump(),
        "seed": seed,
        "fingerprint": mark,
        "used_for": "features of the perceptual loss and of the validation score; never for judging",
    }
    save_model("models/perceptual", network.state_dict(), described)
    write_history(history, "history/train_perceptual")
    forget_checkpoints(checkpoints)
    print(f"perceptual network: {described['weights']} weights")


if __name__ == "__main__":
    main()
