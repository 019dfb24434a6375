"""The CycleGAN of the paper, trained as long as ours: what the atlas and the geometry are worth is the difference.

References
----------
Zhu et al. 2017, "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks".
"""

from __future__ import annotations

from radsynth.networks.cyclegan import cyclegan_networks
from radsynth.settings import TrainCyclegan
from radsynth.training.cyclegan import MriToCt, channels_read, train_cyclegan
from radsynth.training.device import Device
from radsynth.training.slices import Heads

WEIGHTS = {
    "weight_adversarial": 1.0,
    "weight_cycle": 10.0,
    "weight_identity": 5.0,
    "weight_anatomy": 0.0,
    "weight_simulated": 0.0,
    "weight_flaws": 0.0,
}
"""Of the paper (sections 4 and 5.2)."""


def textbook_settings(own: TrainCyclegan, pairs: int) -> TrainCyclegan:
    """The settings of our CycleGAN without what the paper does not have: head geometry, atlas, anatomical prior.

    Networks are as wide and deep, batches as large and learning rates as high as ours. It is measured as it is at the
    end, validated once.
    """
    changed = {
        "head_channels": False,
        "skip_connections": False,
        "end_kernel": 7,
        "discriminator_norm": True,
        "simulated_images": 0,
    }
    changed |= {"images_seen": pairs, "validate_images": pairs}
    return own.model_copy(update=WEIGHTS | changed)


def train_textbook(heads: dict[str, Heads], own: TrainCyclegan, pairs: int, seed: int, device: Device) -> MriToCt:
    """Train it on the training heads, with the same seed and the same order of the same slices as ours.

    Its networks are left on `device`.

    Parameters
    ----------
    heads
        As for `train_cyclegan`: never the test split.
    pairs
        MR and CT slices to learn from; that of our training is the same budget.
    """
    from torch import nn

    settings = textbook_settings(own, pairs)
    outcome, _ = train_cyclegan(heads, settings, seed, device)
    networks = cyclegan_networks(
        *channels_read(settings.head_channels),
        settings.width,
        settings.blocks,
        settings.discriminator_layers,
        seed,
        settings.discriminator_norm,
    )
    networks.load_state_dict(outcome.best)
    networks.eval().requires_grad_(False).to(device.device)
    return MriToCt(networks, settings.hu_window, settings.head_channels, nn.ModuleDict())
