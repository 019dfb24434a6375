import pytest

from radsynth.errors import RadsynthError
from radsynth.processor import gains_by_bfloat16
from radsynth.training import device as device_module
from radsynth.training.device import pick_device


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(device_module.torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [
        ({"avx512_bf16"}, "bf16-mixed"),
        ({"avx512_f"}, "32-true"),
        ({"avx512_bf16", "avx512_fp16"}, "32-true"),
        ({"avx512_bf16", "avx512_fp16", "amx_bf16"}, "bf16-mixed"),
    ],
)
def test_bfloat16_is_used_where_it_is_faster(no_gpu, monkeypatch, capsys, capabilities, precision):
    monkeypatch.setattr(
        device_module.torch.cpu, "get_capabilities", lambda: dict.fromkeys(capabilities, True), raising=False
    )
    assert gains_by_bfloat16() == (precision == "bf16-mixed")
    assert pick_device("bf16-mixed").precision == precision
    assert ("float32 is used" in capsys.readouterr().err) == (precision == "32-true")


def test_float32_is_left_as_it_is(no_gpu, capsys):
    assert pick_device().precision == "32-true"
    assert capsys.readouterr().err == ""


def test_several_processes_are_refused_in_one_line(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert pick_device().precision == "32-true"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RadsynthError, match=r"one GPU.*WORLD_SIZE=2.*without torchrun"):
        pick_device()
