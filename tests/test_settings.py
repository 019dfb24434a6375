"""params.yaml is strict: what is not known, missing or out of range is a plain error."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from radsynth import settings
from radsynth.errors import RadsynthError

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def raw() -> dict:
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def load(raw: object, folder: Path) -> settings.Settings:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return settings.load(path)


def test_the_committed_settings_are_valid(raw, tmp_path):
    assert load(raw, tmp_path).profile == raw["profile"]


def test_every_section_is_one_of_the_committed_file_and_the_other_way_round(raw):
    assert set(settings.Settings.model_fields) == set(raw)


def test_settings_cannot_be_changed(raw, tmp_path):
    loaded = load(raw, tmp_path)
    with pytest.raises(ValidationError):
        loaded.seed = 3
    with pytest.raises(ValidationError):
        loaded.train_cyclegan.width = 3


FLAWS = {
    "an unknown section": (lambda raw: raw.update(train_everything={}), "train_everything"),
    "an unknown setting": (lambda raw: raw["train_cyclegan"].update(widht=3), r"train_cyclegan\.widht"),
    "a missing setting": (lambda raw: raw["train_cyclegan"].pop("width"), r"train_cyclegan\.width"),
    "a missing section": (lambda raw: raw.pop("explain"), "explain"),
    "a share above one": (lambda raw: raw["split_chest"].update(test=1.5), r"split_chest\.test.*1\.5"),
    "a size of zero": (lambda raw: raw["prepare_xrays"].update(size=0), r"prepare_xrays\.size"),
    "a negative weight": (lambda raw: raw["train_report_gan"].update(weight_l1=-1), r"train_report_gan\.weight_l1"),
    "a word for a number": (lambda raw: raw["train_cyclegan"].update(width="many"), r"train_cyclegan\.width.*'many'"),
    "a grid of two sides": (lambda raw: raw["align_volumes"].update(grid_size=[64, 64]), r"align_volumes\.grid_size"),
    "a source that there is not": (lambda raw: raw["acquire_chest"].update(source="mars"), r"acquire_chest\.source"),
}


@pytest.mark.parametrize(("spoil", "named"), FLAWS.values(), ids=FLAWS.keys())
def test_a_wrong_setting_is_named_in_one_line(raw, tmp_path, spoil, named):
    spoil(raw)
    with pytest.raises(RadsynthError, match=named) as error:
        load(raw, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "just text", "[1, 2]", "a: [1", "\t- :"])
def test_a_file_that_holds_no_settings_is_a_plain_error(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RadsynthError):
        settings.load(tmp_path / "params.yaml")


def test_a_missing_file_says_how_to_make_one(tmp_path):
    with pytest.raises(RadsynthError, match="radsynth configure"):
        settings.load(tmp_path / "params.yaml")


def test_yaml_cannot_make_objects(tmp_path):
    (tmp_path / "params.yaml").write_text("profile: !!python/object/apply:os.getcwd []", encoding="utf-8")
    with pytest.raises(RadsynthError, match="not YAML"):
        settings.load(tmp_path / "params.yaml")
