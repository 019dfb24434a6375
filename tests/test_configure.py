"""Composing `conf/` into `params.yaml`."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from radsynth import settings
from radsynth.cli import cli
from radsynth.configure import compose, configure
from radsynth.errors import RadsynthError

ROOT = Path(__file__).resolve().parent.parent
CONF = ROOT / "conf"
PROFILES = sorted(path.stem for path in (CONF / "profile").glob("*.yaml"))


def test_the_committed_settings_are_the_composition_of_the_defaults():
    assert (ROOT / "params.yaml").read_text(encoding="utf-8") == compose(folder=CONF)


def test_there_is_a_quickstart_a_full_and_a_smoke_profile():
    assert {"quickstart", "full", "smoke"} <= set(PROFILES)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_composes_into_valid_settings(profile, tmp_path):
    configure([f"profile={profile}"], CONF, tmp_path / "params.yaml")
    assert settings.load(tmp_path / "params.yaml").profile == profile


@pytest.mark.parametrize(
    "source", [f"{group}={path.stem}" for group in ("chest", "brain") for path in (CONF / group).glob("*.yaml")]
)
def test_every_source_composes_into_valid_settings(source, tmp_path):
    configure([source], CONF, tmp_path / "params.yaml")
    group, name = source.split("=")
    loaded = settings.load(tmp_path / "params.yaml")
    assert getattr(loaded, f"acquire_{group}").source == name


def test_the_profiles_set_the_same_settings():
    def names(profile):
        sections = yaml.safe_load(compose([f"profile={profile}"], CONF))
        return {(s, key) for s, v in sections.items() for key in (v if isinstance(v, dict) else [""])}

    assert names("full") == names("quickstart") == names("smoke")


def test_the_full_profile_is_the_real_thing(tmp_path):
    configure(["profile=full"], CONF, tmp_path / "params.yaml")
    full = settings.load(tmp_path / "params.yaml")
    assert full.prepare_xrays.size == 256
    assert (full.train_cyclegan.width, full.train_cyclegan.blocks) == (64, 9)
    assert full.align_volumes.grid_size[:2] == (256, 256)
    assert full.tokenize_reports.encoder != "minilm"
    assert full.train_report_gan.precision == full.train_cyclegan.precision == "bf16-mixed"


def test_a_single_setting_is_overridden_and_reported(tmp_path):
    target = tmp_path / "params.yaml"
    configure(["seed=10", "train_cyclegan.width=24"], CONF, target)
    assert configure(["seed=11", "train_cyclegan.width=32"], CONF, target) == {
        "seed": (10, 11),
        "train_cyclegan.width": (24, 32),
    }
    assert settings.load(target).train_cyclegan.width == 32


@pytest.mark.parametrize(
    "override",
    [
        "profile=huge",
        "chest=mars",
        "train_cyclegan.widht=32",
        "train_cyclegan.width=-1",
        "train_cyclegan.width=many",
        "+new.key=1",
        "seed",
        "=",
        "seed=[1",
        "seed=${nothing}",
        "train_cyclegan=3",
        "~seed",
    ],
)
def test_a_bad_override_is_one_line_and_leaves_the_settings_alone(override, tmp_path):
    target = tmp_path / "params.yaml"
    target.write_text("untouched", encoding="utf-8")
    with pytest.raises(RadsynthError) as error:
        configure([override], CONF, target)
    assert "\n" not in str(error.value)
    assert str(tmp_path) not in str(error.value)
    assert target.read_text(encoding="utf-8") == "untouched"
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("value", ["/d/M\u00fcller", "/d/head (1)", "~/xrays"])
def test_a_path_that_needs_quotes_is_told_with_them_and_then_read(value, tmp_path):
    with pytest.raises(RadsynthError, match="quote the value") as error:
        compose([f"acquire_chest.path={value}"], CONF)
    assert str(error.value).endswith(f"""quote the value: 'acquire_chest.path="{value}"'""")
    configure([f'acquire_chest.path="{value}"'], CONF, tmp_path / "params.yaml")
    assert settings.load(tmp_path / "params.yaml").acquire_chest.path == value


def test_an_unknown_profile_names_those_that_there_are():
    with pytest.raises(RadsynthError, match=r"profile=full \| quickstart \| smoke"):
        compose(["profile=huge"], CONF)


def test_a_folder_without_configuration_is_a_plain_error(tmp_path):
    with pytest.raises(RadsynthError, match="no configuration"):
        compose([], tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [("file/p.yaml", "lies below a file"), ("file/new/p.yaml", "lies below a file"), ("folder", "cannot be written")],
)
def test_a_file_that_cannot_be_written_is_a_plain_error(name, said, tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(RadsynthError, match=f"{name}: {said}"):
        configure([], CONF, tmp_path / name)


def test_the_command_prints_what_changed(tmp_path):
    target = tmp_path / "params.yaml"
    arguments = ["configure", "--conf", str(CONF), "--params", str(target)]
    CliRunner().invoke(cli, [*arguments, "chest=phantom", "acquire_chest.path=here"])
    result = CliRunner().invoke(cli, [*arguments, "chest=nih", "acquire_chest.path=/elsewhere/nih"])
    assert result.output.splitlines() == [
        "acquire_chest.path: here -> /elsewhere/nih",
        "acquire_chest.source: phantom -> nih",
        f"{target}: 2 settings changed",
    ]
    assert CliRunner().invoke(cli, arguments).output.endswith("2 settings changed\n")
    assert CliRunner().invoke(cli, arguments).output == f"{target}: no change\n"
