"""The Open-i collection as a source, and its download."""

from __future__ import annotations

import hashlib
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest

from radsynth.errors import InputRefused, RadsynthError
from radsynth.schemas import QUARANTINE, RAW_IMAGES, RAW_REPORTS
from radsynth.sources.download import download, openi_download
from radsynth.sources.openi import read_openi
from radsynth.sources.openi_xml import write_openi_xml

REPORTS = {
    f"ecgen-radiology/{n}.xml": write_openi_xml(f"CXR{n}", findings="Clear.", impression="", image_ids=[f"CXR{n}_IM-1"])
    for n in (2, 10, 1)
}
IMAGES = {f"CXR{n}_IM-1.png": b"\x89PNG" + bytes([n]) for n in (2, 10, 1)}


def write_tgz(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, BytesIO(content))


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = tmp_path / "packed"
    folder.mkdir()
    write_tgz(folder / "NLMCXR_reports.tgz", REPORTS)
    write_tgz(folder / "NLMCXR_png.tgz", IMAGES)
    return folder


def test_archives_give_reports_and_a_list_of_images(packed: Path, tmp_path: Path) -> None:
    raw = read_openi(packed)
    RAW_REPORTS.write(raw.reports, tmp_path / "r.parquet")
    RAW_IMAGES.write(raw.images, tmp_path / "i.parquet")
    QUARANTINE.write(raw.quarantine, tmp_path / "q.parquet")
    assert list(raw.reports["report_id"]) == ["CXR1", "CXR2", "CXR10"]
    assert list(raw.reports["subject_id"]) == ["CXR1", "CXR2", "CXR10"]
    assert raw.reports["xml"][0] == REPORTS["ecgen-radiology/1.xml"]
    assert list(raw.images["image_id"]) == ["CXR1_IM-1", "CXR2_IM-1", "CXR10_IM-1"]
    assert set(raw.images["container"]) == {str(packed / "NLMCXR_png.tgz")}
    assert list(raw.images["member"]) == ["CXR1_IM-1.png", "CXR2_IM-1.png", "CXR10_IM-1.png"]
    assert set(raw.images["view_hint"]) == {"unknown"}
    assert raw.truth.empty
    assert raw.masks.shape == (0, 256, 32)
    assert raw.quarantine.empty


def test_unpacked_files_give_the_same(packed: Path, tmp_path: Path) -> None:
    write_files(tmp_path / "files", REPORTS | IMAGES)
    raw, files = read_openi(packed), read_openi(tmp_path / "files")
    assert files.reports[["report_id", "xml"]].equals(raw.reports[["report_id", "xml"]])
    assert files.images[["image_id", "member"]].equals(raw.images[["image_id", "member"]])


def test_subjects_and_views_beside_the_archives_are_used(packed: Path) -> None:
    pd.DataFrame({"report_id": ["CXR1", "CXR2"], "subject_id": ["A", "A"]}).to_parquet(packed / "subjects.parquet")
    pd.DataFrame({"image_id": ["CXR2_IM-1"], "view": ["lateral"]}).to_parquet(packed / "views.parquet")
    raw = read_openi(packed)
    assert list(raw.reports["subject_id"]) == ["A", "A", "CXR10"]
    assert list(raw.images["view_hint"]) == ["unknown", "lateral", "unknown"]


def test_a_second_image_of_one_id_is_quarantined(tmp_path: Path) -> None:
    write_files(tmp_path, REPORTS | IMAGES | {"again/CXR1_IM-1.png": b"other"})
    raw = read_openi(tmp_path)
    assert len(raw.images) == 3
    assert list(raw.quarantine["reason"]) == ["image_duplicate"]


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    write_files(tmp_path / "data", REPORTS | IMAGES)
    (tmp_path / "outside.xml").write_bytes(b"<secret/>")
    (tmp_path / "data/99.xml").symlink_to(tmp_path / "outside.xml")
    raw = read_openi(tmp_path / "data")
    assert len(raw.reports) == 3
    assert list(raw.quarantine["reason"]) == ["file_link"]


def test_an_oversized_report_is_cut_so_that_the_parser_refuses_it(packed: Path) -> None:
    write_tgz(packed / "NLMCXR_reports.tgz", REPORTS | {"ecgen-radiology/7.xml": b"<a>" * 2**20})
    raw = read_openi(packed).reports
    assert raw["xml"].map(len).max() == 2**20 + 1
    assert "CXR7" in set(raw["report_id"])


