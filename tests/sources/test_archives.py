"""Reading archives as a stream."""

from __future__ import annotations

import gzip
import io
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from radsynth.errors import InputRefused
from radsynth.sources.archives import check_archive, iter_members, list_members

FILES = {"a/1.xml": b"<one/>", "a/2.xml": b"<two/>", "a/3.png": b"picture"}


def make_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def make_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def regular(files: dict[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(name), content) for name, content in files.items()]


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def reason_of(path: Path, **caps: float) -> str:
    with pytest.raises(InputRefused) as refusal:
        list(iter_members(path, **caps))
    assert "\n" not in str(refusal.value)
    assert path.name in str(refusal.value)
    return refusal.value.reason


@pytest.mark.parametrize(("name", "mode"), [("x.tgz", "w:gz"), ("x.tar", "w"), ("wrong-name.bin", "w:gz")])
def test_tar_members_come_in_order_with_their_content(tmp_path: Path, name: str, mode: str) -> None:
    path = make_tar(tmp_path / name, regular(FILES), mode)
    assert list(iter_members(path)) == list(FILES.items())


def test_zip_members_come_in_order_with_their_content(tmp_path: Path) -> None:
    assert list(iter_members(make_zip(tmp_path / "x.zip", FILES))) == list(FILES.items())


@pytest.mark.parametrize("make", [make_zip, lambda path, files: make_tar(path, regular(files))])
def test_only_the_suffixes_asked_for_come(tmp_path: Path, make) -> None:
    path = make(tmp_path / "x", FILES | {"a/._1.xml": b"fork", "__MACOSX/a/1.xml": b"fork", "B.XML": b"<three/>"})
    assert [name for name, _ in iter_members(path, suffixes=(".xml",))] == ["a/1.xml", "a/2.xml", "B.XML"]


def test_listing_gives_names_and_sizes(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tgz", regular(FILES))
    assert list(list_members(path)) == [(name, len(content)) for name, content in FILES.items()]
    assert check_archive(path) == 3


def test_leading_dot_slash_is_not_part_of_a_name(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tgz", regular({"./a/1.xml": b"<one/>"}))
    assert list(iter_members(path)) == [("a/1.xml", b"<one/>")]


@pytest.mark.parametrize("name", ["../x.xml", "a/../../x.xml", "/etc/x.xml", "C:/x.xml", "..\\x.xml", "C:\\x.xml"])
def test_names_that_climb_out_are_refused(tmp_path: Path, name: str) -> None:
    assert reason_of(make_tar(tmp_path / "x.tgz", regular({name: b"x"}))) == "archive_escape"
    assert reason_of(make_zip(tmp_path / "x.zip", {name: b"x"})) == "archive_escape"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = make_tar(tmp_path / "x.tgz", [*regular(FILES), (special("l.xml", kind, "/etc/passwd"), b"")])
    assert reason_of(path) == "archive_link"


def test_zip_links_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        info = zipfile.ZipInfo("l.xml")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert reason_of(tmp_path / "x.zip") == "archive_link"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_and_pipes_are_refused(tmp_path: Path, kind: bytes) -> None:
    assert reason_of(make_tar(tmp_path / "x.tgz", [(special("d.xml", kind), b"")])) == "archive_special"


def test_encrypted_zip_members_are_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "x.zip", {"a.xml": b"<one/>"})
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    assert reason_of(path) == "archive_special"


@pytest.mark.parametrize("make", [make_zip, lambda path, files: make_tar(path, regular(files))])
def test_caps_on_members_bytes_and_totals_hold(tmp_path: Path, make) -> None:
    path = make(tmp_path / "x", {f"{n}.xml": bytes(1000) for n in range(10)})
    assert reason_of(path, max_member_bytes=999) == "archive_bomb"
    assert reason_of(path, max_total_bytes=9999) == "archive_bomb"
    assert reason_of(path, max_members=9) == "archive_bomb"
    assert len(list(iter_members(path, max_member_bytes=1000, max_total_bytes=200_000, max_members=10))) == 10


@pytest.mark.parametrize("make", [make_zip, lambda path, files: make_tar(path, regular(files))])
def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path, make) -> None:
    path = make(tmp_path / "x", {"a.xml": bytes(40 * 2**20)})
    assert reason_of(path) == "archive_bomb"


def test_a_bomb_goes_off_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        info = tarfile.TarInfo("pax")
        info.type, info.size = tarfile.XHDTYPE, 2**33  # a header that says it is 8 GiB long
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        for _ in range(48):
            file.write(bytes(2**20))
    tracemalloc.start()
    assert reason_of(path) == "archive_corrupt"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_truncated_archives_are_refused(tmp_path: Path, keep: float) -> None:
    noise = bytes(range(256)) * 40
    for path in (
        make_tar(tmp_path / "x.tgz", regular({f"{n}.xml": noise for n in range(9)})),
        make_zip(tmp_path / "x.zip", {f"{n}.xml": noise for n in range(9)}),
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(len(whole) * keep)])
        assert reason_of(path) == "archive_corrupt"


def test_a_gzip_whose_checksum_is_wrong_is_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tgz", regular(FILES))
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF
    path.write_bytes(raw)
    assert reason_of(path) == "archive_corrupt"


def test_an_archive_is_read_on_behind_its_end_mark(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", regular(FILES), "w")
    packed = bytearray(gzip.compress(path.read_bytes() + bytes(2**20)))
    packed[-6] ^= 0xFF
    (tmp_path / "x.tgz").write_bytes(packed)
    assert reason_of(tmp_path / "x.tgz") == "archive_corrupt"


def test_a_negative_size_does_not_hang(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.xml")
    info.size = 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (-1024).to_bytes(12, "big", signed=True)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    (tmp_path / "x.tar").write_bytes(bytes(header) + bytes(2048))
    assert reason_of(tmp_path / "x.tar") == "archive_corrupt"


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b\x08\x00garbage", b"PK\x03\x04garbage"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tgz").write_bytes(content)
    assert reason_of(tmp_path / "x.tgz") in ("archive_unknown", "archive_corrupt")


def test_a_missing_archive_is_refused(tmp_path: Path) -> None:
    assert reason_of(tmp_path / "x.tgz") == "archive_missing"


@pytest.mark.realdata
def test_the_open_i_archives_are_read_to_their_end(realdata: Path) -> None:
    assert check_archive(realdata / "openi/NLMCXR_reports.tgz") == 3955
    images = dict(iter_members(realdata / "openi/NLMCXR_png.tgz", suffixes=(".png",)))
    assert len(images) == 4
    assert all(content.startswith(b"\x89PNG") for content in images.values())
