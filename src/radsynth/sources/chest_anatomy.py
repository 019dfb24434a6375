"""An analytic 3-D thorax and its line integrals, frontal and lateral.

Axes, in mm: x towards the patient's left (the picture's right on a frontal view), d (depth) towards the front of
the body, z downwards, with z = 0 at the top of the lungs. Rays are parallel. Lungs, heart, diaphragm and body are
shapes whose chord along a ray has a closed form; bones and vessels are tubes whose mass is projected point by point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float32]

SIDES = ("right", "left")
MU_SOFT = 0.0185
"""Attenuation of soft tissue at a chest tube's effective energy, 1/mm."""
MU_BONE = 0.052
"""What compact bone adds to soft tissue, 1/mm."""


@dataclass(frozen=True)
class Anatomy:
    """One person's thorax. Lengths in mm, angles in radians; `draw_anatomy` gives the ranges."""

    seed: int
    lung_height: float
    lung_width: float
    lung_depth: float
    lung_density: float
    apex_x: float
    dome_right: float
    dome_left: float
    dome_height: float
    wall: float
    wall_depth: float
    neck: float
    shoulder: float
    shoulder_slope: float
    arm_angle: float
    arm_gap: float
    breast: float
    breast_z: float
    heart_size: float
    heart_angle: float
    heart_x: float
    knob: float
    aorta_x: float
    mediastinum: float
    rib_first: float
    rib_pitch: float
    rib_drop: float
    rib_half_height: float
    bone: float
    clavicle_z: float
    clavicle_tilt: float
    scapula_x: float
    spine_bend: float
    spine_phase: float
    vessel_size: float
    hilum_z: float
    gastric: float
    gastric_x: float
    colon: float


def draw_anatomy(seed: int) -> Anatomy:
    """Draw one person; the same `seed` gives the same person."""
    rng = np.random.default_rng(seed)
    height = float(np.clip(rng.normal(222, 15), 188, 255))
    width = float(np.clip(rng.normal(133, 7.5), 116, 150))
    stout = rng.beta(2, 3)
    female = rng.random() < 0.48
    return Anatomy(
        seed=seed,
        lung_height=height,
        lung_width=width,
        lung_depth=float(np.clip(rng.normal(84, 6), 70, 100)),
        lung_density=rng.uniform(0.19, 0.29),
        apex_x=rng.uniform(43, 54),
        dome_right=rng.normal(0, 5),
        dome_left=float(np.clip(rng.normal(12, 5), 2, 26)),
        dome_height=rng.uniform(85, 140),
        wall=12 + 38 * stout + rng.uniform(0, 6),
        wall_depth=14 + 30 * stout,
        neck=rng.uniform(50, 60) + 14 * stout,
        shoulder=width + rng.uniform(52, 78),
        shoulder_slope=rng.uniform(-14, 18),
        arm_angle=rng.uniform(0.04, 0.42),
        arm_gap=rng.uniform(-16, 16),
        breast=rng.uniform(12, 46) if female else rng.uniform(0, 5),
        breast_z=rng.uniform(0.68, 0.92),
        heart_size=float(np.clip(rng.normal(0.945, 0.05), 0.82, 1.03)),
        heart_angle=rng.uniform(0.5, 0.86),
        heart_x=rng.normal(0, 4),
        knob=rng.uniform(14, 20),
        aorta_x=rng.uniform(17, 27),
        mediastinum=rng.uniform(0.86, 1.18),
        rib_first=rng.uniform(-10, 3),
        rib_pitch=height / rng.uniform(8.9, 10.4),
        rib_drop=rng.uniform(66, 100),
        rib_half_height=rng.uniform(5.4, 7.4),
        bone=rng.uniform(0.7, 1.35),
        clavicle_z=rng.uniform(8, 32),
        clavicle_tilt=rng.uniform(-0.02, 0.34),
        scapula_x=rng.uniform(-8, 22),
        spine_bend=rng.normal(0, 4.5),
        spine_phase=rng.uniform(0, 2 * np.pi),
        vessel_size=rng.uniform(1.15, 1.6),
        hilum_z=rng.uniform(0.40, 0.47),
        gastric=rng.uniform(12, 34) if rng.random() < 0.7 else 0.0,
        gastric_x=rng.uniform(50, 82),
        colon=rng.random(),
    )


@dataclass(frozen=True)
class Frame:
    """Where the pixels of a picture lie in the body.

    `u` is x on a frontal view and d on a lateral one (front of the body on the picture's left); `u`, `z`: (H, W)
    float32 in mm. `turn` is the rotation of the body about its long axis in radians, small.
    """

    view: str
    u: Array
    z: Array
    pixel_mm: float
    turn: float
    tilt: float
    centre_u: float
    centre_z: float

    def pixels(self, u: Array, z: Array) -> tuple[Array, Array]:
        """Row and column of points in the body, as floats."""
        sign = 1.0 if self.view == "frontal" else -1.0
        du, dz = np.float32(sign) * (u - np.float32(self.centre_u)), z - np.float32(self.centre_z)
        du, dz = du / np.float32(self.pixel_mm), dz / np.float32(self.pixel_mm)
        cosine, sine = np.float32(np.cos(self.tilt)), np.float32(np.sin(self.tilt))
        rows, columns = self.u.shape
        return rows / 2 - 0.5 - sine * du + cosine * dz, columns / 2 - 0.5 + cosine * du + sine * dz


