"""Alignment of heads, MR to CT and person to person, to one reference: a rigid pose, and between two people a size.

Two steps. The shapes come first: distances to the skin look alike in every modality, so that plain mean squares of
them find the pose from afar, and the widths and lengths of two heads tell their sizes (docs/adr/0021). Mattes mutual
information of the intensities then refines the pose. Nothing is bent and nothing sheared.

Every metric runs in one thread over a regular grid of samples: two runs give the same bits.

References
----------
Mattes et al. 2003, PET-CT image registration in the chest using free-form deformations, IEEE TMI 22(1).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import ndimage

from radsynth.errors import InputQuarantined
from radsynth.volumes.geometry import (
    anti_aliased,
    apply,
    covering_grid,
    ras_matrix,
    resample,
    rigid_inverse,
    sitk_image,
)
from radsynth.volumes.head import distance_mm, head_mask, signed_depth_mm

WORK_MM = 2.5
SHAPE_MM = 5.0
CRANIUM_MM = 150.0
"""Reach below the vertex that is compared: beyond it jaws, necks and fields of view differ."""
SHAPE_CLIP_MM = 20.0
PITCHES_DEG = (0.0, -20.0, 20.0)
SIZE_BAND_MM = (30.0, 90.0)
SIZE_RANGE = (0.85, 1.18)
MIN_DICE = 0.8
RIM_MM = 8.0
"""Deeper under the edge of an MR's head mask than this, its skin has begun."""
RADIAN_MM = 100.0
"""How far a radian moves the skin."""
BONE_HU = 250.0
BRAIN_HU = (0.0, 100.0)
BRAIN_RISE_DEG = 12.0
"""Between the AC-PC line and the brain's long axis as `_brain_axis` finds it: what laid a head in MNI space level."""


@dataclass(frozen=True)
class Head:
    """A head on an isotropic RAS+ working grid of `WORK_MM`.

    Parameters
    ----------
    image
        float32 (x, y, z), HU or MR units.
    affine
        Voxel -> RAS mm of the volume's own world.
    mask, seen
        bool (x, y, z): the head; the scanner's field of view.
    modality
        ``"MR"`` or ``"CT"``.
    """

    image: np.ndarray
    affine: np.ndarray
    mask: np.ndarray
    seen: np.ndarray
    modality: str


def working_head(voxels: np.ndarray, affine: np.ndarray, modality: str, path: str) -> Head:
    """Bring a volume on its working grid and find the head.

    Parameters
    ----------
    voxels, affine
        The volume (i, j, k), HU clipped for CT.

    Raises
    ------
    InputQuarantined
        ``head_not_found`` where no component of a head's size is there.
    """
    size, grid = covering_grid(voxels.shape, affine, WORK_MM)
    low = float(voxels.min())
    image = resample(anti_aliased(voxels, affine, grid), affine, size, grid, fill=low)
    seen = resample(np.ones(voxels.shape, dtype=np.uint8), affine, size, grid, fill=0, nearest=True).astype(bool)
    mask = head_mask(image, WORK_MM, modality, seen)
    litres = mask.sum() * WORK_MM**3 / 1e6
    if not 0.7 <= litres <= 12:
        raise InputQuarantined(
            "head_not_found", "no head in the volume", where=path, got=f"{litres:.2f} l", expected="0.7 to 12 l"
        )
    return Head(image, grid, mask, seen, modality)


def register(reference: Head, moving: Head, path: str = "", *, same_subject: bool = False) -> tuple[np.ndarray, float]:
    """Find the transform that lays `moving` over `reference`: turned, moved, then made of the reference's size.

    Parameters
    ----------
    reference, moving
        Heads; the reference stands upright in its own world.
    path
        Of the moving volume, for the message.
    same_subject
        Both are one person: the heads are of one size, and the transform is rigid.

    Returns
    -------
    matrix
        float64 (4, 4): the moving volume's RAS mm -> the reference's RAS mm; `geometry.without_scale` takes the size
        out of it.
    metric
        Mattes mutual information at the end, negative: lower is better.

    Raises
    ------
    InputQuarantined
        ``registration_failed`` where the two heads do not cover each other in the end.
    """
    reference, moving = _without_rim(reference), _without_rim(moving)
    try:
        grow, to_moving, metric = _fit(reference, moving, same_subject)
    except RuntimeError:
        # ITK's word for heads that have slid out of each other's field of view
        raise InputQuarantined(
            "registration_failed", "its head finds no place over the reference", where=path
        ) from None
    pose = rigid_inverse(to_moving)
    dice = overlap(replace(reference, affine=grow @ reference.affine), moving, pose)
    if not dice >= MIN_DICE:
        raise InputQuarantined(
            "registration_failed",
            "its head does not come to lie over the reference",
            where=path,
            got=f"Dice {dice:.2f}",
            expected=f"{MIN_DICE} or more",
        )
    return np.linalg.inv(grow) @ pose, metric


