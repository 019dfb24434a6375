"""Where a voxel lies: affines, canonical orientation, resampling, and the way back to the native grid.

World coordinates are RAS+ millimetres everywhere in radsynth (x to the patient's Right, y Anterior, z Superior), as
nibabel has them. ITK and DICOM count in LPS; the change happens in `_lps` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import SimpleITK as sitk

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))


@dataclass(frozen=True)
class Volume:
    """A scalar 3-D image with its place in the world.

    Parameters
    ----------
    voxels
        Array (i, j, k), HU for CT, arbitrary units for MR.
    affine
        float64 (4, 4): voxel index (i, j, k) -> RAS mm.
    modality
        ``"MR"``, ``"CT"``, or ``""`` where the file does not say.
    path
        The file or series folder it came from.
    """

    voxels: np.ndarray
    affine: np.ndarray
    modality: str = ""
    path: str = ""

    @property
    def spacing_mm(self) -> np.ndarray:
        """Distance between neighbouring voxels along (i, j, k), float64 (3,), mm."""
        return spacing_of(self.affine)

    @property
    def orientation(self) -> str:
        """Axis codes as nibabel writes them, e.g. ``"RAS"``: where each voxel axis points to."""
        return orientation_of(self.affine)


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """Voxel spacing of `affine` (4, 4), float64 (3,), mm."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def orientation_of(affine: np.ndarray) -> str:
    """Axis codes of `affine`, e.g. ``"LPS"``."""
    import nibabel as nib

    return "".join(nib.aff2axcodes(affine))


