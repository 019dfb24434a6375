"""DICOM that is written holds what the table allows, and nothing else."""

from __future__ import annotations

import pytest
from pydicom.datadict import tag_for_keyword

from radsynth.synthetic_dicom import ALLOWED, CONSTANT, build, is_uid, new_uid


def values(kind: str) -> dict[str, object]:
    known = {name: "1" for name, (_, kinds, origin, _) in ALLOWED.items() if kind in kinds and origin != CONSTANT}
    return known | {"PixelData": b"\0\0", "Rows": 1, "Columns": 1, "PixelRepresentation": 0}


@pytest.mark.parametrize("kind", ["ct", "xray"])
def test_an_object_has_the_attributes_of_the_table_and_no_other(kind):
    dataset = build(kind, values(kind))
    assert {element.tag for element in dataset} == {
        tag_for_keyword(name) for name, (_, kinds, _, _) in ALLOWED.items() if kind in kinds
    }
    assert dataset.SyntheticData == "YES"
    assert dataset.ContentQualification == "RESEARCH"


@pytest.mark.parametrize("change", [{"PatientAddress": "x"}, {"PatientName": "Doe^Jane"}, {"OtherPatientIDs": "1"}])
def test_what_is_not_to_be_given_cannot_be_given(change):
    with pytest.raises(AssertionError):
        build("ct", values("ct") | change)


def test_the_table_is_in_the_order_of_the_tags():
    tags = [tag_for_keyword(name) for name in ALLOWED]
    assert None not in tags
    assert tags == sorted(tags)


def test_uids_follow_from_the_content():
    assert new_uid("a", "b") == new_uid("a", "b") != new_uid("a", "c")
    assert is_uid(new_uid("a"))


@pytest.mark.parametrize("value", ["", "Doe^Jane", "1.2.3 Doe", "1.02.3", "1", "1." * 40 + "1", "1.2.\n3"])
def test_what_is_no_uid_is_not_taken_for_one(value):
    assert not is_uid(value)
