"""A small analytic head that tests may put anywhere, in MR and in CT."""

from __future__ import annotations

import numpy as np
import pytest

from radsynth.volumes.geometry import Volume, apply, rigid_inverse


def rigid(angles_deg=(0.0, 0.0, 0.0), shift_mm=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Rotation about x, then y, then z, then a shift."""
    matrix = np.eye(4)
    for axis, angle in enumerate(np.radians(angles_deg)):
        turn = np.eye(3)
        first, second = [(1, 2), (2, 0), (0, 1)][axis]
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        matrix[:3, :3] = turn @ matrix[:3, :3]
    matrix[:3, 3] = shift_mm
    return matrix


def ellipsoid(points, centre, radii):
    """How deep inside an ellipsoid, about mm."""
    return (1 - np.sqrt((((points - np.array(centre)) / np.array(radii)) ** 2).sum(axis=-1))) * min(radii)


def head_values(points: np.ndarray, modality: str) -> np.ndarray:
    """Value of the head at RAS mm; a ball lies in its right hemisphere, its ventricles and nose show up and front."""
    outer = ellipsoid(points, (0, 0, 0), (76, 98, 95))
    neck = ellipsoid(points, (0, -22, -80), (52, 58, 90))
    nose = ellipsoid(points, (0, 97, -35), (14, 20, 24))
    skin = np.maximum(np.maximum(outer, neck), nose)
    brain_high = ellipsoid(points, (0, 2, 8), (63, 83, 74))
    brain = np.minimum(brain_high, points[..., 2] + 48 + 0.2 * points[..., 1])
    skull = np.minimum(np.minimum(outer - 6, -brain), points[..., 2] + 65)
    ventricle = np.maximum(ellipsoid(points, (-12, 5, 12), (6, 26, 9)), ellipsoid(points, (12, 5, 12), (6, 26, 9)))
    sinus = np.minimum(ellipsoid(points, (0, 62, -42), (22, 22, 20)), skin - 10)
    ball = ellipsoid(points, (32, 20, 25), (13, 13, 13))
    table = {
        "CT": (-1000.0, 20.0, 1000.0, 38.0, 5.0, -1000.0, 75.0),
        "MR": (3.0, 420.0, 30.0, 300.0, 60.0, 3.0, 480.0),
    }[modality]
    values = np.full(points.shape[:-1], table[0])
    for depth, value in zip((skin, skull, brain, ventricle, sinus, ball), table[1:], strict=True):
        alpha = np.clip(depth / 2 + 0.5, 0, 1)
        values = values * (1 - alpha) + value * alpha
    return values


@pytest.fixture(scope="session")
def make_rigid():
    return rigid


@pytest.fixture(scope="session")
def make_head():
    """Return `make(modality, pose, ...) -> Volume`; `pose` is the head's own RAS mm -> the volume's RAS mm."""

    def make(modality, pose=None, spacing=4.0, low=(-100, -120, -120), high=(100, 125, 110), seed=0, size=(1, 1, 1)):
        pose = np.eye(4) if pose is None else pose
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = low
        shape = tuple(int((h - lo) / spacing) for lo, h in zip(low, high, strict=True))
        world = apply(affine, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1))
        values = head_values(apply(rigid_inverse(pose), world) / np.array(size), modality)
        noise = np.random.default_rng(seed).normal(0, 4.0, shape)
        dtype = np.int16 if modality == "CT" else np.float32
        return Volume(
            np.abs(values + noise).astype(dtype) if modality == "MR" else np.rint(values + noise).astype(dtype),
            affine,
            modality,
        )

    return make
