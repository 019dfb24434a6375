from types import SimpleNamespace

import numpy as np
import pytest
import torch

from radsynth.evaluation import textbook_cyclegan
from radsynth.evaluation.textbook_cyclegan import textbook_settings, train_textbook
from radsynth.training.cyclegan import build_networks, translate_volume
from radsynth.training.device import Device, cpu_device
from radsynth.training.slices import Heads


@pytest.fixture
def settings(small_cyclegan):
    return small_cyclegan.model_copy(
        update={
            "images_seen": 100,
            "simulated_images": 2,
            "weight_simulated": 2.0,
            "hu_window": (-1000.0, 1000.0),
            "discriminator_norm": False,
            "weight_cycle": 3.0,
            "weight_identity": 0.5,
            "weight_anatomy": 20.0,
            "anatomy_floor": 0.4,
            "atlas_slices": 8,
            "checkpoint_images": 50,
            "validate_images": 50,
        }
    )


def make_heads(modality, subjects, seed):
    random = np.random.default_rng(seed)
    depth = np.zeros((len(subjects), 4, 16, 16), np.float16)
    depth[:, :, 3:13, 3:13] = 9
    if modality == "MR":
        images = random.uniform(0, 1, depth.shape).astype(np.float32)
    else:
        images = random.integers(-900, 900, depth.shape).astype(np.int16)
    return Heads(modality, images, depth, tuple(range(len(subjects))), tuple(subjects))


def heads(seed=0):
    return {
        "train_mr": make_heads("MR", ["a", "b"], seed),
        "train_ct": make_heads("CT", ["c", "d"], seed + 1),
        "validation_mr": make_heads("MR", ["p"], 7),
        "validation_ct": make_heads("CT", ["p"], 8),
    }


def test_the_textbook_has_the_papers_losses_and_nothing_of_ours(settings):
    own = textbook_settings(settings, 6)
    assert (own.weight_adversarial, own.weight_cycle, own.weight_identity, own.weight_anatomy) == (1, 10, 5, 0)
    assert not own.head_channels
    assert own.images_seen == 6
    for name in ("width", "blocks", "batch_size", "learning_rate", "discriminator_learning_rate", "slice_reach"):
        assert getattr(own, name) == getattr(settings, name), f"{name} is the same for both"


def test_it_translates_without_an_atlas_or_a_mask_and_is_the_same_again(settings):
    mr = np.random.default_rng(3).uniform(0, 1, (4, 16, 16)).astype(np.float32)
    first, again, other = (train_textbook(h, settings, 4, 5, cpu_device()) for h in (heads(), heads(), heads(40)))
    assert len(first.atlases) == 0
    assert not any(network.training for network in first.networks.values())
    made = [translate_volume(model, mr, np.full(mr.shape, d)) for model, d in ((first, 1.0), (again, 30), (other, 1))]
    assert np.array_equal(made[0], made[1]), "the same seed and heads, and the depth is not looked at"
    assert not np.array_equal(made[0], made[2]), "it learns from the training heads"
    assert all(torch.isfinite(p).all() for p in first.networks.parameters())
    assert np.ptp(made[0]) > 0


def test_the_test_split_is_never_asked_for(settings):
    asked = set()

    class Watched(dict):
        def __getitem__(self, key):
            asked.add(key)
            return super().__getitem__(key)

    given = Watched(heads() | {"test_mr": None, "test_ct": None})
    train_textbook(given, settings, 2, 5, cpu_device())
    assert asked == {"train_mr", "train_ct", "validation_mr", "validation_ct"}


def test_it_stays_on_the_device_that_it_was_trained_on(settings, monkeypatch):
    best = build_networks(textbook_settings(settings, 2), 5).state_dict()
    monkeypatch.setattr(textbook_cyclegan, "train_cyclegan", lambda *_: (SimpleNamespace(best=best), None))
    model = train_textbook({}, settings, 2, 5, Device(torch.device("meta"), "32-true"))
    assert {p.device.type for p in model.networks.parameters()} == {"meta"}
