"""Whether files may be used, file by file: what `radsynth check` says.

Every file is judged by the functions that the pipeline reads it with. Because those call large libraries on files that
may have been made to hurt them, they run in a child process with bounded memory; where it hangs or dies, the file it
was reading is refused and the next ones go to a new child.
"""

from __future__ import annotations

import itertools
import json
import os
import queue
import stat
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from radsynth.errors import InputQuarantined, InputRefused

SUFFIXES = {
    ".xml": "report",
    ".png": "image",
    ".jpg": "image",
    ".jpeg": "image",
    ".dcm": "image",
    ".dicom": "image",
    ".nii": "volume",
    ".nii.gz": "volume",
    ".mha": "volume",
    ".mhd": "volume",
    ".nrrd": "volume",
    ".nhdr": "volume",
    ".tar": "archive",
    ".tgz": "archive",
    ".tar.gz": "archive",
    ".zip": "archive",
}
"""What a file is, by the end of its name."""

MAX_DEPTH = 32
MAX_ENTRIES = 1_000_000
MAX_SECONDS = 60.0
"""Longest wait for a child's next sign of life, given for every file and every member of an archive; a healthy one
takes below one second."""
ALIVE: dict[str, Any] = {}
"""The answer that says no more than that another member was read."""
MAX_MEMORY_BYTES = 6 * 2**30
"""Address space of the child."""
CHILD = "from radsynth.checks import serve; serve()"
DICOM_HEADERS = 64
"""Headers read to tell a folder of slices from a folder of radiographs."""


@dataclass(frozen=True)
class Verdict:
    """What is said of one input.

    Attributes
    ----------
    path
        The file; a member of an archive is ``archive!member``.
    kind
        report | image | volume | series | archive, or unknown where that cannot be told.
    verdict
        accepted | quarantined | refused.
    reason
        A short stable code; "" where accepted.
    message
        One plain line.
    """

    path: str
    kind: str
    verdict: str
    reason: str
    message: str


@dataclass(frozen=True)
class _Task:
    """Something for the child: `kind` is a Verdict's, or ``dicom``, a folder that is a series or holds radiographs."""

    kind: str
    path: Path
    files: tuple[Path, ...] = ()


def check(paths: Iterable[str | Path]) -> list[Verdict]:
    """Judge files, folders of files, DICOM series and archives with their members.

    Folders are walked in name order; links are never followed out of the folder that was named, and files that are
    none of the five kinds are passed over. Nothing raises: whatever goes wrong becomes a refusal.

    Parameters
    ----------
    paths
        What to judge.
    """
    found: list[_Task | Verdict] = []
    for path in paths:
        found += _find(Path(path))
    return list(_judge_all(found))


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0 where all are accepted, 3 where some are quarantined and none refused, 2 where some are refused."""
    kinds = {verdict.verdict for verdict in verdicts}
    if "refused" in kinds:
        return 2
    return 3 if "quarantined" in kinds else 0


def kind_of(path: str | Path) -> str:
    """What a file is by its name: report | image | volume | archive | unknown."""
    name = Path(path).name.lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix):
            return SUFFIXES[suffix]
    return "unknown"


def one_line(text: str) -> str:
    """`text` without anything that moves a terminal's cursor: control characters are shown as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def _refused(path: Path | str, reason: str, message: str, kind: str | None = None) -> Verdict:
    return Verdict(str(path), kind or kind_of(path), "refused", reason, f"{path}: {message}")


# ---- finding what to judge: names and kinds of files only, contents are the child's business ----


def _find(path: Path) -> list[_Task | Verdict]:
    try:
        if path.is_dir():
            found = list(_walk(path, path.resolve(), 0, itertools.count()))
            if found:
                return found
            return [_refused(path, "nothing_to_check", "holds no report, image, volume, series or archive", "unknown")]
        mode = path.stat().st_mode
    except FileNotFoundError:
        return [_refused(path, "not_found", "there is no such file or folder")]
    except (OSError, ValueError) as error:
        return [_refused(path, "unreadable", f"cannot be read ({error})")]
    found = list(_file(path, mode))
    return found or [_refused(path, "unknown_kind", f"not a kind of file that is read here; expected {_known()}")]


