"""`radsynth check` on inputs that are good, useless, broken, or made to hurt."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from radsynth import checks
from radsynth.checks import SUFFIXES, check, exit_code, one_line
from radsynth.sources.openi_xml import write_openi_xml

SECONDS_EACH = 5.0
NEVER = {"unexpected_error", "timed_out", "reader_died", "needs_too_much_memory"}


# ---- good files ----


def good_xml(number: int = 1, **changes: str) -> bytes:
    return write_openi_xml(
        f"CXR{number}",
        **{"findings": "The heart is normal.", "impression": "No effusion.", "image_ids": ["a"]} | changes,
    )


def good_png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(file, "PNG")
    return file.getvalue()


def head(shape: tuple[int, ...] = (24, 24, 24)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 1000, shape).astype(np.int16)


def nifti(voxels: np.ndarray | None = None, sform: np.ndarray | None = None) -> bytes:
    """A volume of 5 mm voxels; `sform` is written into its bytes as it is, which nibabel would not do."""
    image = nibabel.Nifti1Image(head() if voxels is None else voxels, np.diag([5.0, 5, 5, 1]))
    image.set_qform(image.affine, 1)
    data = bytearray(image.to_bytes())
    if sform is not None:
        data[280:328] = sform[:3].astype("<f4").tobytes()
    return bytes(data)


def dicom(path: Path, modality: str, number: int = 0, series: str = "1.2.3.4", pixels: bool = True) -> None:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    uid = "1.2.840.10008.5.1.4.1.1.2" if modality == "CT" else "1.2.840.10008.5.1.4.1.1.1"
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = uid
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality = series, "1.2.3", modality
    if modality == "CT":
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 5 * number], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing = [5, 5]
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.Rows, data.Columns, data.SamplesPerPixel = 48, 48, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    if pixels:
        data.PixelData = np.random.default_rng(number).integers(0, 2000, (48, 48)).astype(np.uint16).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)


def tar(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    (folder / "report.xml").write_bytes(good_xml())
    (folder / "xray.png").write_bytes(good_png())
    (folder / "head.nii").write_bytes(nifti())
    (folder / "head.nii.gz").write_bytes(gzip.compress(nifti()))
    tar(folder / "reports.tgz", ("ecgen-radiology/1.xml", good_xml()), ("ecgen-radiology/2.xml", good_xml(2)))
    for number in range(8):
        dicom(folder / "series" / f"IM{number:04}", "CT", number)
    for number in range(2):
        dicom(folder / "radiographs" / f"{number}.dcm", "CR", number)
    (folder / "notes.txt").write_text("not judged")
    (folder / ".hidden.png").write_text("not judged")
    return folder


@pytest.fixture(scope="module")
def good_verdicts(good):
    return check([good])


def test_every_kind_of_good_file_is_accepted(good, good_verdicts):
    assert exit_code(good_verdicts) == 0
    found = {(v.kind, str(Path(v.path).relative_to(good))) for v in good_verdicts if v.verdict == "accepted"}
    assert found == {
        ("report", "report.xml"),
        ("image", "xray.png"),
        ("volume", "head.nii"),
        ("volume", "head.nii.gz"),
        ("archive", "reports.tgz"),
        ("report", "reports.tgz!ecgen-radiology/1.xml"),
        ("report", "reports.tgz!ecgen-radiology/2.xml"),
        ("series", "series"),
        ("image", "radiographs/0.dcm"),
        ("image", "radiographs/1.dcm"),
    }


def test_the_order_of_the_verdicts_is_that_of_the_names(good, good_verdicts):
    assert check([good]) == good_verdicts


# ---- broken and hostile files ----


def png_of(rows: int, columns: int, body: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IDAT", zlib.compress(b"\0" * 65)) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    data = b"Comment\0\0" + zlib.compress(b"a" * 100_000_000, 9)
    return struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))


def lying_nifti(shape: tuple[int, ...]) -> bytes:
    header = bytearray(nifti()[:352])
    header[40:56] = struct.pack("<8h", len(shape), *shape, *[1] * (7 - len(shape)))
    return bytes(header) + bytes(1000)


def nifti_with(offset: int, value: bytes) -> bytes:
    data = bytearray(nifti())
    data[offset : offset + len(value)] = value
    return bytes(data)


def not_a_number() -> np.ndarray:
    voxels = head().astype(np.float32)
    voxels[3, 3, 3] = np.nan
    return voxels


def wrong_checksum() -> bytes:
    data = bytearray(gzip.compress(nifti()))
    data[-8] ^= 1
    return bytes(data)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
FILES = {
    "laughs.xml": (f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l11;</a>'.encode(), "refused", "xml_doctype"),
    "external.xml": (
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file://FIFO">]><eCitation>&x;</eCitation>',
        "refused",
        "xml_doctype",
    ),
    "external_dtd.xml": (b'<!DOCTYPE a SYSTEM "file://FIFO"><eCitation/>', "refused", "xml_doctype"),
    "doctype_utf16.xml": ("<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>".encode("utf-16"), "refused", "xml_doctype"),
    "deep.xml": (b"<a>" * 100_000, "refused", "xml_malformed"),
    "large.xml": (b"<a>" + b" " * 2_000_000 + b"</a>", "refused", "xml_too_large"),
    "cut.xml": (good_xml()[:200], "refused", "xml_malformed"),
    "other.xml": (b"<html><body>hello</body></html>", "refused", "xml_not_openi"),
    "no_text.xml": (good_xml(findings="", impression=""), "quarantined", "report_empty"),
    "truncated.png": (good_png()[:800], "refused", None),
    "header_only.png": (good_png()[:20], "refused", "image_truncated"),
    "oversized.png": (png_of(60_000, 60_000, b""), "refused", "image_too_large"),
    "lying.png": (png_of(5_000, 5_000, b""), "refused", None),
    "text_bomb.png": (png_of(64, 64, text_bomb()), "refused", None),
    "tiny.png": (png_of(8, 8, b""), "quarantined", "image_too_small"),
    "black.png": (png_of(32, 32, b""), None, None),
    "text.png": (b"not a picture", "refused", "image_unknown_format"),
    "huge_header.nii": (lying_nifti((30_000, 30_000, 30_000)), "refused", None),
    "large_header.nii": (lying_nifti((512, 512, 500)), "refused", "nifti_truncated"),
    "negative_header.nii": (lying_nifti((-5, 24, 24)), "refused", None),
    "large_header.nii.gz": (gzip.compress(lying_nifti((512, 512, 500))), "refused", "nifti_truncated"),
    "checksum.nii.gz": (wrong_checksum(), "refused", "nifti_corrupt"),
    "cut.nii.gz": (gzip.compress(nifti())[:-500], "refused", None),
    "bomb.nii.gz": (gzip.compress(nifti() + bytes(60_000_000)), "refused", None),
    "not_a_number.nii": (nifti(not_a_number()), "quarantined", "volume_nonfinite"),
    "nan_affine.nii": (nifti(sform=np.diag([np.nan, 5, 5, 1])), "refused", None),
    "singular_affine.nii": (nifti(sform=np.diag([0.0, 5, 5, 1])), "refused", None),
    "sides_disagree.nii": (nifti(sform=np.diag([-5.0, 5, 5, 1])), "refused", None),
    "four_d.nii": (nifti(head((12, 12, 12, 3))), None, None),
    "constant.nii": (nifti(np.zeros((24, 24, 24), np.int16)), "quarantined", "volume_constant"),
    "offset.nii": (nifti_with(108, struct.pack("<f", 1e30)), "refused", None),
    "outside.mhd": (
        b"ObjectType = Image\nNDims = 3\nDimSize = 24 24 24\nElementType = MET_SHORT\nElementSpacing = 5 5 5\n"
        b"ElementDataFile = ../fifo\n",
        "refused",
        None,
    ),
    "absolute.mhd": (
        b"ObjectType = Image\nNDims = 3\nDimSize = 24 24 24\nElementType = MET_SHORT\nElementSpacing = 5 5 5\n"
        b"ElementDataFile = FIFO\n",
        "refused",
        None,
    ),
    "outside.nhdr": (
        b"NRRD0004\ntype: short\ndimension: 3\nsizes: 24 24 24\nspace: left-posterior-superior\n"
        b"space directions: (5,0,0) (0,5,0) (0,0,5)\nencoding: raw\ndata file: FIFO\n",
        "refused",
        None,
    ),
    "not.tgz": (b"not an archive", "refused", "archive_unknown"),
    "cut.tgz": (b"", "refused", None),
}


def write_archives(folder: Path, fifo: Path) -> dict[str, tuple[str, str | None]]:
    xml = ("ecgen-radiology/1.xml", good_xml())
    tar(folder / "up.tgz", xml, ("../escaped.xml", good_xml()))
    tar(folder / "absolute.tgz", (f"{folder}/escaped.xml", good_xml()))
    tar(folder / "symlink.tgz", xml, special("x.xml", tarfile.SYMTYPE, str(fifo)))
    tar(folder / "hardlink.tgz", special("x.xml", tarfile.LNKTYPE, str(fifo)))
    tar(folder / "device.tgz", special("x.xml", tarfile.CHRTYPE))
    tar(folder / "fifo_member.tgz", special("x.xml", tarfile.FIFOTYPE))
    tar(folder / "bomb.tgz", ("zeros.xml", bytes(40_000_000)))
    (folder / "tail.tgz").write_bytes((folder / "symlink.tgz").read_bytes()[:-20])
    with zipfile.ZipFile(folder / "up.zip", "w") as archive:
        archive.writestr("../escaped.xml", good_xml())
    with zipfile.ZipFile(folder / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros.xml", bytes(40_000_000))
    return {
        "up.tgz": ("refused", "archive_escape"),
        "absolute.tgz": ("refused", "archive_escape"),
        "symlink.tgz": ("refused", "archive_link"),
        "hardlink.tgz": ("refused", "archive_link"),
        "device.tgz": ("refused", "archive_special"),
        "fifo_member.tgz": ("refused", "archive_special"),
        "bomb.tgz": ("refused", "archive_bomb"),
        "tail.tgz": ("refused", None),
        "up.zip": ("refused", "archive_escape"),
        "bomb.zip": ("refused", "archive_bomb"),
    }


def hostile_files(folder: Path) -> dict[str, tuple[str | None, str | None]]:
    """Write every hostile file; whatever opens the pipe that they point to hangs, and is found by its time."""
    fifo = folder.parent / "fifo"
    os.mkfifo(fifo)
    expected: dict[str, tuple[str | None, str | None]] = {}
    for name, (content, verdict, reason) in FILES.items():
        (folder / name).write_bytes(content.replace(b"FIFO", str(fifo).encode()))
        expected[name] = verdict, reason
    expected |= write_archives(folder, fifo)
    noise = random.Random(1)
    for suffix in SUFFIXES:
        (folder / f"noise{suffix}").write_bytes(noise.randbytes(5000))
        (folder / f"empty{suffix}").write_bytes(b"")
        (folder / f"folder{suffix}").mkdir()
        os.mkfifo(folder / f"pipe{suffix}")
        (folder / f"link{suffix}").symlink_to(fifo)
        expected |= dict.fromkeys((f"noise{suffix}", f"empty{suffix}"), ("refused", None))
        expected |= dict.fromkeys((f"folder{suffix}", f"pipe{suffix}"), ("refused", "not_a_file"))
        expected[f"link{suffix}"] = "refused", "link_outside"
    dicom(folder / "no_pixels.dcm", "CR", pixels=False)
    expected["no_pixels.dcm"] = "refused", None
    for number in range(8):
        dicom(folder / "series_without_pixels" / f"{number}.dcm", "CT", number, pixels=False)
        dicom(folder / "two_series" / f"{number}.dcm", "CT", number, series=f"1.2.3.{number % 2}")
    expected["series_without_pixels"] = "refused", "dicom_no_pixels"
    expected["two_series"] = "quarantined", "dicom_mixed_series"
    return expected


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outside") / "hostile"
    folder.mkdir()
    expected = hostile_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "MAX_SECONDS", SECONDS_EACH)
        verdicts = {str(Path(v.path).relative_to(folder)): v for v in check([folder])}
    return expected, verdicts


def test_no_hostile_file_is_passed_over(hostile):
    expected, verdicts = hostile
    assert set(expected) <= set(verdicts)


def test_no_hostile_file_crashes_hangs_or_surprises_a_reader(hostile):
    assert {name: v.reason for name, v in hostile[1].items() if v.reason in NEVER} == {}


def test_every_hostile_file_gets_its_verdict_and_reason(hostile):
    expected, verdicts = hostile
    wrong = {
        name: (verdicts[name].verdict, verdicts[name].reason)
        for name, (verdict, reason) in expected.items()
        if verdicts[name].verdict != verdict is not None or verdicts[name].reason != reason is not None
    }
    assert wrong == {}


def test_every_refusal_has_a_code_and_one_plain_line(hostile):
    for verdict in hostile[1].values():
        if verdict.verdict != "accepted":
            assert verdict.reason.replace("_", "").isalnum()
            assert verdict.reason == verdict.reason.lower()
            assert verdict.message
            assert "\n" not in verdict.message
            assert "Traceback" not in verdict.message


def test_members_of_an_archive_that_turns_out_bad_are_not_accepted(hostile):
    assert not [name for name in hostile[1] if "!" in name]


# ---- paths ----


def test_a_path_that_is_not_there_is_refused(tmp_path):
    (verdict,) = check([tmp_path / "no.png"])
    assert (verdict.kind, verdict.verdict, verdict.reason) == ("image", "refused", "not_found")


def test_a_folder_without_any_input_is_refused(tmp_path):
    (verdict,) = check([tmp_path])
    assert verdict.reason == "nothing_to_check"


def test_a_file_of_another_kind_is_refused_when_it_is_named(tmp_path):
    (tmp_path / "table.csv").write_text("a,b")
    (verdict,) = check([tmp_path / "table.csv"])
    assert verdict.reason == "unknown_kind"


def test_a_name_with_a_null_byte_or_of_endless_length_is_refused():
    reasons = [v.reason for v in check(["a\0b.png", "x" * 5000 + ".png"])]
    assert reasons == ["unreadable", "unreadable"]


def test_a_file_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"
    path.write_bytes(good_png())
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything: let the question say what it would for another user
        monkeypatch.setattr(os, "access", lambda *_: False)
    (verdict,) = check([path])
    assert (verdict.verdict, verdict.reason) == ("refused", "unreadable")


def test_links_are_followed_inside_the_folder_and_never_out_of_it(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (folder / "sub").mkdir(parents=True)
    (outside / "1.xml").write_bytes(good_xml())
    (folder / "sub" / "2.xml").write_bytes(good_xml(2))
    (folder / "inner.xml").symlink_to("sub/2.xml")
    (folder / "outer.xml").symlink_to(outside / "1.xml")
    (folder / "outer").symlink_to(outside)
    (folder / "loop").symlink_to(".")
    (folder / "dangling.xml").symlink_to("nowhere")
    found = {str(Path(v.path).relative_to(folder)): v.reason or v.verdict for v in check([folder])}
    assert found == {
        "inner.xml": "accepted",
        "outer.xml": "link_outside",
        "outer": "link_outside",
        "dangling.xml": "link_outside",
        "sub/2.xml": "accepted",
    }


def test_a_folder_that_is_too_deep_or_too_full_is_not_walked_to_its_end(tmp_path, monkeypatch):
    deep = tmp_path / "deep"
    (deep / "/".join("d" * 40)).mkdir(parents=True)
    assert [v.reason for v in check([deep])] == ["folder_too_large"]
    monkeypatch.setattr(checks, "MAX_ENTRIES", 3)
    for number in range(5):
        (tmp_path / f"{number}.txt").write_text("")
    assert [v.reason for v in check([tmp_path])] == ["folder_too_large"]


def test_control_characters_of_a_name_do_not_reach_the_terminal():
    assert one_line("a\x1b[2Jb\nc\udcff") == "a\\x1b[2Jb\\nc\\udcff"


# ---- the guard around the readers ----

FAKE_READER = """
import os, threading
from radsynth import checks
def read(path):
    path = os.path.basename(path)
    if "hang" in path: threading.Event().wait()
    if "die" in path: os.abort()
    if "huge" in path: bytearray(8 * 2**30)
    if "bug" in path: raise IndexError("surprise")
    os.write(1, b"what a library prints\\n")
