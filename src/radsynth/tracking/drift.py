"""What the model in use learned from, found again by the digests of its version, against what is new in a folder.

The folder may be the one that was learned from: what the champion's own tables hold already is left out, or it would
hide how different the rest is.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radsynth.errors import InputRefused, RadsynthError
from radsynth.tracking.dvc_files import cache_folder, listing, object_path
from radsynth.validation.drift import (
    Measure,
    compare,
    picture_measures,
    report_measures,
    volume_measures,
    words_of,
)


@dataclass(frozen=True)
class Drift:
    """A folder of new data against the training data of a champion.

    Parameters
    ----------
    champion
        ``<name> v<version>``.
    refused
        Files of the folder that could not be used; `radsynth check` says why.
    known
        Pictures or volumes of the folder that the champion's data hold already, by content: they are not compared.
    measures
        Empty where nothing is new.
    """

    folder: str
    champion: str
    refused: int
    known: int
    measures: tuple[Measure, ...]

    @property
    def drifted(self) -> bool:
        """Whether any measure did."""
        return any(measure.drifted for measure in self.measures)

    def record(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        measures = [asdict(measure) | {"drifted": measure.drifted} for measure in self.measures]
        told = {"folder": self.folder, "champion": self.champion, "refused": self.refused, "known": self.known}
        return told | {"measures": measures}

    def __str__(self) -> str:
        head = f"{self.folder} against the training data of {self.champion}; {self.refused} refused, {self.known} known"
        return "\n".join([head, *(map(_line, self.measures) if self.measures else ["nothing new"])])


def _line(m: Measure) -> str:
    word = "DRIFTED" if m.drifted else "as before"
    change = f"{m.reference:.3g} -> {m.incoming:.3g}, difference {m.difference:.3f} (limit {m.limit:g})"
    return f"{word:<9}  {m.name}: {change}, p {m.p_value:.2g}, n {m.reference_count} and {m.incoming_count}"


def drift(root: str | Path, name: str, folder: str | Path) -> Drift:
    """Compare what `folder` holds beyond the champion's own data with the training split of the champion of `name`.

    Raises
    ------
    RadsynthError
        Where there is no champion, its training data are no longer there, or the folder holds nothing to judge.
    """
    from radsynth.settings import load
    from radsynth.tracking.registry import find

    root, folder = Path(root), Path(folder)
    champion = find(root, name, "champion")
    digests: dict[str, str] = json.loads(champion.tags.get("radsynth.data", "{}"))
    sides = _chest if name == "report-to-xray" else _brain
    reference, incoming, refused, known = sides(root, digests, folder)
    measures = compare(reference, incoming, load(root / "params.yaml").monitor)
    if not measures and not known:
        raise RadsynthError("nothing to compare", where=folder, next_step="see `radsynth check` on the folder")
    return Drift(str(folder), str(champion), refused, known, tuple(measures))


Sides = tuple[dict[str, np.ndarray], dict[str, np.ndarray], int, int]


def _chest(root: Path, digests: dict[str, str], folder: Path) -> Sides:
    """Measures of both sides, how many incoming files were refused, and how many pictures are known.

    A report is new where one of its pictures is: without a picture that can be used it would never be learned from.
    Words are known if the first half of the training reports has them; the second half says how many unknown words are
    usual.
    """
    from radsynth.radiographs.prepare import prepare_all, read_image
    from radsynth.reports.parse import parse_reports
    from radsynth.schemas import CHEST, XRAYS
    from radsynth.sources.chest_folder import read_chest_folder

    manifest = CHEST.read(kept_file(root, digests, "data/chest/manifest.parquet"))
    xrays = XRAYS.read(kept_file(root, digests, "data/chest/xrays", "xrays.parquet"))
    pixels = np.load(kept_file(root, digests, "data/chest/xrays", "pixels.npy"), mmap_mode="r")
    raw = read_chest_folder(folder)
    reports, unreadable = parse_reports(raw.reports)
    refused = len(raw.quarantine) + len(unreadable)
    held = set(xrays["source_sha256"])
    paths = dict(zip(raw.images["image_id"], map(Path, raw.images["container"], raw.images["member"]), strict=True))
    fresh = [image_id for image_id, path in paths.items() if _sha256(read_image(path)) not in held]
    known = len(paths) - len(fresh)
    if not fresh:
        return {}, {}, refused, known
    contents = ((image_id, data) for image_id in fresh if (data := read_image(paths[image_id])) is not None)
    hints = dict(zip(raw.images["image_id"], raw.images["view_hint"], strict=True))
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "pixels.npy")
        new, unusable = prepare_all(contents, fresh, path, pixels.shape[1], view_hints=hints)
        pictures = picture_measures(new, np.load(path, mmap_mode="r"))
    usable = set(new["image_id"])
    is_new = [not usable.isdisjoint(image_ids) for image_ids in reports["image_ids"]]

    train = manifest[manifest["split"] == "train"]
    studies = train.drop_duplicates("study_id")
    half = len(studies) // 2
    words = words_of(studies["prompt"].iloc[:half])
    reference = report_measures(studies, words) | picture_measures(xrays[xrays["row"].isin(train["image_row"])], pixels)
    reference["unknown words (share)"] = report_measures(studies.iloc[half:], words)["unknown words (share)"]
    incoming = report_measures(reports[reports["usable"] & np.array(is_new, bool)], words) | pictures
    return reference, incoming, refused + len(unusable), known


def _sha256(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _brain(root: Path, digests: dict[str, str], folder: Path) -> Sides:
    """Measures of both sides from native volumes, how many incoming ones were refused, and how many are known.

    A training volume counts where its file is still the one that was learned from.
    """
    from radsynth.schemas import VOLUMES
    from radsynth.volumes.io import source_sha256

    table = VOLUMES.read(kept_file(root, digests, "data/brain/aligned", "volumes.parquet"))
    manifest = VOLUMES.read(kept_file(root, digests, "data/brain/manifest.parquet"))
    train = set(manifest.loc[manifest["split"] == "train", "volume_id"])
    volumes, held = list(_new_volumes(folder)), set(manifest["source_sha256"])
    fresh = [(modality, path) for modality, path in volumes if _content(path) not in held]
    if volumes and not fresh:
        return {}, {}, 0, len(volumes)
    rows = [row for row in table[table["volume_id"].isin(train)].to_dict("records")]
    there = [
        (row["modality"], str(root / row["native_path"]))
        for row in rows
        if (root / row["native_path"]).exists() and source_sha256(root / row["native_path"]) == row["source_sha256"]
    ]
    if not there:
        raise RadsynthError(
            "the volumes that the champion learned from are no longer there",
            where=root / rows[0]["native_path"] if rows else root,
            next_step="bring them back, or retrain and promote",
        )
    reference, _ = _volumes(there)
    incoming, refused = _volumes(fresh)
    return reference, incoming, refused, len(volumes) - len(fresh)


def _content(path: str) -> str | None:
    """None where the volume cannot be read at all: whoever measures it says why."""
    from radsynth.volumes.io import source_sha256

    try:
        return source_sha256(path)
    except InputRefused:
        return None


def _new_volumes(folder: Path) -> Iterator[tuple[str, str]]:
    """Modality and path of every volume in mr/ and ct/; either may be missing."""
    from radsynth.volumes.io import SUFFIXES

    for modality in ("MR", "CT"):
        part = folder / modality.lower()
        for path in sorted(part.iterdir()) if part.is_dir() else ():
            if not path.name.startswith(".") and (path.is_dir() or path.name.lower().endswith(SUFFIXES)):
                yield modality, str(path)


def _volumes(volumes: Iterable[tuple[str, str]]) -> tuple[dict[str, np.ndarray], int]:
    found: dict[str, list[float]] = {}
    refused = 0
    for modality, path in volumes:
        try:
            measures = volume_measures(path, modality)
        except InputRefused:
            refused += 1
            continue
        for name, value in measures.items():
            found.setdefault(name, []).append(value)
    return {name: np.array(values) for name, values in found.items()}, refused


def kept_file(root: Path, digests: dict[str, str], data: str, inside: str = "") -> Path:
    """A file that a training read, by the digest that was recorded: from DVC's cache, whatever the checkout holds now.

    Parameters
    ----------
    digests
        Path -> DVC's digest (MD5; of a folder: of its list), as a version's tag ``radsynth.data`` has them.
    data
        The dependency, e.g. ``data/chest/xrays``.
    inside
        The file, where the dependency is a folder.

    Raises
    ------
    RadsynthError
        Where it was not recorded or is not in the cache.
    """
    cache, digest = cache_folder(root), digests.get(data)
    if digest and inside:
        folder = object_path(cache, digest, is_folder=True)
        files = listing(folder) if folder.is_file() else []
        digest = next((md5 for md5, name in files if name == inside), None)
    path = object_path(cache, digest) if digest else None
    if path is None or not path.is_file():
        raise RadsynthError(
            "the data that the champion learned from are no longer in DVC's cache",
            where=Path(data, inside),
            next_step="fetch them with `dvc fetch --all-commits`, or retrain and promote",
        )
    return path