def _known() -> str:
    return ", ".join(SUFFIXES) + " or DICOM"


def _walk(folder: Path, inside: Path, depth: int, entries: Iterator[int]) -> Iterator[_Task | Verdict]:
    """What a folder holds, in name order: its files, then its DICOM files as one, then its folders."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if not entry.name.startswith("."))
    except OSError as error:
        yield _refused(folder, "unreadable", f"cannot be read ({error.strerror})", "unknown")
        return
    folders, dicom = [], []
    for path in (folder / name for name in names):
        if next(entries) >= MAX_ENTRIES or depth >= MAX_DEPTH:
            bounds = f"expected at most {MAX_ENTRIES} files, {MAX_DEPTH} folders deep"
            yield _refused(folder, "folder_too_large", f"not walked to its end; {bounds}", "unknown")
            return
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            if not _stays_inside(path, inside):
                yield _refused(path, "link_outside", "is a link out of the folder, or to nothing; not followed")
                continue
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):  # walked where it lies
                continue
        if stat.S_ISDIR(mode):
            folders.append(path)
            continue
        for item in _file(path, mode):
            if isinstance(item, _Task) and item.kind == "image" and _is_dicom(path):
                dicom.append(path)
            else:
                yield item
    if dicom:
        yield _Task("dicom", folder, tuple(dicom))
    for path in folders:
        found = list(_walk(path, inside, depth + 1, entries))
        if not found and kind_of(path) != "unknown":
            found = [_refused(path, "not_a_file", "is an empty folder; expected a file")]
        yield from found


def _stays_inside(path: Path, inside: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(inside)
    except (OSError, RuntimeError):
        return False


def _file(path: Path, mode: int) -> Iterator[_Task | Verdict]:
    kind = kind_of(path)
    if not stat.S_ISREG(mode):
        if kind != "unknown":
            yield _refused(path, "not_a_file", "is a pipe, device or socket; expected a regular file")
        return
    if not os.access(path, os.R_OK):
        if kind != "unknown":
            yield _refused(path, "unreadable", "may not be read; change its permissions")
        return
    if kind == "unknown" and _is_dicom(path):
        kind = "image"
    if kind != "unknown":
        yield _Task(kind, path)


def _is_dicom(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


# ---- the parent's side of the child ----


class _Child:
    """A process that judges one task after the other; a thread turns its answers into a queue with a time limit."""

    def __init__(self) -> None:
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | single,
        )
        self.answers: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put(b"")

    def ask(self, task: _Task) -> list[dict[str, Any]]:
        """The child's answers; raises TimeoutError or ChildProcessError where it does not give them."""
        assert self.process.stdin is not None
        question = {"kind": task.kind, "path": str(task.path), "files": [str(f) for f in task.files]}
        try:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise ChildProcessError from None
        answers = []
        while True:
            try:
                line = self.answers.get(timeout=MAX_SECONDS)
            except queue.Empty:
                raise TimeoutError from None
            if not line:
                raise ChildProcessError
            answer = json.loads(line)
            if answer is None:
                return answers
            if answer != ALIVE:
                answers.append(answer)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def _judge_all(found: Sequence[_Task | Verdict]) -> Iterator[Verdict]:
    from radsynth.progress import track

    child: _Child | None = None
    try:
        for item in track(found, "checking", unit="inputs"):
            todo: deque[_Task | Verdict] = deque([item])
            while todo:
                task = todo.popleft()
                if isinstance(task, Verdict):
                    yield task
                    continue
                child = child or _Child()
                try:
                    answers = child.ask(task)
                except (TimeoutError, ChildProcessError) as error:
                    child.close()
                    child = None
                    yield _lost(task, error)
                    continue
                if task.kind == "dicom":
                    todo += _series_or_images(task, answers[0]["series"])
                else:
                    yield from (Verdict(**answer) for answer in answers)
    finally:
        if child is not None:
            child.close()