checks._READERS["report"] = read
checks.serve()
"""


def test_a_reader_that_hangs_dies_grows_or_errs_costs_only_its_own_file(tmp_path, monkeypatch):
    monkeypatch.setattr(checks, "CHILD", FAKE_READER)
    monkeypatch.setattr(checks, "MAX_SECONDS", 3.0)
    for name in ("a", "bug", "c", "die", "e", "hang", "huge", "i"):
        (tmp_path / f"{name}.xml").write_bytes(b"")
    assert {Path(v.path).stem: v.reason or v.verdict for v in check([tmp_path])} == {
        "a": "accepted",
        "bug": "unexpected_error",
        "c": "accepted",
        "die": "reader_died",
        "e": "accepted",
        "hang": "timed_out",
        "huge": "needs_too_much_memory",
        "i": "accepted",
    }


def test_every_member_of_an_archive_is_a_sign_of_life_whatever_it_is(tmp_path):
    members = ("1.xml", good_xml()), ("notes.txt", b"passed over"), ("bad.png", b""), ("2.xml", good_xml(2))
    tar(tmp_path / "a.tgz", *members)
    signs = []
    verdicts = checks._judge("archive", str(tmp_path / "a.tgz"), lambda: signs.append(1))
    assert len(signs) == 4
    assert check([tmp_path / "a.tgz"]) == verdicts


def test_verdicts_can_be_written_as_json_whatever_the_names_are(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.xml"
    Path(os.fsdecode(path)).write_bytes(good_xml())
    (verdict,) = check([tmp_path])
    assert verdict.verdict == "accepted"
    assert json.loads(json.dumps(verdict.path)) == os.fsdecode(path)


@pytest.mark.realdata
@pytest.mark.slow
def test_the_real_volumes_and_images_are_accepted(realdata):
    verdicts = check([realdata / "brain", realdata / "openi" / "NLMCXR_png.tgz"])
    assert exit_code(verdicts) == 0
    assert [v.kind for v in verdicts].count("volume") == 5
    assert [v.kind for v in verdicts].count("image") == 4
