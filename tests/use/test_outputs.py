"""Results are written whole or not at all, and never over what radsynth did not make."""

from __future__ import annotations

import pytest

from radsynth.errors import RadsynthError
from radsynth.files import write_json
from radsynth.use.outputs import ABOUT, MADE_BY, check_file, check_folder, new_folder


def test_what_is_there_is_not_overwritten_unless_forced(tmp_path):
    (tmp_path / "ct.nii").write_bytes(b"x")
    with pytest.raises(RadsynthError, match=r"is there already.*--force"):
        check_file(tmp_path / "ct.nii", force=False)
    assert check_file(tmp_path / "ct.nii", force=True) == tmp_path / "ct.nii"


def test_a_folder_of_somebody_else_is_not_replaced_even_if_forced(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    for content in (None, {}, {"made_by": "somebody"}, []):
        if content is not None:
            write_json(tmp_path / ABOUT, content)
        with pytest.raises(RadsynthError, match="radsynth did not make"):
            check_folder(tmp_path, force=True)
    write_json(tmp_path / ABOUT, {"made_by": MADE_BY})
    assert check_folder(tmp_path, force=True) == tmp_path
    with pytest.raises(RadsynthError, match="is there already"):
        check_folder(tmp_path, force=False)


def test_an_empty_or_new_folder_may_be_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/deep"):
        with new_folder(check_folder(tmp_path / name, force=False)) as folder:
            (folder / "a").write_text("x")
        assert (tmp_path / name / "a").read_text() == "x"


def test_a_file_where_a_folder_is_wanted_and_the_reverse_are_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RadsynthError, match="expected the name of a folder"):
        check_folder(tmp_path / "file", force=True)
    with pytest.raises(RadsynthError, match="expected the name of a file"):
        check_file(tmp_path, force=True)


def test_nothing_is_left_of_a_folder_whose_making_fails(tmp_path):
    def fail() -> None:
        with new_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("x")
            raise ValueError("out of ink")

    with pytest.raises(ValueError, match="out of ink"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_that_it_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RadsynthError, match="cannot be written"), new_folder(tmp_path / "file" / "out"):
        pass