def _series_or_images(task: _Task, series: bool) -> list[_Task]:
    return [_Task("series", task.path)] if series else [_Task("image", path) for path in task.files]


def _lost(task: _Task, error: Exception) -> Verdict:
    kind = "series" if task.kind == "dicom" else task.kind
    if isinstance(error, TimeoutError):
        return _refused(task.path, "timed_out", f"reading it took more than {MAX_SECONDS:.0f} s", kind)
    return _refused(task.path, "reader_died", "reading it needed too much memory, or crashed the reader", kind)


# ---- the child ----


def serve() -> None:
    """Judge the tasks that come on stdin, one JSON object a line, with bounded memory; the child's only purpose."""
    _bound_memory()
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)  # what libraries print must not mix with the answers

    def answer(said: Any) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    for line in sys.stdin.buffer:
        task = json.loads(line)
        if task["kind"] == "dicom":
            answer({"series": _is_series(task["files"])})
        else:
            for verdict in _judge(task["kind"], task["path"], lambda: answer(ALIVE)):
                answer(asdict(verdict))
        answer(None)


def _bound_memory() -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system: the readers' own caps must do
        return
    for limit, value in ((resource.RLIMIT_AS, MAX_MEMORY_BYTES), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(limit)[1]
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _is_series(files: Sequence[str]) -> bool:
    """Whether the DICOM files of a folder are the slices of a volume: any of the first headers says MR or CT."""
    import pydicom

    for path in files[:DICOM_HEADERS]:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["Modality"])
            if str(header.get("Modality", "")) in ("MR", "CT"):
                return True
        except Exception:  # pydicom raises nine kinds of error on a bad file; the image check will say what is wrong
            continue
    return False


def _judge(kind: str, path: str, alive: Callable[[], None]) -> list[Verdict]:
    """The verdicts on one file: one, or for an archive its own and those of its members, each told to `alive`."""
    if kind == "archive":
        members: list[Verdict] = []
        archive = _verdict(kind, path, lambda: members.extend(_members(path, alive)))
        return [archive, *members] if archive.verdict == "accepted" else [archive]
    return [_verdict(kind, path, lambda: _READERS[kind](path))]


def _verdict(kind: str, path: str, read: Any) -> Verdict:
    try:
        read()
    except InputRefused as refusal:
        return Verdict(path, kind, refusal.verdict, refusal.reason, str(refusal))
    except MemoryError:
        return _refused(path, "needs_too_much_memory", "reading it needs too much memory", kind)
    except Exception as error:
        return _refused(path, "unexpected_error", f"cannot be read ({type(error).__name__})", kind)
    return Verdict(path, kind, "accepted", "", f"{path}: can be used")


def _members(path: str, alive: Callable[[], None]) -> Iterator[Verdict]:
    """Reports and images of an archive. An archive that turns out bad further on loses them all."""
    from radsynth.sources.archives import iter_members

    for name, content in iter_members(path):
        alive()
        kind = kind_of(name)
        where = f"{path}!{name}"
        if kind in _CONTENT_READERS:
            yield _verdict(kind, where, lambda: _CONTENT_READERS[kind](content, where))  # noqa: B023 - called at once


def _report(path: str) -> None:
    from radsynth.reports.parse import check_report

    check_report(path)


def _image(path: str) -> None:
    from radsynth.radiographs.prepare import check_image

    check_image(path)


def _volume(path: str) -> None:
    from radsynth.volumes.io import check_volume

    check_volume(path)


def _series(path: str) -> None:
    from radsynth.volumes.io import check_series

    check_series(path)


def _report_content(content: bytes, name: str) -> None:
    from radsynth.reports.parse import parse_report

    report = parse_report(content, name)
    if not report.findings and not report.impression:
        raise InputQuarantined("report_empty", "neither findings nor impression", where=name)


def _image_content(content: bytes, name: str) -> None:
    from radsynth.radiographs.decode import decode
    from radsynth.radiographs.prepare import prepare

    prepare(decode(content, name), 256, name)


_READERS = {"report": _report, "image": _image, "volume": _volume, "series": _series}
_CONTENT_READERS = {"report": _report_content, "image": _image_content}