def _without_rim(head: Head) -> Head:
    """The head with a mask that ends at its skin: where an MR is half as bright as the brightest within `RIM_MM`.

    An MR's mask holds all that is not quite black, the blur of the skin too, and so is some 3 mm wider than a CT's all
    round: by its size it would be taken for a larger head.
    """
    if head.modality == "CT":
        return head
    inside = np.where(head.mask, head.image, 0)
    dim = inside < ndimage.maximum_filter(inside, size=2 * round(RIM_MM / WORK_MM) + 1) / 2
    outside = head.seen & ~head.mask
    shallow = head.mask & (distance_mm(outside, np.full(3, WORK_MM)) < RIM_MM) if outside.any() else outside
    rim = ndimage.binary_propagation(outside, mask=outside | (shallow & dim))
    return replace(head, mask=head.mask & ~rim)


def overlap(reference: Head, moving: Head, matrix: np.ndarray) -> float:
    """Dice of the two heads where both fields of view reach, within `CRANIUM_MM` of the reference's vertex."""
    size = reference.image.shape
    mask = resample(moving.mask, moving.affine, size, reference.affine, world=matrix, fill=0, nearest=True) > 0  # type: ignore[arg-type]
    seen = resample(moving.seen, moving.affine, size, reference.affine, world=matrix, fill=0, nearest=True) > 0  # type: ignore[arg-type]
    both = seen & reference.seen & _cranium(reference)
    total = mask[both].sum() + reference.mask[both].sum()
    return float(2 * (mask & reference.mask)[both].sum() / total) if total else 0.0


def mutual_information(reference: Head, moving: Head) -> float:
    """The metric of `register` for two heads as they lie, nothing moved."""
    method = _information(reference, moving, shrink=1, sampling=0.25)
    method.SetInitialTransform(_euler(np.zeros(3), np.zeros(3), 0.0))
    return float(method.MetricEvaluate(*_images(reference, moving)))


def upright_pose(head: Head) -> np.ndarray:
    """The pose that makes a CT head the reference: upright, symmetric about x = 0, in the middle.

    Roll and yaw come from the plane about which the head mirrors itself, pitch from the brain's long axis, which rises
    by `BRAIN_RISE_DEG` towards the front where AC and PC lie level. The origin comes to lie in the mirror plane,
    half-way between forehead and occiput, at the height of the vertex.

    Returns
    -------
    float64 (4, 4) rigid, the head's RAS mm -> reference RAS mm.
    """
    pose = np.eye(4)
    normal, point = _mirror_plane(head)
    pose[:3, :3] = _rotation_between(normal, np.array([1.0, 0.0, 0.0]))
    axis = _brain_axis(head)
    if axis is not None:
        turned = pose[:3, :3] @ axis
        pitch = np.arctan2(turned[2], turned[1])
        pose[:3, :3] = _rotation_x(np.radians(BRAIN_RISE_DEG) - pitch) @ pose[:3, :3]
    voxels = apply(pose, apply(head.affine, np.argwhere(head.mask)))
    top = np.percentile(voxels[:, 2], 99.95)
    cranium = voxels[voxels[:, 2] > top - CRANIUM_MM * 0.6]
    middle_y = (cranium[:, 1].min() + cranium[:, 1].max()) / 2
    pose[:3, 3] = [-(pose[:3, :3] @ point)[0], -middle_y, -top]
    return pose


def moved(head: Head, matrix: np.ndarray) -> Head:
    """The head resampled upright in the world that `matrix` (rigid) leads to."""
    size, grid = covering_grid(head.image.shape, matrix @ head.affine, WORK_MM)
    low = float(head.image.min())
    at = {"world": matrix}
    image = resample(head.image, head.affine, size, grid, fill=low, **at)
    mask = resample(head.mask, head.affine, size, grid, fill=0, nearest=True, **at) > 0
    seen = resample(head.seen, head.affine, size, grid, fill=0, nearest=True, **at) > 0
    return Head(image, grid, mask, seen, head.modality)


def vertex_cut(head: Head) -> bool:
    """Whether the field of view ends below the vertex: the head's uppermost planes are wider than 20 cm2."""
    planes = np.flatnonzero(head.mask.any(axis=(0, 1)))
    return bool(head.mask[:, :, planes.max() - 1].sum() * WORK_MM**2 > 2000.0)


