"""Folders of one's own volumes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from radsynth.errors import RadsynthError
from radsynth.schemas import QUARANTINE, RAW_VOLUMES
from radsynth.sources.brain_folder import list_brain_folder


@pytest.fixture
def folder(tmp_path):
    for name in ("mr/smith.nii.gz", "mr/jones.mha", "ct/smith.nrrd", "ct/brown/0001.dcm", "mr/.hidden", "ct/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def test_files_and_series_folders_are_listed_by_modality(folder):
    volumes, refused = list_brain_folder(folder)
    assert list(volumes.columns) == list(RAW_VOLUMES.columns)
    assert list(refused.columns) == list(QUARANTINE.columns)
    names = {(row.path.rsplit("/", 1)[1], row.modality) for row in volumes.itertuples()}
    assert names == {("smith.nii.gz", "MR"), ("jones.mha", "MR"), ("smith.nrrd", "CT"), ("brown", "CT")}
    assert refused["reason"].tolist() == ["volume_format"]


def test_one_name_in_both_modalities_is_a_pair(folder):
    volumes, _ = list_brain_folder(folder)
    paired = volumes[volumes["paired"]]
    assert sorted(paired["modality"]) == ["CT", "MR"]
    assert paired["subject_id"].nunique() == 1
    assert volumes["subject_id"].nunique() == 3
    assert volumes["volume_id"].is_unique


def test_a_name_that_is_not_utf8_is_set_aside(folder):
    Path(os.fsdecode(os.fsencode(folder) + b"/mr/M\xfcller.nii")).write_bytes(b"")
    volumes, refused = list_brain_folder(folder)
    assert len(volumes) == 4
    assert sorted(refused["reason"]) == ["volume_format", "volume_name"]


def test_ids_do_not_tell_the_names_of_files(folder):
    volumes, _ = list_brain_folder(folder)
    for column in ("volume_id", "subject_id"):
        assert not volumes[column].str.contains("smith|jones|brown").any()


def test_a_second_file_of_the_same_name_is_refused(folder):
    (folder / "mr" / "smith.nii").write_bytes(b"")
    volumes, refused = list_brain_folder(folder)
    assert "volume_name_twice" in refused["reason"].tolist()
    assert volumes["volume_id"].is_unique


def test_a_missing_or_empty_modality_is_an_error(tmp_path):
    (tmp_path / "mr").mkdir()
    (tmp_path / "mr" / "a.nii").write_bytes(b"")
    with pytest.raises(RadsynthError, match="no ct/ folder"):
        list_brain_folder(tmp_path)
    (tmp_path / "ct").mkdir()
    with pytest.raises(RadsynthError, match="no CT volumes"):
        list_brain_folder(tmp_path)