def make_frame(
    view: str, shape: tuple[int, int], pixel_mm: float, turn: float, tilt: float, centre_u: float, centre_z: float
) -> Frame:
    """Make the pixel grid of a picture of `shape` (rows, columns) around a point of the body."""
    rows, columns = shape
    right = (np.arange(columns, dtype=np.float32) - (columns / 2 - 0.5))[None, :] * np.float32(pixel_mm)
    down = (np.arange(rows, dtype=np.float32) - (rows / 2 - 0.5))[:, None] * np.float32(pixel_mm)
    cosine, sine = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    sign = np.float32(1.0 if view == "frontal" else -1.0)
    u = np.float32(centre_u) + sign * (cosine * right - sine * down)
    z = np.float32(centre_z) + sine * right + cosine * down
    return Frame(view, u, z, pixel_mm, turn, tilt, centre_u, centre_z)


# ---- shapes ----

_TABLE_MM = 0.5
_TABLE_Z = np.arange(-200, 500, _TABLE_MM, dtype=np.float32)


def _along(z: Array, knots: Sequence[float], values: Sequence[float], smooth_mm: float = 8.0) -> Array:
    """A smooth curve through `values` at the heights `knots`, at every `z`."""
    return _look_up(z, _table(tuple(float(k) for k in knots), tuple(float(v) for v in values), smooth_mm))


@lru_cache(maxsize=256)
def _table(knots: tuple[float, ...], values: tuple[float, ...], smooth_mm: float) -> Array:
    table = np.interp(_TABLE_Z, knots, values).astype(np.float32)
    return gaussian_filter(table, smooth_mm / _TABLE_MM, mode="nearest")


def _look_up(z: Array, table: Array) -> Array:
    index = ((z + np.float32(200)) * np.float32(1 / _TABLE_MM)).astype(np.int32)
    return table[np.clip(index, 0, len(table) - 1)]


def _step(value: Array) -> Array:
    """Logistic step from 0 to 1, safe for large arguments."""
    return 1 / (1 + np.exp(np.clip(-value, -60, 60)))


def _root(value: Array) -> Array:
    return np.sqrt(np.maximum(value, 0))


def lung_outline(anatomy: Anatomy, z: Array) -> tuple[Array, Array]:
    """Distance from the midline to the lung's lateral and medial edge at height `z`, mm."""
    s = np.clip(z / anatomy.lung_height, 0, 1.5)
    rise = np.clip(1 - np.clip(1 - s, 0, 1) ** 2.3, 0, 1) ** 0.58
    lateral = anatomy.apex_x + (anatomy.lung_width - anatomy.apex_x) * rise
    medial = anatomy.apex_x - (anatomy.apex_x - 5) * _root(1 - (1 - np.clip(s / 0.16, 0, 1)) ** 2)
    return lateral.astype(np.float32), medial.astype(np.float32)


def lung_half_depth(anatomy: Anatomy, z: Array) -> Array:
    """Half of the lung's front-to-back extent at height `z`, mm."""
    height = anatomy.lung_height
    knots = [height * s for s in (0, 0.05, 0.12, 0.3, 0.55, 0.85, 1.4)]
    return anatomy.lung_depth / 92 * _along(z, knots, [16, 38, 54, 76, 88, 92, 92], 5)


def lung_middle_depth(anatomy: Anatomy, z: Array) -> Array:
    """Depth of the middle of the lung at height `z`, mm."""
    height = anatomy.lung_height
    return _along(z, [0, 0.3 * height, 0.7 * height, 1.2 * height], [-26, -10, 0, 0])


def ellipsoid(
    frame: Frame, centre: tuple[float, float, float], radii: tuple[float, float, float], angle: float = 0.0
) -> tuple[Array, Array]:
    """Interval of each ray inside an ellipsoid.

    Parameters
    ----------
    centre, radii
        (x, z, d) in mm.
    angle
        Rotation in the frontal plane, radians, from x towards z.

    Returns
    -------
    tuple of (H, W) float32
        Middle and half length along the ray, mm; the half length is 0 where the ray misses.
    """
    cosine, sine = np.cos(angle), np.sin(angle)
    turn = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    form = turn.T @ np.diag(1 / np.square(radii)) @ turn
    along, across = (2, 0) if frame.view == "frontal" else (0, 2)
    x, z, d = centre
    u = frame.u - np.float32(x + d * np.sin(frame.turn) if frame.view == "frontal" else d)
    v = frame.z - np.float32(z)
    a = form[along, along]
    linear = (np.float32(form[along, across]) * u + np.float32(form[along, 1]) * v) / np.float32(a)
    constant = np.float32(form[across, across]) * u * u + np.float32(form[1, 1]) * v * v
    constant += np.float32(2 * form[across, 1]) * u * v - np.float32(1)
    middle = np.float32((d, x)[along == 0]) - linear
    return middle, _root(linear * linear - constant / np.float32(a))


