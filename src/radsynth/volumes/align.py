"""From raw volumes to packed arrays on one grid: volume by volume, two processes, bounded memory, equal bits each time.

The reference is the first CT of the data set (by `volume_id`, unpaired ones first) that is usable and whose vertex is
in the picture, set upright and symmetric by its own anatomy. A real head fits heads better than an analytic
template: with a reference made of ellipsoids the pitch is hardly determined.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from radsynth.errors import InputRefused, RadsynthError
from radsynth.files import atomic_folder
from radsynth.processes import mapper
from radsynth.progress import track
from radsynth.schemas import QUARANTINE, VOLUMES
from radsynth.volumes.common_grid import FILE, CommonGrid, write_common_grid
from radsynth.volumes.geometry import Volume, anti_aliased, canonical, resample, without_scale
from radsynth.volumes.head import depth_mm, distance_mm
from radsynth.volumes.intensity import HU_RANGE, bias_field, clip_hu, mr_range, scale_mr
from radsynth.volumes.io import read_volume, source_sha256
from radsynth.volumes.registration import (
    Head,
    moved,
    mutual_information,
    register,
    upright_pose,
    vertex_cut,
    working_head,
)

if TYPE_CHECKING:
    import pandas as pd

VERTEX_MARGIN_MM = 12.0
"""Room above the reference's vertex, for taller heads."""
FACE_ROOM_MM = 6.0
"""More room before the forehead than behind the occiput: noses."""
CT_RIM_MM = 6.0
"""Further off the skin than this, CT is set to air."""


@dataclass(frozen=True)
class Aligned:
    """One volume on the common grid.

    Parameters
    ----------
    image
        (Z, Y, X), MR float32 0..1, CT int16 HU, air further than `CT_RIM_MM` off the head.
    depth_mm
        float16 (Z, Y, X), distance to the skin in mm of the reference, whose size every head is given; 0 outside.
    row
        Its row of the VOLUMES table, but for `row`.
    """

    image: np.ndarray
    depth_mm: np.ndarray
    row: dict[str, Any]


@dataclass(frozen=True)
class Reference:
    """What every volume is registered to, and the pose that made it so.

    Parameters
    ----------
    head
        Upright, in the reference world.
    volume_id
        The volume that it was made from.
    pose
        float64 (4, 4): that volume's RAS mm -> reference RAS mm.
    """

    head: Head
    volume_id: str
    pose: np.ndarray


@dataclass(frozen=True)
class Partner:
    """The CT of the person an MR is of.

    Parameters
    ----------
    raw
        Its row of RAW_VOLUMES.
    pose
        float64 (4, 4): its RAS mm -> reference RAS mm, its size included.
    """

    raw: Mapping[str, Any]
    pose: np.ndarray