def _cranium_centre(head: Head) -> np.ndarray:
    """Middle of the head within 100 mm of its vertex, RAS mm; the neck's length does not move it."""
    world = apply(head.affine, np.argwhere(head.mask))
    top = np.percentile(world[:, 2], 99.95)
    return world[world[:, 2] > top - 100.0].mean(axis=0)


def _cranium(head: Head) -> np.ndarray:
    """Planes of the working grid, bool (x, y, z), within `CRANIUM_MM` of the vertex."""
    world_z = head.affine[2, 3] + head.affine[2, 2] * np.arange(head.mask.shape[2])
    top = world_z[np.flatnonzero(head.mask.any(axis=(0, 1))).max()]
    planes = np.zeros(head.mask.shape, dtype=bool)
    planes[:, :, world_z > top - CRANIUM_MM] = True
    return planes


def _relative_size(reference: Head, moving: Head, matrix: np.ndarray) -> np.ndarray:
    """Size of the moving head against the reference along x, y, z, from its width and length above the ears.

    What ends a head above and below, its vertex and its neck, is often out of the picture: its height is taken to be
    as its width and length are on average.
    """
    shape = reference.image.shape
    on_grid = {"world": matrix, "fill": 0, "nearest": True}
    seen = resample(moving.seen, moving.affine, shape, reference.affine, **on_grid) > 0  # type: ignore[arg-type]
    mask = resample(moving.mask, moving.affine, shape, reference.affine, **on_grid) > 0  # type: ignore[arg-type]
    both = seen & reference.seen
    planes = np.flatnonzero(reference.mask.any(axis=(0, 1))).max() - np.arange(
        *(int(mm / WORK_MM) for mm in SIZE_BAND_MM)
    )
    spread = []
    for head in (mask, reference.mask):
        where = np.argwhere((head & both)[:, :, planes[planes >= 0]])
        spread.append(where[:, :2].std(axis=0) if len(where) else np.ones(2))
    width, length = np.clip(spread[0] / np.maximum(spread[1], 1e-6), *SIZE_RANGE)
    return np.array([width, length, np.sqrt(width * length)])


