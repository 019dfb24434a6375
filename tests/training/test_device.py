import pytest

from radsynth.training import device as device_module
from radsynth.training.device import multiplies_bfloat16, pick_device


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(device_module.torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize(("capability", "precision"), [("avx512_bf16", "bf16-mixed"), ("avx512_f", "32-true")])
def test_bfloat16_is_used_where_the_processor_has_it(no_gpu, monkeypatch, capsys, capability, precision):
    monkeypatch.setattr(
        device_module.torch.cpu, "get_capabilities", lambda: {capability: True, "amx_bf16": False}, raising=False
    )
    assert multiplies_bfloat16() == (precision == "bf16-mixed")
    assert pick_device("bf16-mixed").precision == precision
    assert ("float32 is used" in capsys.readouterr().err) == (precision == "32-true")


def test_float32_is_left_as_it_is(no_gpu, capsys):
    assert pick_device().precision == "32-true"
    assert capsys.readouterr().err == ""
