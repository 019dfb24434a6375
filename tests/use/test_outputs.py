"""Results are written whole or not at all, and never over what radsynth did not make."""

from __future__ import annotations

import pytest

from radsynth.errors import RadsynthError
from radsynth.files import write_json
from radsynth.use.outputs import ABOUT, MADE_BY, check_file, check_folder, new_folder, try_to_write


def test_what_is_there_is_not_overwritten_unless_forced(tmp_path):
    ct, sidecar, mr = (tmp_path / name for name in ("ct.nii", "ct.json", "mr.nii"))
    assert check_file(ct, sidecar, force=False, given=mr) == ct
    ct.write_bytes(b"x")
    write_json(sidecar, {"made_by": MADE_BY, "file": "ct.nii"})
    with pytest.raises(RadsynthError, match=r"is there already.*--force"):
        check_file(ct, sidecar, force=False, given=mr)
    assert check_file(ct, sidecar, force=True, given=mr) == ct


@pytest.mark.parametrize("content", [None, [], {}, {"file": "ct.nii"}, {"made_by": MADE_BY, "file": "ct.nii.gz"}])
@pytest.mark.parametrize("there", ["ct.nii", "ct.json"])
def test_a_file_of_somebody_else_is_not_replaced_even_if_forced(there, content, tmp_path):
    (tmp_path / there).write_text("not json")
    if content is not None:
        write_json(tmp_path / "ct.json", content)
    with pytest.raises(RadsynthError, match=r"ct.json does not say that radsynth made ct.nii"):
        check_file(tmp_path / "ct.nii", tmp_path / "ct.json", force=True, given=tmp_path / "mr.nii")


@pytest.mark.parametrize("given", ["made/x.nii", "link/x.nii", "made"])
def test_the_input_is_never_replaced_even_if_radsynth_made_it(given, tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "link").symlink_to("made")
    (tmp_path / "made" / "x.nii").write_bytes(b"x")
    write_json(tmp_path / "made" / "x.json", {"made_by": MADE_BY, "file": "x.nii"})
    write_json(tmp_path / "made" / ABOUT, {"made_by": MADE_BY})
    for force in (False, True):
        with pytest.raises(RadsynthError, match=r"the input .* would be overwritten"):
            check_folder(tmp_path / "made", force, tmp_path / given)
    if given != "made":
        out, sidecar = tmp_path / "made" / "x.nii", tmp_path / "made" / "x.json"
        with pytest.raises(RadsynthError, match=r"the input .* would be overwritten"):
            check_file(out, sidecar, force=True, given=tmp_path / given)


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


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_that_cannot_be_replaced_as_a_whole_is_told_before_the_work(made, monkeypatch, tmp_path):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (tmp_path / "link").symlink_to(here)
    (tmp_path / "astray").symlink_to("nowhere")
    if made:
        write_json(here / ABOUT, {"made_by": MADE_BY})
    for link in ("link", "astray"):
        with pytest.raises(RadsynthError, match="a link; expected the name of a folder"):
            check_folder(tmp_path / link, force=True)
    for out in (".", "..", here, tmp_path / "new" / "..", "/"):
        with pytest.raises(RadsynthError, match="cannot be replaced as a whole"):
            check_folder(out, force=True)


def test_a_mounted_folder_is_not_replaced(monkeypatch, tmp_path):
    monkeypatch.setattr(type(tmp_path), "is_mount", lambda path: path == tmp_path)
    with pytest.raises(RadsynthError, match="cannot be replaced as a whole"):
        check_folder(tmp_path, force=True)
    assert check_folder(tmp_path / "new", force=True) == tmp_path / "new"


def test_a_file_where_a_folder_is_wanted_and_the_reverse_are_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RadsynthError, match="expected the name of a folder"):
        check_folder(tmp_path / "file", force=True)
    with pytest.raises(RadsynthError, match="expected the name of a file"):
        check_file(tmp_path, tmp_path / "a.json", force=True, given="mr.nii")


def test_nothing_is_left_of_a_folder_whose_making_fails(tmp_path):
    def fail() -> None:
        with new_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("x")
            raise ValueError("out of ink")

    with pytest.raises(ValueError, match="out of ink"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_trial_of_writing_leaves_nothing_and_tells_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    try_to_write(tmp_path / "new" / "below" / "ct.nii.gz")
    try_to_write(tmp_path / "ct.nii.gz")
    for name in ("file/ct.nii.gz", "file/new/ct.nii.gz", "a" * 255):
        with pytest.raises(RadsynthError, match="cannot be written"):
            try_to_write(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_that_it_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(RadsynthError, match="cannot be written"), new_folder(tmp_path / "file" / "out"):
        pass