def test_a_hostile_archive_is_refused_whole(packed: Path) -> None:
    write_tgz(packed / "NLMCXR_reports.tgz", REPORTS | {"../7.xml": b"<a/>"})
    with pytest.raises(InputRefused) as refusal:
        read_openi(packed)
    assert refusal.value.reason == "archive_escape"


def test_what_is_missing_is_said_in_one_line(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(RadsynthError, match="no such folder"):
        read_openi(tmp_path / "nowhere")
    (packed / "NLMCXR_png.tgz").unlink()
    with pytest.raises(RadsynthError, match=r"no images here.*NLMCXR_png.tgz"):
        read_openi(packed)


@pytest.mark.realdata
def test_the_real_archives_are_listed(realdata: Path) -> None:
    raw = read_openi(realdata / "openi")
    assert len(raw.reports) == 3955
    assert list(raw.reports["report_id"][:2]) == ["CXR1", "CXR2"]
    assert list(raw.images["image_id"]) == [
        *("CXR25_IM-1024-2001", "CXR54_IM-2145-1001", "CXR54_IM-2145-1002", "CXR303_IM-1404-1001")
    ]


# ---- the download ----

CONTENT = bytes(range(251)) * 20_000  # 5 MB


class Server(BaseHTTPRequestHandler):
    """Serves CONTENT; `cut` connections end after a part of it, and `version` can change between requests."""

    cut: list[int]
    versions: list[str]
    ranges: list[str | None]

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.ranges.append(wanted)
        version = self.versions.pop(0) if len(self.versions) > 1 else self.versions[0]
        if self.path == "/missing":
            self.send_error(404)
            return
        start = 0
        if wanted and self.headers.get("If-Range") == version:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.send_header("ETag", version)
        self.end_headers()
        stop = start + self.cut.pop(0) if self.cut else len(CONTENT)
        self.wfile.write(CONTENT[start:stop])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve(cut: list[int], versions: list[str]) -> Iterator[tuple[str, type[Server]]]:
    handler = type("Handler", (Server,), {"cut": cut, "versions": versions, "ranges": []})
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_download_goes_on_after_broken_connections(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serve([1_000_000, 2_000_000], ['"v1"']) as (address, handler):
        (found,) = openi_download(tmp_path, urls={"x.tgz": f"{address}/x"}, wait_seconds=0)
    assert found.path.read_bytes() == CONTENT
    assert found.size == len(CONTENT)
    assert found.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert handler.ranges == [None, "bytes=1000000-", "bytes=3000000-"]
    assert f"x.tgz: {len(CONTENT)} bytes, sha256 {found.sha256}" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.tgz"]


def test_a_download_goes_on_in_another_call(tmp_path: Path) -> None:
    with serve([1_000_000, 0], ['"v1"']) as (address, handler):
        with pytest.raises(RadsynthError, match="does not go on"):
            download(f"{address}/x", tmp_path / "x.tgz", attempts=1, wait_seconds=0)
        assert not (tmp_path / "x.tgz").exists()
        download(f"{address}/x", tmp_path / "x.tgz", attempts=1, wait_seconds=0)
    assert handler.ranges[-1] == "bytes=1000000-"
    assert (tmp_path / "x.tgz").read_bytes() == CONTENT


def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path: Path) -> None:
    with serve([1_000_000], ['"v1"', '"v2"']) as (address, _):
        download(f"{address}/x", tmp_path / "x.tgz", wait_seconds=0)
    assert (tmp_path / "x.tgz").read_bytes() == CONTENT


def test_a_refusing_server_is_named_at_once(tmp_path: Path) -> None:
    refuses = pytest.raises(RadsynthError, match=r"missing: the server refuses \(404")
    with serve([], ['"v1"']) as (address, handler), refuses:
        download(f"{address}/missing", tmp_path / "x.tgz", wait_seconds=0)
    assert len(handler.ranges) == 1


@pytest.mark.parametrize(("name", "said"), [("file/openi", "Not a directory"), ("file", "File exists")])
def test_a_folder_that_cannot_be_made_is_told_in_one_line(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RadsynthError, match=rf"{name}: the folder cannot be made \({said}\)"):
        openi_download(tmp_path / name)


def test_what_is_there_is_not_downloaded_again(tmp_path: Path) -> None:
    (tmp_path / "x.tgz").write_bytes(b"here")
    (found,) = openi_download(tmp_path, urls={"x.tgz": "http://127.0.0.1:9/x"}, wait_seconds=0)
    assert (found.size, found.path.read_bytes()) == (4, b"here")