def grid_affine(size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Voxel (x, y, z) of the common grid -> reference RAS mm.

    The reference world has its origin at the height of the vertex, in the mid-sagittal plane, half-way between
    forehead and occiput.
    """
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.asarray(size) - 1) / 2
    affine[1, 3] += FACE_ROOM_MM
    affine[2, 3] = VERTEX_MARGIN_MM - spacing[2] * (size[2] - 1)
    return affine


def make_reference(frame: pd.DataFrame) -> Reference:
    """Choose the reference and set it upright.

    Parameters
    ----------
    frame
        RAW_VOLUMES.

    Raises
    ------
    RadsynthError
        Where no CT of the data set can be used.
    """
    scans = frame[frame["modality"] == "CT"].sort_values(["paired", "volume_id"])
    cut: tuple[str, Head] | None = None
    problem = "none there"
    for raw in scans.to_dict("records"):
        try:
            head = _load(raw)[2]
        except InputRefused as error:
            problem = str(error)
            continue
        if not vertex_cut(head):
            return _upright(raw["volume_id"], head)
        cut = cut or (raw["volume_id"], head)
    if cut is None:
        raise RadsynthError("no usable CT to register to", got=problem, next_step="add a whole-head CT")
    return _upright(*cut)


def align_volume(
    raw: Mapping[str, Any],
    reference: Reference,
    *,
    grid_size: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    n4: bool,
    partner: Partner | None = None,
) -> Aligned:
    """Bring one raw volume on the common grid; intensities are interpolated once.

    Parameters
    ----------
    raw
        A row of RAW_VOLUMES.
    grid_size, spacing_mm
        Of the common grid, (x, y, z).
    n4
        Correct the bias field of MR.
    partner
        The aligned CT of the same subject, for the MR of a pair: one person fits better than two do, and an evaluation
        of voxel against voxel needs it.

    Raises
    ------
    InputRefused, InputQuarantined
        Whatever `read_volume` finds, ``head_not_found``, ``registration_failed``.
    """
    native, volume, head = _load(raw)
    modality = str(raw["modality"])
    field = bias_field(head.image, head.affine, head.mask) if modality == "MR" and n4 else None
    if field is not None:
        head = Head(head.image / field, head.affine, head.mask, head.seen, modality)
    matrix, metric = _pose(raw, head, reference, partner)

    grid = grid_affine(grid_size, spacing_mm)
    fill = HU_RANGE[0] if modality == "CT" else 0.0
    image = resample(
        anti_aliased(volume.voxels, volume.affine, grid, matrix),
        volume.affine,
        grid_size,
        grid,
        world=matrix,
        fill=fill,
    )
    on_grid = {"size": grid_size, "grid_affine": grid, "world": matrix, "fill": 0.0}
    seen = resample(head.seen, head.affine, nearest=True, **on_grid) > 0
    mask = (resample(head.mask, head.affine, **on_grid) >= 0.5) & seen
    if raw["mask_path"]:
        given = read_volume(raw["mask_path"])
        mask &= resample(given.voxels > 0, given.affine, **on_grid) >= 0.5
    if modality == "MR":
        if field is not None:
            image = image / resample(field, head.affine, **(on_grid | {"fill": 1.0}))
        low, high = mr_range(image, mask)
        image = np.where(seen, scale_mr(image, low, high), np.float32(0))
    else:
        low, high = HU_RANGE
        # the holder is no part of the head; what is left round the skin is its blurred edge
        beyond = distance_mm(mask, np.asarray(spacing_mm)) > CT_RIM_MM
        image = clip_hu(np.where(beyond, low, image))
    depth = depth_mm(mask, np.asarray(spacing_mm), seen).astype(np.float16)
    row = {
        "volume_id": raw["volume_id"],
        "subject_id": raw["subject_id"],
        "modality": modality,
        "paired": bool(raw["paired"]),
        "split": "",
        "intensity_unit": "HU" if modality == "CT" else "arbitrary",
        "intensity_low": float(low),
        "intensity_high": float(high),
        "native_size": [int(n) for n in native.voxels.shape],
        "native_spacing_mm": native.spacing_mm.tolist(),
        "native_affine": native.affine.ravel().tolist(),
        "native_orientation": native.orientation,
        "native_to_reference": matrix.ravel().tolist(),
        "grid_affine": grid.ravel().tolist(),
        "registration_metric": metric,
        "native_path": str(raw["path"]),
        "source_sha256": source_sha256(raw["path"]),
    }
    return Aligned(np.ascontiguousarray(image.transpose(2, 1, 0)), np.ascontiguousarray(depth.transpose(2, 1, 0)), row)


def align_new_mr(path: str | Path, common: CommonGrid) -> Aligned:
    """Bring an MR that was in no data set on the grid of one, by the steps of `align_volume`.

    Raises
    ------
    InputRefused, InputQuarantined
        See `align_volume`.
    """
    raw = {"volume_id": "new", "subject_id": "", "modality": "MR", "path": str(path), "mask_path": "", "paired": False}
    # without an id: no new volume is the reference
    reference = Reference(common.head, "", np.eye(4))
    return align_volume(raw, reference, grid_size=common.grid_size, spacing_mm=common.spacing_mm, n4=common.n4)


def align(
    frame: pd.DataFrame,
    folder: str | Path,
    *,
    grid_size: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    n4: bool,
    max_refused: float,
    processes: int = 2,
) -> None:
    """Align every volume and pack the results.

    Parameters
    ----------
    frame
        RAW_VOLUMES.
    folder
        Becomes: ``mr.npy`` float32 and ``ct.npy`` int16 (V, Z, Y, X), ``mr_depth_mm.npy`` and ``ct_depth_mm.npy``
        float16, ``volumes.parquet`` (VOLUMES, `split` empty), ``quarantine.parquet``, and `common_grid.FILE`, by which
        a volume that comes later can be brought on the same grid.
    grid_size, spacing_mm, n4
        See `align_volume`.
    max_refused
        Share of volumes that may be refused or quarantined.
    processes
        Worker processes; each holds one volume at a time.

    Raises
    ------
    RadsynthError
        Where more than `max_refused` cannot be used, or a modality has no volume left.
    """
    import pandas as pd

    frame = frame.sort_values(["modality", "volume_id"], ignore_index=True)
    reference = make_reference(frame)
    settings = {"grid_size": tuple(grid_size), "spacing_mm": tuple(spacing_mm), "n4": n4}
    rows, refused = [], []
    with atomic_folder(folder) as temporary:
        shape = tuple(grid_size)[::-1]
        packs = {}
        for modality, dtype in (("MR", np.float32), ("CT", np.int16)):
            count, name = int((frame["modality"] == modality).sum()), modality.lower()
            packs[modality] = (
                _Pack(temporary / f"{name}.npy", count, shape, dtype),
                _Pack(temporary / f"{name}_depth_mm.npy", count, shape, np.float16),
            )
        results = _results(frame.to_dict("records"), reference, settings, processes)
        for raw, result in track(results, "aligning volumes", total=len(frame), unit="volumes"):
            if isinstance(result, dict):
                refused.append(result)
                continue
            images, depths = packs[raw["modality"]]
            rows.append({"row": images.append(result.image)} | result.row)
            depths.append(result.depth_mm)
        for images, depths in packs.values():
            images.close()
            depths.close()
        share = len(refused) / max(len(frame), 1)
        if share > max_refused:
            raise RadsynthError(
                f"{len(refused)} of {len(frame)} volumes cannot be used; the first: {refused[0]['message']}",
                got=f"a share of {share:.2f}",
                expected=f"at most {max_refused} (align_volumes.max_refused)",
            )
        for modality in packs:
            if not any(row["modality"] == modality for row in rows):
                raise RadsynthError(
                    f"no {modality} volume left to train on", next_step="add volumes, or see the quarantine table"
                )
        # a pair whose other half was refused is no pair
        for row in rows:
            row["paired"] = len({other["modality"] for other in rows if other["subject_id"] == row["subject_id"]}) > 1
        VOLUMES.write(pd.DataFrame(rows, columns=list(VOLUMES.columns)), temporary / "volumes.parquet")
        QUARANTINE.write(pd.DataFrame(refused, columns=list(QUARANTINE.columns)), temporary / "quarantine.parquet")
        write_common_grid(CommonGrid(reference.head, **settings), temporary / FILE)


class _Pack:
    """A .npy file that grows volume by volume; its header says at the end how many there are."""

    def __init__(self, path: Path, capacity: int, shape: tuple[int, ...], dtype: Any) -> None:
        self.path, self.shape, self.dtype, self.count = path, shape, np.dtype(dtype), 0
        self.array = np.lib.format.open_memmap(path, "w+", dtype, (max(capacity, 1), *shape))

    def append(self, volume: np.ndarray) -> int:
        self.array[self.count] = volume
        self.count += 1
        return self.count - 1

    def close(self) -> None:
        self.array.flush()
        start = self.array.offset
        del self.array
        # numpy leaves room in the header for a first axis of any length, so that the data stay where they are
        with open(self.path, "rb+") as file:
            header = {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.count, *self.shape),
            }
            np.lib.format.write_array_header_1_0(file, header)
            assert file.tell() == start
            file.truncate(start + self.count * int(np.prod(self.shape)) * self.dtype.itemsize)


def _load(raw: Mapping[str, Any]) -> tuple[Volume, Volume, Head]:
    """The volume as stored, the same in canonical orientation (HU clipped), and its head on the working grid."""
    native = read_volume(raw["path"])
    volume = canonical(native)
    voxels = clip_hu(volume.voxels) if raw["modality"] == "CT" else volume.voxels
    volume = Volume(voxels, volume.affine, str(raw["modality"]), volume.path)
    return native, volume, working_head(volume.voxels, volume.affine, volume.modality, volume.path)


def _pose(
    raw: Mapping[str, Any], head: Head, reference: Reference, partner: Partner | None
) -> tuple[np.ndarray, float]:
    """Native RAS mm -> reference RAS mm, and the metric."""
    if raw["volume_id"] == reference.volume_id:
        # its pose is known: registering a head to itself would only add rounding
        return reference.pose, mutual_information(reference.head, reference.head)
    if partner is not None:
        # one person: posed over the CT as large as it is, then both made of the reference's size alike
        posed, scale = without_scale(partner.pose)
        matrix, metric = register(moved(_load(partner.raw)[2], posed), head, str(raw["path"]), same_subject=True)
        return np.diag([*scale, 1.0]) @ matrix, metric
    return register(reference.head, head, str(raw["path"]))


def _upright(volume_id: str, head: Head) -> Reference:
    pose = upright_pose(head)
    return Reference(moved(head, pose), volume_id, pose)


def _results(
    raws: list[dict[str, Any]], reference: Reference, settings: dict[str, Any], processes: int
) -> Iterator[tuple[dict[str, Any], Aligned | dict[str, str]]]:
    """Each raw volume with its result, or with its row of the quarantine table, CT before MR.

    Where the CT of a pair cannot be used, its MR is a volume like any other.
    """
    with mapper(min(processes, len(raws)), _start, (reference, settings)) as over:
        scans = [raw for raw in raws if raw["modality"] == "CT"]
        partners: dict[str, Partner] = {}
        for raw, result in zip(scans, over(_work, scans, [None] * len(scans)), strict=True):
            if raw["paired"] and isinstance(result, Aligned):
                pose = np.reshape(result.row["native_to_reference"], (4, 4))
                partners[raw["subject_id"]] = Partner(raw, pose)
            yield raw, result
        others = [raw for raw in raws if raw["modality"] != "CT"]
        known = [partners.get(raw["subject_id"]) if raw["paired"] else None for raw in others]
        yield from zip(others, over(_work, others, known), strict=True)


_worker: dict[str, Any] = {}


def _start(reference: Reference, settings: dict[str, Any]) -> None:
    import SimpleITK as sitk

    # sums over threads differ in their last bits from run to run
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    _worker.update(reference=reference, settings=settings)


def _work(raw: dict[str, Any], partner: Partner | None) -> Aligned | dict[str, str]:
    try:
        return align_volume(raw, _worker["reference"], partner=partner, **_worker["settings"])
    except InputRefused as error:
        # a row and not the error: errors with named parts do not survive the way between processes
        return {
            "path": raw["path"],
            "kind": "series" if Path(raw["path"]).is_dir() else "volume",
            "verdict": error.verdict,
            "reason": error.reason,
            "message": str(error),
        }