def _growth(centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The (4, 4) on RAS mm that makes a head `size` times as large along x, y, z about `centre`."""
    grow = np.diag([*size, 1.0])
    grow[:3, 3] = centre - size * centre
    return grow


def _euler(centre: np.ndarray, shift: np.ndarray, pitch_deg: float) -> Any:
    import SimpleITK as sitk

    flip = np.array([-1.0, -1.0, 1.0])
    transform = sitk.Euler3DTransform()
    transform.SetCenter((centre * flip).tolist())
    transform.SetTranslation((shift * flip).tolist())
    transform.SetRotation(float(np.radians(pitch_deg)), 0.0, 0.0)
    return transform


def _method(iterations: int, step_mm: float) -> Any:
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetGlobalDefaultNumberOfThreads(1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=step_mm,
        minStep=0.01,
        numberOfIterations=iterations,
        relaxationFactor=0.6,
        gradientMagnitudeTolerance=1e-9,
    )
    method.SetOptimizerScales([RADIAN_MM**2] * 3 + [1.0] * 3)
    return method


def _fit(reference: Head, moving: Head, same_subject: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """What makes the reference as large as the moving head, the rigid (4, 4) from there to that head, the metric."""
    centre = _cranium_centre(reference)
    start = _cranium_centre(moving) - centre
    shapes = _shape(reference, _cranium(reference)), _shape(moving)
    fits = [_shape_fit(*shapes, _euler(centre, start, pitch)) for pitch in PITCHES_DEG]
    transform = min(fits, key=lambda fit: fit[0])[1]
    sized, size = reference, np.ones(3)
    # laid rigidly over a smaller reference, a head fits it best along one side: aslant, and off the middle
    for _ in range(0 if same_subject else 2):
        size = size * _relative_size(sized, moving, rigid_inverse(ras_matrix(transform)))
        sized = replace(reference, affine=_growth(centre, size) @ reference.affine)
        transform = _shape_fit(_shape(sized, _cranium(sized)), shapes[1], transform)[1]
    transform, metric = _intensity_fit(sized, moving, transform)
    return _growth(centre, size), ras_matrix(transform), metric


def _shape(head: Head, planes: np.ndarray | None = None) -> tuple[Any, Any]:
    """Distance to the skin on a coarse grid, and where it counts (seen, and in `planes`), as SimpleITK images."""
    coarse = (slice(None, None, round(SHAPE_MM / WORK_MM)),) * 3
    affine = head.affine.copy()
    affine[:3, :3] *= round(SHAPE_MM / WORK_MM)
    seen = head.seen[coarse]
    counts = seen if planes is None else seen & planes[coarse]
    depth = np.clip(signed_depth_mm(head.mask[coarse], SHAPE_MM, seen), -SHAPE_CLIP_MM, SHAPE_CLIP_MM)
    return sitk_image(depth, affine), sitk_image(counts.astype(np.uint8), affine)


def _shape_fit(reference: tuple[Any, Any], moving: tuple[Any, Any], transform: Any) -> tuple[float, Any]:
    method = _method(20, 8.0)
    method.SetMetricAsMeanSquares()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.25, 1)
    method.SetMetricFixedMask(reference[1])
    method.SetMetricMovingMask(moving[1])
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(reference[0], moving[0])
    return method.GetMetricValue(), transform


def _intensity_fit(reference: Head, moving: Head, transform: Any) -> tuple[Any, float]:
    """Mutual information over pose, coarse and fine."""
    images = _images(reference, moving)
    for shrink, sampling in ((2, 0.5), (1, 0.25)):
        method = _information(reference, moving, shrink, sampling)
        method.SetInitialTransform(transform, inPlace=True)
        method.Execute(*images)
    return transform, float(method.GetMetricValue())


def _information(reference: Head, moving: Head, shrink: int, sampling: float) -> Any:
    near = distance_mm(reference.mask, np.full(3, WORK_MM)) < 8.0
    fixed_mask = near & _cranium(reference) & reference.seen
    method = _method(60, 2.0)
    method.SetMetricAsMattesMutualInformation(numberOfHistogramBins=40)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(sampling, 1)
    method.SetShrinkFactorsPerLevel([shrink])
    method.SetSmoothingSigmasPerLevel([float(shrink) if shrink > 1 else 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetMetricFixedMask(sitk_image(fixed_mask.astype(np.uint8), reference.affine))
    method.SetMetricMovingMask(sitk_image(moving.seen.astype(np.uint8), moving.affine))
    return method


def _images(reference: Head, moving: Head) -> tuple[Any, Any]:
    return tuple(sitk_image(_comparable(head), head.affine) for head in (reference, moving))  # type: ignore[return-value]


def _comparable(head: Head) -> np.ndarray:
    """Intensities for the joint histogram: its 40 bins spent on the head, the rest of the picture being air."""
    if head.modality == "CT":
        air, low, high = -300.0, -300.0, 1300.0
    else:
        low, high = (float(v) for v in np.percentile(head.image[head.mask], [0.5, 99.0]))
        air = low
    image = np.where(head.mask, np.clip(head.image, low, high), air)
    return ((image - low) / max(high - low, 1e-6)).astype(np.float32)


def _mirror_plane(head: Head) -> tuple[np.ndarray, np.ndarray]:
    """Unit normal (pointing right) and a point of the plane about which the head looks like itself."""
    flipped = replace(head, image=head.image[::-1].copy(), mask=head.mask[::-1].copy(), seen=head.seen[::-1].copy())
    turned = rigid_inverse(register(head, flipped, same_subject=True)[0])
    middle = apply(head.affine, (np.array(head.mask.shape) - 1) / 2)
    reflection = np.diag([-1.0, 1.0, 1.0, 1.0])
    reflection[0, 3] = 2 * middle[0]
    # head -> flipped picture -> head: a reflection about the plane that is sought
    mirror = reflection @ turned
    values, vectors = np.linalg.eigh((mirror[:3, :3] + mirror[:3, :3].T) / 2)
    normal = vectors[:, int(values.argmin())]
    centre = _cranium_centre(head)
    return normal * np.sign(normal[0]), (centre + apply(mirror, centre)) / 2


def _brain_axis(head: Head) -> np.ndarray | None:
    """Long axis of the brain in CT, a unit vector that points forward; None where no brain is found."""
    bone = head.image > BONE_HU
    if not bone.any():
        return None
    far = distance_mm(bone, np.full(3, WORK_MM)) > 12.0
    soft = (head.image > BRAIN_HU[0]) & (head.image < BRAIN_HU[1]) & head.mask & far & _cranium(head)
    labels, count = ndimage.label(soft)
    if not count:
        return None
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    if sizes.max() * WORK_MM**3 < 2e5:
        return None
    world = apply(head.affine, np.argwhere(labels == int(sizes.argmax())))
    axis = np.linalg.eigh(np.cov(world.T))[1][:, -1]
    axis = axis * np.sign(axis[1])
    return axis if axis[1] > 0.8 else None


def _rotation_between(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that turns one unit vector into another."""
    cross, cosine = np.cross(source, target), float(source @ target)
    skew = np.array([[0, -cross[2], cross[1]], [cross[2], 0, -cross[0]], [-cross[1], cross[0], 0]])
    return np.eye(3) + skew + skew @ skew / (1 + cosine)


def _rotation_x(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