def _hull(intervals: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    low = np.full(intervals[0][0].shape, np.float32(1e4))
    high = np.full_like(low, np.float32(-1e4))
    for middle, half in intervals:
        hit = half > 0
        np.minimum(low, middle - half, out=low, where=hit)
        np.maximum(high, middle + half, out=high, where=hit)
    return low, high


def _outside(low: Array, high: Array, solid: tuple[Array, Array]) -> Array:
    """Length of [low, high] that is not inside `solid`, mm."""
    covered = np.maximum(np.minimum(high, solid[1]) - np.maximum(low, solid[0]), 0)
    return np.maximum(high - low, 0) - covered


@dataclass(frozen=True)
class Thorax:
    """Chords in mm, (H, W) float32 each; pairs are (right, left) lung.

    `cavity` is the chord through the space of a lung, `air` what of it no organ fills, `lateral_edge` the distance
    from the chest wall.
    """

    cavity: tuple[Array, Array]
    air: tuple[Array, Array]
    lateral_edge: tuple[Array, Array]
    heart: Array


def heart_parts(anatomy: Anatomy) -> list[tuple[tuple[float, float, float], tuple[float, float, float], float]]:
    """Ellipsoids (centre, radii, angle) whose union is the heart."""
    height, size, shift = anatomy.lung_height, anatomy.heart_size, anatomy.heart_x
    floor = height + 0.6 * anatomy.dome_left + 22
    grow = max(size - 1, 0.0)
    left = (
        (27 + shift + 34 * grow, floor - 42 - 18 * (size - 1), 10.0),
        (76 * size, 52 * size, 72 * size),
        anatomy.heart_angle,
    )
    right = ((-11 + shift - 14 * grow, floor - 48 - 30 * (size - 1), 8.0), (33 * size, 54 * size, 66 * size), 0.12)
    base_size = (38 * size, 58 + 20 * (size - 1), 62 * size)
    base = ((15 + shift + 16 * grow, floor - 80 - 10 * (size - 1), 6.0), base_size, -0.42)
    return [left, right, base]


def diaphragm(anatomy: Anatomy, side: int) -> tuple[float, float, float, float]:
    """Top of the dome (z), its height, half width and half depth, mm."""
    top = anatomy.lung_height + (anatomy.dome_right, anatomy.dome_left)[side]
    half_width = (anatomy.lung_width - 6) / 2 * 1.36
    return top, anatomy.dome_height, half_width, anatomy.lung_depth * 1.36


def _frontal_half(out: Array, lateral: Array, medial: Array, half_depth: Array) -> Array:
    wall = 1 - (np.clip(out, 0, None) / lateral) ** 2.8
    inner = 1 - (1 - np.clip((out - medial + 6) / 40, 0, 1)) ** 3
    return np.where(out < lateral, half_depth * np.maximum(wall, 0) ** 0.44 * inner, 0).astype(np.float32)


def collapsed_lung(anatomy: Anatomy, frame: Frame, side: int, collapse: float) -> Array:
    """Front-to-back chord (H, W) of a lung that has shrunk towards its hilum by the share `collapse`, mm.

    On a lateral view both lungs overlap, and only the loss at the apex is drawn.
    """
    a = anatomy
    hilum_x, hilum_z = 30.0, 0.62 * a.lung_height
    z = hilum_z + (frame.z - hilum_z) / (1 - 0.8 * collapse)
    z = np.where(frame.z > hilum_z, frame.z, z).astype(np.float32)
    lateral, medial = lung_outline(a, z)
    half_depth = lung_half_depth(a, z)
    if frame.view != "frontal":
        return np.where(z > 0, 2 * half_depth, 0).astype(np.float32)
    out = np.float32((-1.0, 1.0)[side]) * (frame.u - np.float32(np.sin(frame.turn)) * lung_middle_depth(a, frame.z))
    out = hilum_x + (out - hilum_x) / (1 - collapse)
    return 2 * _frontal_half(out.astype(np.float32), lateral, medial, half_depth)


def thorax(anatomy: Anatomy, frame: Frame) -> Thorax:
    """Chords of every ray through lungs and heart."""
    a, u, z = anatomy, frame.u, frame.z
    height = a.lung_height
    lateral, medial = lung_outline(a, z)
    half_depth, middle_depth = lung_half_depth(a, z), lung_middle_depth(a, z)
    frontal = frame.view == "frontal"

    hearts = [ellipsoid(frame, *part) for part in heart_parts(a)]
    knob_z = 0.27 * height
    aorta_x = a.aorta_x
    vessels = [
        ellipsoid(frame, (aorta_x - 3, knob_z, -20), (a.knob + 1, a.knob * 1.25, 42), 0.1),
        ellipsoid(frame, (0.62 * aorta_x, 0.72 * height, -52), (14, 0.52 * height, 15), 0.02),
        ellipsoid(frame, (14, 0.43 * height, 8), (25, 34, 46), 0.25),
        ellipsoid(frame, (-14, 0.30 * height, 6), (17, 0.34 * height, 34), -0.03),
        ellipsoid(frame, (10, 0.10 * height, -6), (19, 0.30 * height, 26), 0.04),
    ]
    knots = [height * s for s in (-0.3, 0, 0.18, 0.30, 0.43, 0.56, 0.75, 1.3)]
    half_width = a.mediastinum * _along(z, knots, [32, 30, 28, 28, 35, 31, 27, 28])
    if frontal:
        shift = np.float32(np.sin(frame.turn))
        core = (np.float32(-12) + 0 * z, 0.62 * half_depth * _root(1 - (np.abs(u) / half_width) ** 1.7))
    else:
        core = (0 * z, half_width * _root(1 - (np.abs(u + 12) / (0.66 * half_depth)) ** 2.4))

    cavity, air, edge = [], [], []
    for side, sign in enumerate((-1.0, 1.0)):
        top, rise, dome_width, dome_depth = diaphragm(a, side)
        dome_x = sign * (a.lung_width + 6) / 2
        dome = ellipsoid(frame, (dome_x, top + rise, -4), (dome_width, rise, dome_depth))
        below = z > top + rise
        dome = (dome[0], np.where(below, np.float32(400), dome[1]))
        if frontal:
            out = np.float32(sign) * (u - shift * middle_depth)
            half = _frontal_half(out, lateral, medial, half_depth)
            low, high = middle_depth - half, middle_depth + half
            edge.append(lateral - out)
        else:
            across = (u - middle_depth) / half_depth
            outer = lateral * np.maximum(1 - np.abs(across) ** 2.27, 0) ** 0.357
            ends = (np.full_like(outer, 9.0), np.maximum(outer, 9.0))
            low, high = ends if sign > 0 else (-ends[1], -ends[0])
            high = np.where((z > 0) & (outer > medial), high, low)
            edge.append(half_depth - np.abs(u - middle_depth))
        solid = _hull([core, *vessels, *hearts, dome])
        cavity.append(np.maximum(high - low, 0))
        air.append(_outside(low, high, solid))
    heart_low, heart_high = _hull(hearts)
    return Thorax(
        cavity=(cavity[0], cavity[1]),
        air=(air[0], air[1]),
        lateral_edge=(edge[0], edge[1]),
        heart=np.maximum(heart_high - heart_low, 0),
    )


def body(anatomy: Anatomy, frame: Frame) -> Array:
    """Chord through the body's outline, arms and breasts included, mm."""
    a = anatomy
    z, height = frame.z, a.lung_height
    chest = a.lung_width + a.wall
    slope = a.shoulder_slope
    knots = [-150, -70, -46, -26 + 0.3 * slope, -4 + slope, 20 + slope, 60, 100, 140, height, 1.4 * height]
    widths = [a.neck * 1.1, a.neck, a.neck * 1.12, 0.58 * a.shoulder, 0.86 * a.shoulder, a.shoulder, a.shoulder * 1.02]
    widths += [max(0.93 * a.shoulder, chest + 4), chest + 2, chest, chest - 3]
    depth = a.lung_depth + a.wall_depth
    half_width = _along(z, knots, widths, 7)
    half_depth = _along(
        z, [-150, -60, -10, 40, 100, height, 1.4 * height], [62, 60, 66, 80, 0.96 * depth, 1.02 * depth, 1.02 * depth]
    )
    if frame.view != "frontal":
        return _lateral_body(a, frame, half_width, half_depth)
    u = frame.u
    trunk = 2 * half_depth * np.maximum(1 - (np.abs(u) / half_width) ** 2.7, 0) ** 0.5
    total = trunk**4
    for sign in (-1.0, 1.0):
        start_x, start_z = sign * (a.shoulder - 42), 30 + 0.6 * slope
        across = sign * np.cos(a.arm_angle) * (u - start_x) - np.sin(a.arm_angle) * (z - start_z)
        down = sign * np.sin(a.arm_angle) * (u - start_x) + np.cos(a.arm_angle) * (z - start_z)
        radius = (38 + 0.35 * a.wall) - 0.03 * np.clip(down, 0, 200)
        arm = 2 * _root(radius**2 - (across - a.arm_gap - 4) ** 2 - np.minimum(down, 0) ** 2)
        total += arm**4
    return np.sqrt(np.sqrt(total)) + (_breasts(a, frame) if a.breast > 0 else 0)


def _breasts(a: Anatomy, frame: Frame) -> Array:
    total = np.zeros_like(frame.u)
    radius_z = 46 + 0.9 * a.breast
    radius_x = 48 + 0.5 * a.breast
    for sign in (-1.0, 1.0):
        right = (sign * frame.u - 0.62 * a.lung_width - 0.25 * a.breast) / radius_x
        down = (frame.z - a.breast_z * a.lung_height) / radius_z
        inside = np.maximum(1 - right**2 - down**2, 0)
        total += a.breast * np.where(down > 0, inside**0.55, inside ** (0.55 + 0.9 * np.clip(-down, 0, 1)))
    return total


def _lateral_body(a: Anatomy, frame: Frame, half_width: Array, half_depth: Array) -> Array:
    z, u = frame.z, frame.u
    bend = _along(z, [-80, 0, 60, 160, 300], [-14, -16, -8, 2, 4])
    across = np.abs((u - bend) / half_depth)
    width = np.minimum(half_width, a.lung_width + a.wall)
    trunk = 2 * width * np.maximum(1 - across**2.6, 0) ** 0.5
    raised = 120 * np.maximum(1 - ((u - 34 + 0.55 * (z + 30)) / 66) ** 2, 0) ** 0.6
    arms = raised * 1.4 * _step((26 - z - 0.15 * u) / 9)
    total = np.sqrt(np.sqrt(trunk**4 + arms**4)) + 0.5 * np.minimum(trunk, arms)
    if a.breast > 6:
        centre_z = a.breast_z * a.lung_height
        front = a.lung_depth + a.wall_depth
        inside = np.maximum(1 - ((u - front + 12) / (16 + 0.9 * a.breast)) ** 2 - ((z - centre_z) / 52) ** 2, 0)
        total += 90 * inside**0.6 * _step((u - front + 4) / 5)
    return total


def carina_z(anatomy: Anatomy) -> float:
    """Height at which the trachea divides, mm."""
    return 0.345 * anatomy.lung_height


def airway(anatomy: Anatomy, frame: Frame) -> Array:
    """Chord through the air of the trachea, mm."""
    a = anatomy
    end = carina_z(a)
    z = frame.z
    fade = _step((end - z) / 2.5)
    if frame.view == "frontal":
        axis = _along(z, [-80, 0, 0.25 * a.lung_height, end], [0, 0, -0.16 * a.aorta_x, -2])
        axis = axis - 10 * np.float32(np.sin(frame.turn))
    else:
        axis = _along(z, [-80, 0, end], [2, -10, -26])
    radius = 8.2 + 0 * z
    return 2 * _root(radius**2 - (frame.u - axis) ** 2) * fade


def bowel_gas(anatomy: Anatomy, frame: Frame) -> Array:
    """Chord through the gas of stomach and colon, mm."""
    a = anatomy
    gas = np.zeros_like(frame.z)
    top = a.lung_height + a.dome_left
    rng = np.random.default_rng(a.seed + 1)
    if a.gastric > 0:
        size = a.gastric
        centre = (a.gastric_x, top + 12 + 0.8 * size, 5)
        _, half = ellipsoid(frame, centre, (1.5 * size, size, 0.8 * size), -0.15)
        level = top + 12 + rng.uniform(0.9, 2.2) * size
        gas += 1.5 * half * _step((level - frame.z) / 1.2)
    if a.colon > 0.45:
        for _ in range(rng.integers(2, 6)):
            size = rng.uniform(7, 17)
            centre = (rng.uniform(20, 105), top + rng.uniform(34, 95), rng.uniform(10, 50))
            gas += 1.3 * ellipsoid(frame, centre, (size * rng.uniform(0.9, 1.7), size, size), rng.uniform(-0.7, 0.7))[1]
    return gas


# ---- tubes ----


def _deposit(frame: Frame, points: Array, mass: Array) -> Array:
    """Project mass (mm^3) at points (..., 3) = (x, z, d) onto the pixels: mean path length (H, W), mm."""
    x, z, d = (points[..., axis].ravel().astype(np.float32) for axis in range(3))
    u = x + d * np.float32(np.sin(frame.turn)) if frame.view == "frontal" else d
    row, column = frame.pixels(u, z)
    rows, columns = frame.u.shape
    row, column = np.clip(row, -2, rows), np.clip(column, -2, columns)
    top, left = np.floor(row), np.floor(column)
    down, right = row - top, column - left
    width = columns + 4
    index = ((top + 2) * width + left + 2).astype(np.int32)
    weight = mass.ravel().astype(np.float32) / np.float32(frame.pixel_mm**2)
    size = (rows + 4) * width
    total = np.bincount(index, weight * (1 - down) * (1 - right), size)
    total += np.bincount(index + 1, weight * (1 - down) * right, size)[:size]
    total += np.bincount(index + width, weight * down * (1 - right), size + width)[:size]
    total += np.bincount(index + width + 1, weight * down * right, size + width + 1)[:size]
    return total.reshape(rows + 4, width)[2:-2, 2:-2].astype(np.float32)


def _tube(
    path: Array, across: Array, along: Array, cortex_mm: float, inner: float, scale: Array
) -> tuple[Array, Array]:
    """Points and masses of a bony tube with an elliptic shell.

    `path` (N, 3); `across`, `along` (N, 3): the two half axes of the cross-section as vectors, mm; `scale` (N,).
    """
    step = np.gradient(path, axis=0)
    length = np.sqrt((step**2).sum(1))
    count = 16 if max(np.abs(across).max(), np.abs(along).max()) < 9 else 64
    # every ring is turned against the one before by the golden angle, so that its points do not line up as stripes
    turn = (np.arange(count)[None] + 0.5) / count * 2 * np.pi + 2.39996 * np.arange(len(path))[:, None]
    cosine, sine = np.cos(turn).astype(np.float32), np.sin(turn).astype(np.float32)
    ring = path[:, None] + cosine[..., None] * across[:, None] + sine[..., None] * along[:, None]
    stagger = (7 * np.arange(count) % count / count - 0.5).astype(np.float32)
    ring += stagger[None, :, None] * step[:, None]
    a, b = np.sqrt((across**2).sum(1)), np.sqrt((along**2).sum(1))
    arc = np.sqrt((sine * a[:, None]) ** 2 + (cosine * b[:, None]) ** 2) * 2 * np.pi / count
    mass = arc * cortex_mm * (length * scale)[:, None]
    core = path[:, None] + 0.6 * (ring[:, ::2] - path[:, None])
    filling = np.repeat((np.pi * a * b * inner * length * scale / (count // 2))[:, None], count // 2, axis=1)
    return np.concatenate([ring, core], 1), np.concatenate([mass, filling], 1)


def _unit(vectors: Array) -> Array:
    return vectors / np.maximum(np.sqrt((vectors**2).sum(-1, keepdims=True)), 1e-6)


def rib_path(anatomy: Anatomy, rib: int, sign: float, count: int = 160) -> Array:
    """Centre line (count, 3) of rib 1..12 as (x, z, d), from the spine to its front end."""
    a = anatomy
    ends = (2.3, 2.42, 2.45, 2.45, 2.42, 2.36, 2.3, 2.12, 1.95, 1.75, 1.3, 0.8)
    drops = (0.5, 0.72, 0.88, 0.98, 1.03, 1.06, 1.08, 1.06, 1.02, 0.98, 0.95, 0.9)
    rng = np.random.default_rng([a.seed, 77, rib, int(sign > 0)])
    angle = np.linspace(0.13, ends[rib - 1] + rng.uniform(-0.08, 0.08), count)
    start = a.rib_first + (rib - 1) * a.rib_pitch + rng.normal(0, 1.0)
    fall = a.rib_drop * drops[rib - 1] * (1 + rng.normal(0, 0.03))
    z = start + fall * (1 - np.cos(angle)) / 2 - 4 * np.exp(-(((angle - 0.3) / 0.2) ** 2))
    lateral, _ = lung_outline(a, (z + 4).astype(np.float32))
    half, middle = lung_half_depth(a, z.astype(np.float32)), lung_middle_depth(a, z.astype(np.float32))
    reach = np.minimum(lateral + 4, a.lung_width + 3)
    x = 13 + (reach - 13) * np.clip(np.sin(np.minimum(angle, np.pi / 2)), 0, 1) ** 0.92
    x = np.where(angle > np.pi / 2, reach * np.sin(angle) ** 0.8, x)
    d = middle - (half + 5) * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.85
    return np.stack([sign * x, z, d], 1)


def bones(anatomy: Anatomy, frame: Frame, rng_seed: int = 0) -> Array:
    """Mean path length through bone, in mm of compact bone, (H, W)."""
    a = anatomy
    points, masses = [], []

    def add(path: Array, half_up: Array, half_out: Array, cortex: float, inner: float, scale: Array) -> None:
        path = path.astype(np.float32)
        tangent = _unit(np.gradient(path, axis=0))
        outward = path * np.array([1, 0, 1], np.float32)
        outward = _unit(outward - (outward * tangent).sum(1, keepdims=True) * tangent)
        up = np.cross(tangent, outward)
        half_up, half_out, scale = (v[:, None].astype(np.float32) for v in (half_up, half_out, scale))
        cloud, mass = _tube(path, up * half_up, outward * half_out, cortex, inner, scale[:, 0])
        points.append(cloud.reshape(-1, 3))
        masses.append(mass.ravel())

    for sign in (-1.0, 1.0):
        for rib in range(1, 13):
            path = rib_path(a, rib, sign)
            t = np.linspace(0, 1, len(path))
            half_up = a.rib_half_height * (0.86 + 0.22 * t)
            fade = _step((0.985 - t) / 0.012)
            scale = (
                a.bone * (1 - 0.22 * t - 0.3 * np.exp(-(((t - 0.62) / 0.16) ** 2))) * fade * (0.8 if rib > 10 else 1)
            )
            add(path, half_up, 0.5 * half_up, 0.85, 0.055, scale)
        if frame.view == "frontal":
            clavicle, thick = _clavicle(a, sign)
            add(clavicle, thick, thick * 0.85, 1.15, 0.12, np.full(len(thick), a.bone))
            for path, radius, cortex in _shoulder_bones(a, sign):
                along = np.arange(len(radius)) / (0.12 * len(radius))
                add(path, radius, radius, cortex, 0.04, a.bone * np.clip(along, 0, 1) ** 2)
    # the points are denser than the pixels, but not by so much that their grain would not show
    total = gaussian_filter(_deposit(frame, np.concatenate(points), np.concatenate(masses)), 0.55)
    total += a.bone * _spine(a, frame)
    if frame.view == "frontal":
        total += a.bone * _plates(a, frame)
    else:
        total += a.bone * _sternum(a, frame)
    return total


def _clavicle(a: Anatomy, sign: float) -> tuple[Array, Array]:
    t = np.linspace(0, 1, 110)
    x = 18 + (a.shoulder - 62) * t
    z = a.clavicle_z + 16 - a.clavicle_tilt * (x - 18) - 7 * np.sin(2 * np.pi * t) * (0.6 + 0.4 * t)
    d = 58 - 30 * t - 16 * t**2
    thick = 7.0 - 1.9 * np.sin(np.pi * t) + 3.2 * np.exp(-((t / 0.1) ** 2))
    return np.stack([sign * x, z, d], 1), thick


def _shoulder_bones(a: Anatomy, sign: float) -> list[tuple[Array, Array, float]]:
    def line(points: list[tuple[float, float]], count: int, depth: float) -> Array:
        xs, zs = np.array(points).T
        t = np.linspace(0, 1, count)
        knots = np.linspace(0, 1, len(xs))
        return np.stack([sign * np.interp(t, knots, xs), np.interp(t, knots, zs), np.full(count, depth)], 1)

    corner = _scapula(a)
    head_x, head_z = a.shoulder - 34, 30 + 0.6 * a.shoulder_slope
    down = np.linspace(8, 330, 320)
    shaft = np.stack(
        [sign * (head_x + np.sin(a.arm_angle) * down), head_z + np.cos(a.arm_angle) * down, 0 * down - 8], 1
    )
    parts = [
        (line([corner["superior"], corner["medial"], corner["inferior"]], 90, -88), np.full(90, 2.0), 0.8),
        (line([corner["inferior"], corner["lateral"], corner["glenoid"]], 90, -80), np.full(90, 3.4), 1.2),
        (line([corner["root"], corner["acromion"]], 80, -85), np.linspace(2.6, 6.0, 80), 0.8),
        (line([corner["glenoid"], corner["coracoid"]], 26, -30), np.linspace(7, 5, 26), 0.9),
        (shaft, 10.5 + 9 * np.exp(-down / 16), 2.1),
    ]
    return parts


def _scapula(a: Anatomy) -> dict[str, tuple[float, float]]:
    x, slope = a.scapula_x + a.lung_width - 133, 0.5 * a.shoulder_slope
    glenoid_x = a.shoulder - 56
    return {
        "superior": (88 + x, 14 + slope),
        "medial": (96 + x, 62 + slope),
        "inferior": (124 + x, 146 + slope),
        "lateral": (142 + x, 100 + slope),
        "glenoid": (glenoid_x, 44 + slope),
        "root": (94 + x, 44 + slope),
        "acromion": (a.shoulder - 36, 2 + slope),
        "coracoid": (glenoid_x - 12, 20 + slope),
    }


def _plates(a: Anatomy, frame: Frame) -> Array:
    """Scapular blades and humeral heads."""
    total = np.zeros_like(frame.u)
    corner = _scapula(a)
    outline = [corner[name] for name in ("superior", "medial", "inferior", "lateral", "glenoid")]
    for sign in (-1.0, 1.0):
        x = np.float32(sign) * (frame.u + np.float32(85 * np.sin(frame.turn)))
        inside = np.full_like(frame.u, 1e3)
        for (x0, z0), (x1, z1) in zip(outline, outline[1:] + outline[:1], strict=True):
            length = np.hypot(x1 - x0, z1 - z0)
            # the outline runs anticlockwise in the picture, so that its inside is on this side of every edge
            inside = np.minimum(inside, ((x - x0) * (z1 - z0) - (frame.z - z0) * (x1 - x0)) / length)
        total += 1.1 * _step(inside / 1.5)
        head = np.hypot(x - (a.shoulder - 36), frame.z - 32 - 0.6 * a.shoulder_slope)
        outer, inner = 22.0, 20.6
        total += (
            2
            * (_root(outer**2 - head**2) - 0.95 * _root(inner**2 - head**2))
            * 0.62
            * (0.4 + 0.6 * _step((22 - (x - a.shoulder + 36)) / 9))
        )
    return total


def _spine(a: Anatomy, frame: Frame) -> Array:
    """Vertebral bodies, end plates, pedicles and spinous processes, mm of compact bone."""
    z, height = frame.z, a.lung_height
    phase = (z - a.rib_first + 0.35 * a.rib_pitch) / a.rib_pitch
    phase = phase - np.floor(phase)
    plate = np.exp(-(((phase - 0.06) / 0.05) ** 2)) + np.exp(-(((phase - 0.80) / 0.05) ** 2))
    gap = np.exp(-(((phase - 0.93) / 0.075) ** 2))
    half = _along(z, [-80, 0, 0.5 * height, 1.3 * height], [12, 14, 15.5, 21])
    if frame.view == "frontal":
        bend = a.spine_bend * np.sin(np.pi * z / (1.1 * height) + a.spine_phase)
        u = frame.u - bend + np.float32(52 * np.sin(frame.turn))
        inside = _step((half * (1 - 0.09 * np.sin(np.pi * phase / 0.9)) - np.abs(u)) / 0.9)
        rim = np.exp(-(((np.abs(u) - half * 0.93) / 1.5) ** 2)) * (1 - 0.8 * gap)
        pedicle = np.hypot((np.abs(u) - 0.66 * half) / 3.6, (phase - 0.3) * a.rib_pitch / 4.6)
        ring = np.exp(-(((pedicle - 1) / 0.32) ** 2))
        spinous = np.exp(-((u / 2.4) ** 2) - (((phase - 0.72) * a.rib_pitch / 4.5) ** 2))
        transverse = np.exp(-(((phase - 0.3) * a.rib_pitch / 3.6) ** 2))
        transverse *= _step((half + 12 - np.abs(u)) / 1.5) * (np.abs(u) > half)
        return inside * (2.0 - 1.6 * gap + 1.0 * plate) + 0.8 * rim + 1.3 * ring + 2.4 * spinous + 1.1 * transverse
    curve = _along(z, [-80, 0, 0.45 * height, 1.1 * height, 1.4 * height], [-34, -52, -74, -58, -48], 20)
    scale = a.lung_depth / 84
    u = frame.u - curve * scale
    inside = _step((1.02 * half - np.abs(u)) / 0.8)
    rim = np.exp(-(((np.abs(u) - half) / 1.4) ** 2)) * (1 - 0.8 * gap)
    arch = np.exp(-(((u + 1.9 * half) / 8) ** 2)) * (0.6 + 0.5 * np.cos(2 * np.pi * (phase - 0.3)))
    return inside * (6.4 - 5.6 * gap + 2.6 * plate) + 2.0 * rim + 0.9 * arch


def _sternum(a: Anatomy, frame: Frame) -> Array:
    z, height = frame.z, a.lung_height
    front = lung_half_depth(a, z) + lung_middle_depth(a, z) + 7
    u = frame.u - front
    long = _step((z - 0.1 * height) / 3) * _step((0.78 * height - z) / 3)
    shell = np.exp(-(((np.abs(u) - 5) / 1.3) ** 2)) + 0.35 * (np.abs(u) < 5)
    return 2.8 * shell * long


# ---- vessels and airways ----


def vessel_tree(anatomy: Anatomy, side: int, generations: int = 7) -> tuple[Array, Array]:
    """Points (N, P, 3) along the branches of one lung's arteries and veins, and their radii (N, P), mm."""
    a = anatomy
    rng = np.random.default_rng([a.seed, 5, side])
    sign = (-1.0, 1.0)[side]
    hilum = np.array([sign * 33, a.hilum_z * a.lung_height - (0, 9)[side], -8.0])
    # angles from straight up to straight down, clockwise away from the mediastinum
    heading = np.array([0.25, 0.62, 0.95, 1.3, 1.62, 1.95, 2.22, 2.48, 2.72, 2.92]) + rng.normal(0, 0.08, 10)
    radius = np.array([2.7, 2.9, 2.3, 2.1, 2.1, 2.5, 3.0, 3.5, 4.3, 3.1]) * a.vessel_size
    depth = rng.uniform(-0.75, 0.75, len(heading))
    direction = np.stack([sign * np.sin(heading), -np.cos(heading), depth], 1)
    position = hilum + direction * 7 + rng.normal(0, 2.5, direction.shape)
    direction = _unit(direction)
    length = np.array([27, 25, 24, 25, 27, 28, 30, 33, 36, 32]) * a.lung_height / 222 * rng.uniform(0.8, 1.15, 10)
    paths, radii = [], []
    t = np.linspace(0, 1, 22)[None, :, None]
    for generation in range(generations):
        bend = rng.normal(0, 0.20, direction.shape)
        finish = _unit(direction + bend)
        chord = position[:, None] + length[:, None, None] * (t * direction[:, None] + t**2 / 2 * bend[:, None])
        paths.append(chord)
        radii.append(radius[:, None] * (1 - 0.16 * t[..., 0]))
        spread = rng.uniform(0.22, 0.62, len(radius)) * (1 if generation else 0.8)
        axis = _unit(np.cross(finish, _unit(rng.normal(0, 1, direction.shape) + np.array([0, 0, 2.2]))))
        share = rng.uniform(0.42, 0.68, len(radius))
        children = []
        for turn, part in ((spread * (1 - share) * 1.6, share), (-spread * share * 1.6, 1 - share)):
            towards = _unit(finish * np.cos(turn)[:, None] + axis * np.sin(turn)[:, None])
            children.append(
                (chord[:, -1], towards, radius * 0.84 * part ** (1 / 2.7), length * rng.uniform(0.6, 0.95, len(part)))
            )
        position, direction, radius, length = (np.concatenate(parts) for parts in zip(*children, strict=True))
        keep = radius > 0.32
        position, direction, radius, length = position[keep], direction[keep], radius[keep], length[keep]
    return np.concatenate(paths), np.concatenate(radii)


def vessels(anatomy: Anatomy, frame: Frame) -> tuple[Array, Array]:
    """Mean path length through each lung's vessels, mm: (right, left), each (H, W)."""
    maps = []
    for side in range(2):
        path, radius = (part.astype(np.float32) for part in vessel_tree(anatomy, side))
        thick = radius[:, 0] > 1.3
        # a vessel thinner than a pixel needs no more than its middle and its edges
        wide = _vessel_map(anatomy, frame, path[thick], radius[thick], 7)
        maps.append(wide + _vessel_map(anatomy, frame, path[~thick], radius[~thick], 3))
    return maps[0], maps[1]


def _vessel_map(anatomy: Anatomy, frame: Frame, path: Array, radius: Array, lines: int) -> Array:
    offsets = np.linspace(-0.86, 0.86, lines, dtype=np.float32)
    weights = np.sqrt(1 - offsets**2)
    step = np.gradient(path, axis=1)
    length = np.sqrt((step**2).sum(-1))
    lateral, _ = lung_outline(anatomy, path[..., 1])
    reach = np.maximum(np.abs(path[..., 0]) / lateral, np.abs(path[..., 2]) / lung_half_depth(anatomy, path[..., 1]))
    inside = _step((0.93 - reach) / 0.03)
    first = 0 if frame.view == "frontal" else 2
    across = np.stack([-step[..., 1], step[..., first]], -1)
    across *= (radius / np.maximum(np.hypot(step[..., 1], step[..., first]), 1e-3))[..., None]
    points = np.repeat(path[:, :, None], lines, axis=2)
    points[..., first] += across[..., None, 0] * offsets
    points[..., 1] += across[..., None, 1] * offsets
    mass = (np.pi * radius**2 * length * inside)[..., None] * (weights / weights.sum())
    return _deposit(frame, points, mass)


def bronchi(anatomy: Anatomy, frame: Frame) -> Array:
    """Mean path length through the air of the main bronchi, mm."""
    start = np.array([-2.0, carina_z(anatomy) - 3, -26.0])
    points, masses = [], []
    for side, sign in enumerate((-1.0, 1.0)):
        end = np.array([sign * (28, 40)[side], carina_z(anatomy) + (34, 30)[side], -16.0])
        t = np.linspace(0, 1, 50)[:, None]
        path = start + t * (end - start)
        length = np.sqrt(((end - start) ** 2).sum()) / 49
        radius = 6.4 - 1.8 * t
        offset = np.linspace(-0.9, 0.9, 9)[None]
        chord = np.sqrt(1 - offset**2)
        along = _unit((end - start)[None, :2])[0]
        shift = np.zeros((50, 9, 3))
        shift[..., 0], shift[..., 1] = -along[1] * offset * radius, along[0] * offset * radius
        points.append((path[:, None] + shift).reshape(-1, 3))
        masses.append((np.pi * radius**2 * length * chord / chord.sum() * (1 - 0.6 * t)).ravel())
    return np.minimum(_deposit(frame, np.concatenate(points), np.concatenate(masses)), 11)