def apply(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map `points` (..., 3) through `affine` (4, 4)."""
    return points @ affine[:3, :3].T + affine[:3, 3]


def canonical(volume: Volume) -> Volume:
    """The same voxels at the same places, axes permuted and flipped so that they point to R, A and S.

    No voxel value is touched.
    """
    import nibabel as nib
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    change = io_orientation(volume.affine)
    if np.array_equal(change, nib.orientations.axcodes2ornt("RAS")):
        return volume
    affine = volume.affine @ inv_ornt_aff(change, volume.voxels.shape)
    return replace(volume, voxels=np.ascontiguousarray(apply_orientation(volume.voxels, change)), affine=affine)


def centred_grid(size: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Affine of a RAS+ grid of `size` voxels (x, y, z) whose middle is the world's origin."""
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -spacing * (np.asarray(size) - 1) / 2
    return affine


def covering_grid(
    shape: tuple[int, ...], affine: np.ndarray, spacing_mm: float
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Size and affine of the isotropic RAS+ grid that covers the field of view of a volume.

    Parameters
    ----------
    shape, affine
        Of the volume to cover.
    spacing_mm
        Of the new grid.
    """
    corners = np.stack(np.meshgrid(*[(-0.5, n - 0.5) for n in shape[:3]], indexing="ij"), axis=-1).reshape(-1, 3)
    world = apply(affine, corners)
    low, extent = world.min(axis=0), np.ptp(world, axis=0)
    size = np.maximum(np.floor(extent / spacing_mm + 1e-6), 1).astype(int)
    grid = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    grid[:3, 3] = low + (extent - (size - 1) * spacing_mm) / 2
    return (int(size[0]), int(size[1]), int(size[2])), grid


def rigid_inverse(matrix: np.ndarray) -> np.ndarray:
    """Inverse of a rigid (4, 4), exactly orthogonal."""
    inverse = np.eye(4)
    inverse[:3, :3] = matrix[:3, :3].T
    inverse[:3, 3] = -matrix[:3, :3].T @ matrix[:3, 3]
    return inverse


def without_scale(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take the scale out of a (4, 4) that turns and moves and then scales: diag(scale, 1) @ rigid is `matrix`.

    Returns
    -------
    rigid
        float64 (4, 4).
    scale
        float64 (3,) along x, y, z of the world that `matrix` leads to.
    """
    scale = np.linalg.norm(matrix[:3, :3], axis=1)
    return np.diag([*(1 / scale), 1.0]) @ matrix, scale


def head_size(row: Mapping[str, Any]) -> np.ndarray:
    """How many times as large as the reference a row of the VOLUMES table is, along x, y and z: float64 (3,)."""
    return 1 / without_scale(np.asarray(row["native_to_reference"], dtype=np.float64).reshape(4, 4))[1]


def rotation_angle_deg(matrix: np.ndarray) -> float:
    """Angle of the rotation in a (4, 4) without shear, degrees, 0..180."""
    matrix = without_scale(matrix)[0]
    return float(np.degrees(np.arccos(np.clip((np.trace(matrix[:3, :3]) - 1) / 2, -1, 1))))


def anti_aliased(
    voxels: np.ndarray, affine: np.ndarray, grid_affine: np.ndarray, world: np.ndarray | None = None
) -> np.ndarray:
    """Blur `voxels` just so much that sampling them on the coarser `grid_affine` does not alias; float32.

    The Gaussian's width makes up the difference of the two grids' point spreads along each native axis; where
    the grid is as fine as the volume nothing is changed.

    References
    ----------
    Cardoso et al. 2015, Scale factor point spread function matching: beyond aliasing in image resampling, MICCAI.
    """
    from scipy.ndimage import gaussian_filter

    spacing = spacing_of(affine)
    to_grid = np.linalg.inv(grid_affine[:3, :3]) @ (np.eye(4) if world is None else world)[:3, :3] @ affine[:3, :3]
    # one native step covers this many grid steps; its inverse is the grid's spacing seen along the native axis
    target = spacing / np.maximum(np.linalg.norm(to_grid, axis=0), 1e-9)
    sigma = np.sqrt(np.maximum(target**2 - spacing**2, 0.0)) / FWHM_PER_SIGMA / spacing
    voxels = np.asarray(voxels, dtype=np.float32)
    sigma[sigma < 0.2] = 0.0
    return gaussian_filter(voxels, sigma, mode="nearest", truncate=3.0) if sigma.any() else voxels


def resample(
    voxels: np.ndarray,
    affine: np.ndarray,
    size: tuple[int, int, int],
    grid_affine: np.ndarray,
    *,
    world: np.ndarray | None = None,
    fill: float,
    nearest: bool = False,
) -> np.ndarray:
    """Sample a volume on another grid.

    Parameters
    ----------
    voxels, affine
        The volume: array (i, j, k) and voxel -> RAS mm.
    size, grid_affine
        The grid: voxels (x, y, z) and voxel -> RAS mm.
    world
        (4, 4), the volume's RAS mm -> the grid's RAS mm; the identity where both share one world.
    fill
        Value outside the volume's field of view.
    nearest
        Nearest neighbour in place of linear interpolation.

    Returns
    -------
    Array (x, y, z), float32, or the type of `voxels` for `nearest`.
    """
    import SimpleITK as sitk

    if nearest:
        voxels = voxels.astype(np.uint8) if voxels.dtype == bool else voxels
    else:
        voxels = np.asarray(voxels, dtype=np.float32)
    image = sitk_image(voxels, affine)
    filter_ = sitk.ResampleImageFilter()
    filter_.SetSize([int(n) for n in size])
    spacing, origin, direction = _sitk_geometry(grid_affine)
    filter_.SetOutputSpacing(spacing)
    filter_.SetOutputOrigin(origin)
    filter_.SetOutputDirection(direction)
    filter_.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    filter_.SetDefaultPixelValue(float(fill))
    filter_.SetTransform(sitk_transform(np.linalg.inv(np.eye(4) if world is None else world)))
    filter_.SetNumberOfThreads(1)
    return sitk.GetArrayFromImage(filter_.Execute(image)).transpose(2, 1, 0)


def to_native(array: np.ndarray, row: Mapping[str, Any], *, fill: float, nearest: bool = False) -> Volume:
    """Put an array of the common grid back on the native grid of a row of the VOLUMES table.

    Parameters
    ----------
    array
        (Z, Y, X) on the common grid, e.g. a synthetic CT in HU.
    row
        A row of VOLUMES, as a mapping or a pandas Series.
    fill
        Value of native voxels that the common grid does not cover: -1024 for HU, 0 for MR and masks.
    nearest
        Nearest neighbour, for masks.

    Returns
    -------
    Volume
        On the grid of the native file, voxel for voxel.
    """
    matrix = {
        name: np.asarray(row[name], dtype=np.float64).reshape(4, 4)
        for name in ("native_affine", "grid_affine", "native_to_reference")
    }
    size = tuple(int(n) for n in row["native_size"])
    voxels = resample(
        np.asarray(array).transpose(2, 1, 0),
        matrix["grid_affine"],
        size,  # type: ignore[arg-type]
        matrix["native_affine"],
        world=np.linalg.inv(matrix["native_to_reference"]),
        fill=fill,
        nearest=nearest,
    )
    return Volume(voxels, matrix["native_affine"], str(row["modality"]), str(row["native_path"]))


def sitk_image(voxels: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """A SimpleITK image of `voxels` (i, j, k) at the place that `affine` (RAS mm) says."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.transpose(2, 1, 0)))
    spacing, origin, direction = _sitk_geometry(affine)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    return image


def sitk_affine(image: sitk.Image) -> np.ndarray:
    """Voxel -> RAS mm (4, 4) of a SimpleITK image."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(image.GetDirection()).reshape(3, 3) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return _lps(affine)


def sitk_transform(matrix: np.ndarray) -> sitk.AffineTransform:
    """A SimpleITK transform that does to LPS points what `matrix` (4, 4) does to RAS points."""
    import SimpleITK as sitk

    lps = _lps(_lps(matrix.T).T)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    return transform


def ras_matrix(transform: Any) -> np.ndarray:
    """What a SimpleITK matrix transform (any centre) does to points, as a (4, 4) on RAS mm."""
    rotation = np.asarray(transform.GetMatrix()).reshape(3, 3)
    centre = np.asarray(transform.GetCenter())
    lps = np.eye(4)
    lps[:3, :3] = rotation
    lps[:3, 3] = np.asarray(transform.GetTranslation()) + centre - rotation @ centre
    return _lps(_lps(lps.T).T)


def lps_affine(affine: np.ndarray) -> np.ndarray:
    """Voxel -> LPS mm from voxel -> RAS mm, and the reverse."""
    return _lps(affine)


def _lps(matrix: np.ndarray) -> np.ndarray:
    """Turn the first two world axes round: RAS -> LPS and LPS -> RAS."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix


def _sitk_geometry(affine: np.ndarray) -> tuple[list[float], list[float], list[float]]:
    lps = _lps(affine)
    spacing = spacing_of(lps)
    return spacing.tolist(), lps[:3, 3].tolist(), (lps[:3, :3] / spacing).ravel().tolist()
