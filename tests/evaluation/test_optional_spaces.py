import torch
from torchvision.models import inception_v3
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

from radsynth.evaluation import optional_spaces as module
from radsynth.evaluation.optional_spaces import hugging_face_space, inception_space, optional_spaces
from radsynth.training.device import Device

CPU = Device(torch.device("cpu"), "32-true")


def save_dino(folder):
    torch.manual_seed(0)
    config = Dinov2Config(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2
    )
    Dinov2Model(config).save_pretrained(folder)
    BitImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(folder)


def test_a_space_that_is_not_here_is_named_and_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(module.Path, "home", lambda: tmp_path)
    found, missing = optional_spaces(["inception", "xrv", str(tmp_path / "nobody")], CPU)
    assert found == {}
    assert [sentence.split(":")[0] for sentence in missing] == [
        "No distances in the feature space inception",
        "No distances in the feature space xrv",
        f"No distances in the feature space {tmp_path / 'nobody'}",
    ]


def test_a_vision_model_is_read_from_a_folder(tmp_path):
    save_dino(tmp_path / "rad-dino")
    found, missing = optional_spaces([str(tmp_path / "rad-dino")], CPU)
    assert missing == []
    (suffix, space), *_ = found.items()
    assert suffix == "_rad_dino"
    pictures = torch.rand(3, 1, 40, 40) * 2 - 1
    features = space.read(pictures)
    assert features.shape == (3, space.width) == (3, 8)
    alone = torch.cat([space.read(picture[None]) for picture in pictures])
    assert torch.allclose(features, alone, atol=1e-5)
    assert not torch.allclose(features[0], features[1], atol=1e-3), "different pictures have different features"


def test_other_weights_make_another_space(tmp_path):
    save_dino(tmp_path / "one")
    first = hugging_face_space(str(tmp_path / "one"), CPU)
    model = Dinov2Model.from_pretrained(tmp_path / "one")
    with torch.no_grad():
        model.layernorm.weight += 1
    model.save_pretrained(tmp_path / "one")
    assert hugging_face_space(str(tmp_path / "one"), CPU).digest != first.digest


def test_inception_is_read_from_torchs_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(inception_v3(weights=None, init_weights=False).state_dict(), tmp_path / "checkpoints" / module.INCEPTION)
    space = inception_space(CPU)
    assert space.read(torch.zeros(1, 1, 64, 64)).shape == (1, space.width)
