"""SynthRAD patients: unpaired for training, paired for evaluation."""

from __future__ import annotations

import pytest

from radsynth.errors import RadsynthError
from radsynth.sources.synthrad import list_synthrad


def make(folder, patients, ending=".nii.gz"):
    for patient in patients:
        (folder / patient).mkdir(parents=True)
        for name in ("mr", "ct", "mask"):
            (folder / patient / (name + ending)).write_bytes(b"")
    return folder


@pytest.fixture
def patients(tmp_path):
    return make(tmp_path, [f"Task1/brain/1BA{i:03d}" for i in range(20)])


def test_most_patients_give_one_modality_and_a_quarter_gives_both(patients):
    volumes = list_synthrad(patients, seed=7)
    assert volumes["subject_id"].nunique() == 20
    modalities = volumes.groupby("subject_id")["modality"].agg(lambda m: "".join(sorted(m)))
    assert modalities.value_counts().to_dict() == {"MR": 8, "CT": 7, "CTMR": 5}
    assert (volumes.groupby("subject_id")["paired"].first() == (modalities == "CTMR")).all()
    assert volumes["mask_path"].str.endswith("mask.nii.gz").all()


def test_the_same_seed_gives_the_same_roles_and_another_seed_others(patients):
    assert list_synthrad(patients, seed=7).equals(list_synthrad(patients, seed=7))
    assert not list_synthrad(patients, seed=7).equals(list_synthrad(patients, seed=8))


def test_patients_directly_in_the_folder_and_mha_are_found(tmp_path):
    assert len(list_synthrad(make(tmp_path, "abcd", ending=".mha"), seed=1)) == 6


def test_what_is_no_brain_is_passed_over(patients):
    brains = list_synthrad(patients, seed=7)
    make(patients, ["Task1/pelvis/1PA001", "Task1/Abdomen/1ABA001", "Task1/TH/1THA001", "Task1/HN/1HNA001"])
    assert list_synthrad(patients, seed=7).equals(brains)


def test_folders_without_both_modalities_do_not_count(patients):
    for name in ("overview", "1BA900"):
        (patients / "Task1" / "brain" / name).mkdir()
    (patients / "Task1" / "brain" / "1BA900" / "mr.nii.gz").write_bytes(b"")
    assert list_synthrad(patients, seed=7)["subject_id"].nunique() == 20


def test_too_few_patients_are_an_error(tmp_path):
    with pytest.raises(RadsynthError, match="too few SynthRAD patients"):
        list_synthrad(make(tmp_path, "abc"), seed=1)
