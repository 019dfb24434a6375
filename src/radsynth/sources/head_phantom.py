"""The embedded head sample: analytic 3-D heads drawn as T1 MR and as CT in HU, so that the true CT of an MR is known.

Anatomy is described in a subject's own millimetres: x towards the patient's right, y anterior, z superior, the origin
near the anterior commissure. Each structure is an implicit function, about its signed distance in mm (negative
inside), painted over what is there with an edge one working voxel wide. Both modalities are painted at once.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from scipy import ndimage

from radsynth.files import atomic_path, write_json
from radsynth.processes import mapper
from radsynth.progress import track

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray
Point = tuple[float, float, float]

WORK_MM = 1.4
"""Spacing of the working grid, mm."""

ORIGIN_MM = (-98.0, -127.5, -137.5)
GRID = (141, 187, 173)
"""Where the working grid begins (x, y, z, mm), and its size: odd, so that every second voxel spans it."""

TISSUES: dict[str, tuple[float, float]] = {
    "air": (0.0, -1000.0),
    "skin": (0.42, 45.0),
    "fat": (1.0, -95.0),
    "muscle": (0.44, 52.0),
    "gland": (0.66, 15.0),
    "mucosa": (0.46, 38.0),
    "cartilage": (0.36, 90.0),
    "cortical": (0.05, 1350.0),
    "petrous": (0.06, 1750.0),
    "diploe": (0.48, 560.0),
    "marrow": (0.72, 300.0),
    "disc": (0.33, 85.0),
    "tooth": (0.03, 2250.0),
    "csf": (0.17, 7.0),
    "dura": (0.36, 54.0),
    "blood": (0.30, 52.0),
    "flow_void": (0.08, 46.0),
    "grey": (0.57, 38.5),
    "deep_grey": (0.64, 39.0),
    "pallidum": (0.71, 40.0),
    "white": (0.83, 29.0),
    "brain_stem": (0.78, 31.0),
    "vitreous": (0.19, 9.0),
    "lens": (0.40, 75.0),
    "sclera": (0.38, 48.0),
    "tumour": (0.52, 42.0),
    "necrosis": (0.30, 18.0),
    "haemorrhage": (0.58, 66.0),
    "haemorrhage_rim": (0.95, 58.0),
    "infarct": (0.24, 11.0),
    "calcification": (0.22, 320.0),
}
"""T1-weighted signal (fat = 1, air = 0) and HU of each tissue."""

MR_ORIENTATIONS = ("RAS", "LPS", "LAS", "PIR", "PSR", "ASL", "LPI")
CT_ORIENTATIONS = ("LPS", "LAS", "RAS", "LPI", "RPS")
LESIONS = ("tumour", "haemorrhage", "infarct")


@dataclass(frozen=True)
class Lesion:
    """A lesion of the brain: `kind` one of `LESIONS`, `centre_mm` and `radii_mm` in anatomy coordinates (x, y, z)."""

    kind: str
    centre_mm: Point
    radii_mm: Point

    @property
    def side(self) -> str:
        """The patient's side."""
        return "right" if self.centre_mm[0] > 0 else "left"


@dataclass(frozen=True)
class Anatomy:
    """What makes one head differ from another; lengths in mm, `age` 0 (young) to 1 (old), the rest are factors."""

    seed: int
    age: float
    scale: Point
    skull_mm: float
    scalp_fat_mm: float
    face_fat_mm: float
    gap_mm: float
    sulcus_mm: float
    ventricles: float
    ventricle_asymmetry: float
    frontal_sinus: float
    maxillary_sinus: float
    mastoid: float
    nose: float
    jaw: float
    sinus_fluid: float
    calcified_pallidum: bool
    lesions: tuple[Lesion, ...]


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one person."""
    age = float(rng.beta(1.3, 1.1))
    size = rng.normal(1.0, 0.03)
    scale = tuple(float(np.clip(size * rng.normal(1.0, 0.02), 0.92, 1.08)) for _ in range(3))
    lesions = tuple(_draw_lesion(rng) for _ in range(int(rng.choice([0, 1, 2], p=[0.48, 0.42, 0.10]))))
    return Anatomy(
        seed=int(rng.integers(2**31)),
        age=age,
        scale=scale,  # type: ignore[arg-type]
        skull_mm=float(rng.uniform(5.2, 8.2)),
        scalp_fat_mm=float(rng.uniform(2.2, 4.6)),
        face_fat_mm=float(rng.uniform(2.5, 7.0)),
        gap_mm=float(0.8 + 2.0 * age * rng.uniform(0.4, 1.0)),
        sulcus_mm=float(0.15 + 0.85 * age * rng.uniform(0.4, 1.0)),
        ventricles=float(0.85 + 0.75 * age * rng.uniform(0.4, 1.2)),
        ventricle_asymmetry=float(rng.normal(0.0, 0.10)),
        frontal_sinus=float(rng.uniform(0.35, 1.35)),
        maxillary_sinus=float(rng.uniform(0.8, 1.15)),
        mastoid=float(rng.uniform(0.7, 1.15)),
        nose=float(rng.uniform(0.85, 1.2)),
        jaw=float(rng.uniform(0.92, 1.08)),
        sinus_fluid=float(rng.uniform(0.0, 1.0)),
        calcified_pallidum=bool(rng.random() < 0.25 * age),
        lesions=lesions,
    )


def _draw_lesion(rng: np.random.Generator) -> Lesion:
    kind = str(rng.choice(LESIONS))
    side = float(rng.choice([-1.0, 1.0]))
    if kind == "infarct":
        centre = (side * rng.uniform(42, 54), rng.uniform(-70, 30), rng.uniform(5, 45))
        radii = rng.uniform(10, 24, 3)
    else:
        centre = (side * rng.uniform(22, 42), rng.uniform(-65, 40), rng.uniform(2, 42))
        radii = rng.uniform(6, 17) * rng.uniform(0.8, 1.25, 3)
    return Lesion(kind, tuple(float(c) for c in centre), tuple(float(r) for r in radii))  # type: ignore[arg-type]


# ---- implicit functions, mm ----


def _squarish(q: tuple[Array, Array, Array], centre: Point, radii: Point, power: float) -> Array:
    """Like `_ellipsoid` with the exponent `power` in the place of 2: boxier above it."""
    scaled = [np.abs(c - o) / r + np.float32(1e-4) for c, o, r in zip(q, centre, radii, strict=True)]
    norm = sum(c**power for c in scaled) ** np.float32(1 / power)
    slope = np.sqrt(sum((c ** (power - 1) / r) ** 2 for c, r in zip(scaled, radii, strict=True)))
    return (norm - 1) * norm ** (power - 1) / (slope + np.float32(1e-5))


def _ellipsoid(q: tuple[Array, Array, Array], centre: Point, radii: Point, pitch: float = 0.0) -> Array:
    """About the signed distance to an ellipsoid that is turned by `pitch` degrees about x (positive: front up)."""
    x, y, z = (c - o for c, o in zip(q, centre, strict=True))
    if pitch:
        cos, sin = np.float32(np.cos(np.deg2rad(pitch))), np.float32(np.sin(np.deg2rad(pitch)))
        y, z = cos * y + sin * z, cos * z - sin * y
    x, y, z = x / radii[0], y / radii[1], z / radii[2]
    norm = np.sqrt(x * x + y * y + z * z)
    slope = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2) + np.float32(1e-6)
    return norm * (norm - 1) / slope


def _chain(q: tuple[Array, Array, Array], points: list[Point], radii: list[float], flatten: float = 1.0) -> Array:
    """About the signed distance to a tube through `points` with a radius at each; `flatten` < 1 narrows it along x."""
    best: Array | None = None
    for a, b, ra, rb in zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True):
        d = [bi - ai for ai, bi in zip(a, b, strict=True)]
        rel = [c - ai for c, ai in zip(q, a, strict=True)]
        length2 = np.float32(sum(di * di for di in d))
        t = np.clip((rel[0] * d[0] + rel[1] * d[1] + rel[2] * d[2]) / length2, 0, 1)
        ox = (rel[0] - t * d[0]) / np.float32(flatten)
        oy, oz = rel[1] - t * d[1], rel[2] - t * d[2]
        distance = np.sqrt(ox * ox + oy * oy + oz * oz) - (ra + t * (rb - ra))
        best = distance if best is None else np.minimum(best, distance)
    assert best is not None
    return best


def _smooth_min(a: Array, b: Array, k: float) -> Array:
    """Minimum whose crease is rounded over `k` mm (polynomial form)."""
    h = np.maximum(k - np.abs(a - b), 0) / np.float32(k)
    return np.minimum(a, b) - h * h * np.float32(k / 4)


def _step(value: Array, low: float, high: float) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - low) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


# ---- smooth random fields ----


def _bump_basis(n: int, knots: int) -> Array:
    """(n, knots) float32 Gaussian bumps at even knots, each row with unit sum of squares."""
    at = np.linspace(0, knots - 1, n)[:, None]
    weights = np.exp(-0.5 * ((at - np.arange(knots)) / 0.75) ** 2)
    return (weights / np.sqrt((weights**2).sum(1, keepdims=True))).astype(np.float32)


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], spacing: float, wavelength: float) -> Array:
    """Unit-variance smooth noise on a grid, by separable upsampling of coarse white noise."""
    knots = [max(int(np.ceil(n * spacing / (wavelength / 2))) + 2, 3) for n in shape]
    field = rng.standard_normal(knots, dtype=np.float32)
    bx, by, bz = (_bump_basis(n, k) for n, k in zip(shape, knots, strict=True))
    field = np.matmul(by, np.tensordot(bx, field, axes=(1, 0)))
    return np.matmul(field, bz.T)


def _band_noise(rng: np.random.Generator, size: int, spacing: float, wavelength: float, width: float) -> Array:
    """(size,)*3 periodic noise of unit variance whose power lies near one `wavelength` (mm)."""
    spectrum = np.fft.rfftn(rng.standard_normal((size,) * 3, dtype=np.float32))
    full, half = np.fft.fftfreq(size, spacing), np.fft.rfftfreq(size, spacing)
    frequency = np.sqrt(full[:, None, None] ** 2 + full[None, :, None] ** 2 + half[None, None, :] ** 2)
    spectrum *= np.exp(-0.5 * ((frequency * wavelength - 1) / width) ** 2)
    noise = np.fft.irfftn(spectrum, s=(size,) * 3, axes=(0, 1, 2)).astype(np.float32)
    return noise / noise.std()


def _doubled(field: Array) -> Array:
    """Linear upsampling from every second voxel to every voxel: n -> 2 n - 1 along each axis."""
    for axis in (2, 1, 0):
        shape = list(field.shape)
        shape[axis] = 2 * shape[axis] - 1
        finer = np.empty(shape, np.float32)
        before = (slice(None),) * axis
        finer[(*before, slice(None, None, 2))] = field
        between = finer[(*before, slice(1, None, 2))]
        np.add(field[(*before, slice(1, None))], field[(*before, slice(None, -1))], out=between)
        between *= np.float32(0.5)
        field = finer
    return field


def _tiled(noise: Array, shape: tuple[int, ...]) -> Array:
    """Repeat a periodic field until it fills `shape`."""
    repeats = [-(-n // m) for n, m in zip(shape, noise.shape, strict=True)]
    return np.tile(noise, repeats)[tuple(slice(0, n) for n in shape)]


# ---- painting ----


@dataclass
class _Canvas:
    """The working grid: warped anatomy coordinates `q`, nominal axes, and the two channels being painted."""

    axes: tuple[Array, Array, Array]
    q: tuple[Array, Array, Array]
    t1: Array
    hu: Array
    tissues: dict[str, tuple[float, float]]

    def box(self, low: Point, high: Point, margin: float = 9.0) -> tuple[slice, slice, slice]:
        """Index box of anatomy coordinates `low`..`high`, with a margin for the warp."""
        slices = []
        for axis, a, b in zip(self.axes, low, high, strict=True):
            first, last = np.searchsorted(axis, (a - margin, b + margin))
            slices.append(slice(int(first), max(int(last), int(first) + 1)))
        return tuple(slices)  # type: ignore[return-value]

    def paint(self, box: tuple[slice, ...], distance: Array, tissue: str, opacity: Array | float = 1.0) -> None:
        """Put `tissue` where `distance` is negative; the edge is one voxel wide."""
        alpha = np.clip(0.5 - distance / np.float32(WORK_MM), 0, 1) * opacity
        self.blend(box, alpha, *self.tissues[tissue])

    def blend(self, box: tuple[slice, ...], alpha: Array, t1: Array | float, hu: Array | float) -> None:
        """Mix a signal and a HU value in by `alpha` 0..1."""
        for channel, value in ((self.t1, t1), (self.hu, hu)):
            here = channel[box]
            here += alpha * (value - here)


def _both_sides(
    canvas: _Canvas, low: Point, high: Point, margin: float = 9.0
) -> Iterator[tuple[tuple[slice, ...], tuple[Array, Array, Array], float]]:
    """For right (+1) and left (-1): the index box, its coordinates mirrored to the right, and the sign."""
    for sign in (1.0, -1.0):
        xs = (low[0], high[0]) if sign > 0 else (-high[0], -low[0])
        box = canvas.box((xs[0], low[1], low[2]), (xs[1], high[1], high[2]), margin)
        x, y, z = (c[box] for c in canvas.q)
        yield box, (x * np.float32(sign), y, z), sign


def _tube(canvas: _Canvas, points: list[Point], radii: list[float], tissue: str, *, mirrored: bool = True) -> None:
    """Paint a tube of one tissue, on both sides where `mirrored`."""
    r = max(radii)
    low = tuple(min(p[i] for p in points) - r for i in range(3))
    high = tuple(max(p[i] for p in points) + r for i in range(3))
    for box, q, sign in _both_sides(canvas, low, high):  # type: ignore[arg-type]
        if mirrored or sign > 0:
            canvas.paint(box, _chain(q, points, radii), tissue)


def _blob(
    canvas: _Canvas, centre: Point, radii: Point, tissue: str, *, pitch: float = 0, mirrored: bool = True
) -> None:
    """Paint an ellipsoid of one tissue, on both sides where `mirrored`."""
    r = max(radii) if pitch else None
    low = tuple(c - (r or e) for c, e in zip(centre, radii, strict=True))
    high = tuple(c + (r or e) for c, e in zip(centre, radii, strict=True))
    for box, q, sign in _both_sides(canvas, low, high):  # type: ignore[arg-type]
        if mirrored or sign > 0:
            canvas.paint(box, _ellipsoid(q, centre, radii, pitch), tissue)


def _bone_tube(
    canvas: _Canvas, points: list[Point], radii: list[float], shell: float, *, mirrored: bool = True
) -> None:
    """Paint a bone: cortical outside, marrow inside."""
    _tube(canvas, points, radii, "cortical", mirrored=mirrored)
    _tube(canvas, points, [r - shell for r in radii], "marrow", mirrored=mirrored)


# ---- the head ----


def tissue_maps(anatomy: Anatomy) -> tuple[Array, Array, Array]:
    """Paint a head.

    Returns
    -------
    t1, hu
        float32 (X, Y, Z) T1-weighted signal (fat = 1) and HU on the same grid.
    affine
        float64 (4, 4), voxel to head mm (x right, y anterior, z superior).
    """
    rng = np.random.default_rng([anatomy.seed, 1])
    # the large surfaces are smooth: every second voxel is enough to know them
    canvas, coarse = _blank(anatomy, rng)
    cavity = _cranial_cavity(coarse)
    outline = _doubled(_outline(coarse, anatomy, rng, cavity))
    thickness = _doubled(_skull_thickness(coarse, anatomy, rng))
    cavity = _doubled(cavity)
    _soft_tissue(canvas, anatomy, rng, outline, coarse)
    _face_and_neck(canvas, anatomy, rng)
    _skull(canvas, anatomy, rng, cavity, thickness)
    _facial_bones(canvas, anatomy, rng)
    _air_spaces(canvas, anatomy, rng)
    _orbits(canvas)
    _brain(canvas, anatomy, rng, cavity)
    affine = np.diag([WORK_MM, WORK_MM, WORK_MM, 1.0])
    affine[:3, 3] = ORIGIN_MM
    return canvas.t1, canvas.hu, affine


def _blank(anatomy: Anatomy, rng: np.random.Generator) -> tuple[_Canvas, tuple[Array, Array, Array]]:
    """An empty canvas in one person's coordinates, and these coordinates at every second voxel."""
    lines = [low + WORK_MM * np.arange(n, dtype=np.float32) for low, n in zip(ORIGIN_MM, GRID, strict=True)]
    axes = tuple(line / np.float32(s) for line, s in zip(lines, anatomy.scale, strict=True))
    half = tuple((n + 1) // 2 for n in GRID)
    coarse = []
    for axis, line in enumerate(axes):
        along = [1, 1, 1]
        along[axis] = -1
        coarse.append(_smooth_noise(rng, half, 2 * WORK_MM, 130.0) * np.float32(1.6) + line[::2].reshape(along))
    x, y, z = coarse
    # heads are egg-shaped: narrower in front than behind, and rarely symmetric
    x *= 1 + np.float32(0.0009) * np.clip(y + 25, -20, 90) * _step(z, -30, 5)
    x += np.float32(rng.normal(0, 1.2)) * (y / 90) * np.abs(x) / 60
    jitter = {
        name: (
            t1 * float(rng.normal(1, 0.03)),
            hu * float(rng.normal(1, 0.06)) if hu > 100 else hu + rng.normal(0, 0.8),
        )
        for name, (t1, hu) in TISSUES.items()
    }
    contrast = float(rng.uniform(-0.05, 0.07))
    for name in ("grey", "tumour"):
        jitter[name] = (jitter[name][0] + contrast, jitter[name][1])
    jitter["air"], jitter["fat"] = TISSUES["air"], (TISSUES["fat"][0], TISSUES["fat"][1] + float(rng.normal(0, 5)))
    t1, hu = np.zeros(GRID, np.float32), np.full(GRID, -1000, np.float32)
    canvas = _Canvas(axes, (_doubled(x), _doubled(y), _doubled(z)), t1, hu, jitter)  # type: ignore[arg-type]
    return canvas, (x, y, z)


def _vault(q: tuple[Array, Array, Array]) -> Array:
    """Distance to the inside of the skull cap."""
    return _squarish(q, (0, -17, 10), (68, 87, 66.5), 2.25)


def _cranial_cavity(q: tuple[Array, Array, Array]) -> Array:
    """Distance to the inner table of the skull."""
    x, y, z = np.abs(q[0]), q[1], q[2]
    vault = _vault((x, y, z))
    floor = np.float32(-19) - z - np.float32(0.10) * (y - 20)
    cerebral = -_smooth_min(-vault, -floor, 14)
    temporal = _ellipsoid((x, y, z), (38, -6, -21), (27, 41, 24))
    cerebral = _smooth_min(cerebral, temporal, 9)
    posterior = _ellipsoid((x, y, z), (0, -60, -28), (58, 44, 40))
    cavity = _smooth_min(cerebral, posterior, 8)
    petrous = _chain((x, y, z), [(16, -10, -36), (36, -20, -36), (62, -32, -36)], [5, 8, 13])
    clivus = _chain((x, y, z), [(0, 2, -34), (0, -10, -46), (0, -22, -64)], [8, 8, 7])
    return np.maximum(cavity, -np.minimum(petrous, clivus))


def _outline(q: tuple[Array, Array, Array], anatomy: Anatomy, rng: np.random.Generator, cavity: Array) -> Array:
    """Distance to the skin of scalp, face, neck and nose."""
    ax, y, z = np.abs(q[0]), q[1], q[2]
    temporal = np.exp(-(((y - 22) / 26) ** 2) - ((z + 8) / 30) ** 2) * _step(ax, 35, 60)
    outline = cavity - (anatomy.skull_mm + 3.2 + anatomy.scalp_fat_mm + 8 * temporal)
    face = _squarish((ax, y, z), (0, 34, -52), (68, 60, 70), 2.4)
    neck = _chain((ax, y, z), [(0, -22, -60), (0, -34, -105), (0, -38, -160)], [56, 55, 60])
    chin = _ellipsoid((ax, y, z), (0, 70 * anatomy.jaw, -108), (25, 24, 19))
    nape = _ellipsoid((ax, y, z), (0, -70, -60), (58, 40, 50))
    outline = _smooth_min(_smooth_min(outline, face, 16), _smooth_min(neck, nape, 20), 22)
    outline = _smooth_min(outline, chin, 14)
    eye_hollow = _ellipsoid((ax, y, z), (31, 102, -32), (17, 17, 13))
    outline = -_smooth_min(-outline, eye_hollow, 12)
    n = anatomy.nose
    nose = _chain((ax, y, z), [(0, 86, -24), (0, 98 + 4 * n, -44), (0, 104 + 8 * n, -54)], [7, 7, 9])
    wings = _ellipsoid((ax, y, z), (9, 99, -57), (8, 11, 7))
    outline = _smooth_min(outline, _smooth_min(nose, wings, 6), 7)
    for lip_z in (-78, -88):
        outline = _smooth_min(outline, _ellipsoid((ax, y, z), (0, 92, lip_z), (23, 9, 5)), 6)
    return outline + _smooth_noise(rng, ax.shape, 2 * WORK_MM, 60.0) * np.float32(0.5)


def _soft_tissue(
    canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator, outline: Array, coarse: tuple[Array, Array, Array]
) -> None:
    """Skin, fat and muscle of scalp, face, neck, nose and ears."""
    everything = (slice(None),) * 3
    canvas.paint(everything, outline, "skin")
    cheeks = _step(-coarse[2], 20, 60) * (0.5 + 0.5 * _step(np.abs(coarse[0]), 15, 45))
    fat_mm = anatomy.scalp_fat_mm + anatomy.face_fat_mm * cheeks
    fat_mm *= 1 + np.float32(0.18) * _smooth_noise(rng, cheeks.shape, 2 * WORK_MM, 50.0)
    canvas.paint(everything, outline + np.float32(2.0), "fat")
    deep = outline + (_doubled(fat_mm) + np.float32(2.0))
    canvas.paint(everything, deep, "muscle")
    # muscles lie in layers with thin planes of fat between them
    low = (slice(None), slice(None), slice(0, canvas.box((0, 0, 0), (0, 0, -22), 0.0)[2].stop))
    deep = deep[low]
    noise = partial(_smooth_noise, rng)
    layers = np.abs(np.sin(deep * np.float32(0.27) + np.float32(2.2) * noise(deep.shape, WORK_MM, 48.0)))
    radial = np.abs(noise((*deep.shape[:2], 1), WORK_MM, 22.0) + np.float32(0.8) * noise(deep.shape, WORK_MM, 40.0))
    planes = np.maximum(1 - np.minimum(layers * np.float32(5), radial * np.float32(6)), 0)
    planes *= np.clip(0.5 - deep, 0, np.float32(0.8))
    canvas.blend(low, planes, *canvas.tissues["fat"])

    for box, q, _ in _both_sides(canvas, (70, -50, -72), (96, 6, -4)):
        ex, ey, ez = q
        lean = ex - np.float32(0.45) * np.maximum(-20 - ey, 0) + np.float32(0.12) * (ez + 36)
        auricle = _ellipsoid((lean, ey, ez), (78, -26, -36), (5, 17, 30), -12)
        bowl = _ellipsoid((lean, ey, ez), (83, -22, -38), (6, 9, 15), -12)
        groove = _ellipsoid((lean, ey, ez), (84, -30, -28), (4, 9, 18), -12)
        canvas.paint(box, auricle, "skin")
        canvas.paint(box, auricle + np.float32(1.9), "cartilage")
        canvas.paint(box, np.minimum(bowl, groove), "air", np.clip(0.5 + outline[box] / WORK_MM, 0, 1))


def _face_and_neck(canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Glands, tongue, fat pads and vessels below the skull."""
    _blob(canvas, (47, 52, -66), (13, 20, 18), "fat")
    _blob(canvas, (57, -6, -72), (9, 14, 22), "gland")
    _blob(canvas, (27, 32, -108), (9, 17, 8), "gland")
    _blob(canvas, (40, 26, -58), (6, 11, 10), "fat")
    _blob(canvas, (24, 10, -66), (3.5, 7, 16), "fat")
    box = canvas.box((-32, 8, -112), (32, 92, -68))
    q = tuple(c[box] for c in canvas.q)
    tongue = _ellipsoid(q, (0, 50, -84), (25, 33, 17), -8)
    canvas.paint(box, tongue, "muscle")
    fibres = np.clip(_smooth_noise(rng, tongue.shape, WORK_MM, 9.0), 0, 1.5) * np.float32(0.3)
    canvas.blend(box, np.clip(0.5 - tongue, 0, 1) * fibres, *canvas.tissues["fat"])
    _tube(canvas, [(25, 2, -62), (28, 0, -90), (30, -2, -150)], [3.2, 3.6, 4.2], "flow_void")
    _tube(canvas, [(31, -8, -60), (34, -6, -90), (37, -8, -150)], [4.2, 5.0, 6.0], "blood")


def _skull_thickness(q: tuple[Array, Array, Array], anatomy: Anatomy, rng: np.random.Generator) -> Array:
    """Thickness of the skull in mm: thin at the temples and the base, thick at the forehead and the occiput."""
    ax, y, z = np.abs(q[0]), q[1], q[2]
    thickness = anatomy.skull_mm * (1 + np.float32(0.13) * _smooth_noise(rng, ax.shape, 2 * WORK_MM, 60.0))
    squama = _step(ax, 40, 60) * np.exp(-(((y - 2) / 30) ** 2) - ((z + 12) / 24) ** 2)
    thickness *= 1 - np.float32(0.5) * squama
    thickness *= 1 - np.float32(0.45) * _step(-z, 12, 24) * _step(y, -60, -20)
    thickness += 3.5 * np.exp(-((ax / 14) ** 2) - ((y + 100) / 18) ** 2 - ((z + 26) / 14) ** 2)
    thickness += 2.0 * np.exp(-((ax / 45) ** 2) - ((y - 74) / 16) ** 2 - ((z - 2) / 22) ** 2)
    return thickness


def _skull(canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator, cavity: Array, thickness: Array) -> None:
    """Inner table, diploe and outer table around the cranial cavity, with the dense and the aerated temporal bone."""
    x = canvas.q[0]
    everything = (slice(None),) * 3
    grain = _tiled(_band_noise(rng, 64, WORK_MM, 7.0, 0.45), x.shape)
    shell = np.maximum(-cavity, cavity - thickness)
    alpha = np.clip(0.5 - shell / np.float32(WORK_MM), 0, 1)
    cortical_t1, cortical_hu = canvas.tissues["cortical"]
    canvas.blend(everything, alpha, cortical_t1, cortical_hu + np.float32(40) * grain)
    table = np.clip(np.float32(1.6) + np.float32(0.4) * _smooth_noise(rng, x.shape, WORK_MM, 40.0), 0.9, 2.6)
    spongy = np.maximum(table - cavity, cavity - thickness + table)
    sutures = np.abs(_smooth_noise(rng, x.shape, WORK_MM, 70.0))
    diploe_t1, diploe_hu = canvas.tissues["diploe"]
    texture = np.clip(1 + np.float32(0.14) * grain, 0.4, 2) * (0.75 + np.float32(0.35) * np.minimum(sutures, 1.5))
    canvas.blend(
        everything, np.clip(0.5 - spongy / np.float32(WORK_MM), 0, 1), diploe_t1 * texture, diploe_hu / texture
    )

    _tube(canvas, [(14, -8, -38), (34, -20, -38), (60, -32, -40)], [6, 9, 12], "cortical")
    _tube(canvas, [(26, -16, -38), (42, -24, -38)], [5, 7], "petrous")
    _bone_tube(canvas, [(0, 4, -36), (0, -10, -47), (0, -23, -65)], [8.5, 8, 6], 1.6, mirrored=False)
    _bone_tube(canvas, [(20, -26, -64), (17, -36, -68)], [7, 6], 1.6)
    cells = _band_noise(rng, 32, WORK_MM, 7.0, 0.3)
    for box, q, _ in _both_sides(canvas, (44, -56, -72), (70, -22, -34), 5.0):
        mastoid = _ellipsoid(q, (56, -36, -50), (11 * anatomy.mastoid, 13, 18 * anatomy.mastoid))
        canvas.paint(box, mastoid, "cortical")
        honeycomb = _tiled(cells, mastoid.shape) * np.float32(1.3) - np.float32(0.45)
        canvas.paint(box, np.maximum(mastoid + 2.2, honeycomb), "air")


def _facial_bones(canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Orbital rims, cheek bones, nose, upper and lower jaw with teeth, and the first vertebrae."""
    j = anatomy.jaw
    for box, q, _ in _both_sides(canvas, (4, 20, -62), (58, 88, -8)):
        socket = _chain(q, [(15, 30, -31), (33, 70, -34), (35, 80, -35)], [6, 20, 21])
        canvas.paint(box, np.maximum(socket, q[1] - np.float32(78) + np.float32(0.35) * (q[0] - 10)), "cortical")
    _bone_tube(canvas, [(24, 80, -13), (40, 74, -15), (48, 66, -24)], [4.2, 4.2, 3.6], 1.5)
    _bone_tube(canvas, [(48, 66, -24), (49, 63, -40), (46, 66, -52)], [3.4, 3.4, 6.0], 1.5)
    _bone_tube(
        canvas, [(30, 76, -55), (46, 66, -53), (60, 44, -52), (67, 22, -49), (68, 0, -43)], [4.5, 6, 3, 2.6, 3], 1.4
    )
    _tube(canvas, [(4, 85, -22), (4, 92, -36), (6, 94, -44)], [2.6, 1.6, 1.2], "cortical")
    _tube(canvas, [(9, 80, -30), (13, 84, -46), (14, 82, -60)], [2.0, 1.8, 3.0], "cortical")
    for box, q, _ in _both_sides(canvas, (8, 30, -76), (50, 84, -32)):
        antrum = _ellipsoid(q, (28, 58, -53), tuple(r * anatomy.maxillary_sinus for r in (15, 18, 17)))  # type: ignore[arg-type]
        canvas.paint(box, antrum - np.float32(1.5), "cortical")
    _tube(canvas, [(13, 26, -42), (15, 27, -68)], [2.2, 1.8], "cortical")

    box = canvas.box((-34, 36, -104), (34, 98, -60))
    x, y, z = (c[box] for c in canvas.q)
    arch = _arch(x, y)
    angle = np.arctan2(np.abs(x), np.maximum(y - 50, 0.1))
    behind = np.float32(46) - y
    for top, bottom, tissue in ((-66.0, -75.0, "marrow"), (-93.0, -103.0, "marrow")):
        slab = np.maximum(z - np.float32(top), np.float32(bottom) - z)
        canvas.paint(box, np.maximum(np.maximum(np.abs(arch) - np.float32(5.2), slab), behind), "cortical")
        inner = np.maximum(np.maximum(np.abs(arch) - np.float32(3.6), slab), behind)
        canvas.paint(box, inner, tissue)
    gaps = np.float32(2.6) * np.abs(np.cos(angle * np.float32(9.5)))
    for top, bottom in ((-72.0, -83.5), (-84.5, -96.0)):
        crown = np.maximum(z - np.float32(top), np.float32(bottom) - z)
        waist = np.float32(3.9) - np.clip(gaps - 1.4, 0, 2)
        canvas.paint(box, np.maximum(np.maximum(np.abs(arch) - waist, crown), behind), "tooth")
    palate = np.maximum(
        np.maximum(np.abs(z + 66) - np.float32(1.6), _ellipsoid((x, y, z * 0 - 66), (0, 56, -66), (25, 36, 9))), 30 - y
    )
    canvas.paint(box, palate, "cortical")
    _bone_tube(
        canvas,
        [(50, -4, -47), (49, 4, -66), (47, 10, -92), (36, 40, -103 * j), (20, 70, -107 * j), (0, 80, -109 * j)],
        [4.5, 4.0, 5.0, 6.0, 7.0, 8.0],
        2.0,
    )
    _bone_tube(canvas, [(47, 24, -58), (48, 14, -80)], [2.6, 4.0], 1.6)

    _bone_tube(canvas, [(0, -21, -84), (0, -20, -70)], [6.5, 5.0], 1.5, mirrored=False)
    ring: list[Point] = [(0, -13, -73), (14, -18, -73), (21, -32, -73), (16, -48, -73), (0, -57, -73)]
    _bone_tube(canvas, ring, [4.5, 6, 7.5, 4.5, 4.5], 1.5)
    for level in (-94.0, -111.0, -128.0):
        box = canvas.box((-24, -70, level - 12), (24, -5, level + 10))
        q = tuple(c[box] for c in canvas.q)
        column = np.sqrt((q[0] / 11) ** 2 + ((q[1] + 20) / 8.5) ** 2) * 9.5 - 9.5
        canvas.paint(box, np.maximum(column, np.abs(q[2] - np.float32(level)) - np.float32(8.6)), "disc")
        canvas.paint(box, np.maximum(column, np.abs(q[2] - np.float32(level)) - np.float32(6.6)), "cortical")
        canvas.paint(box, np.maximum(column + 1.4, np.abs(q[2] - np.float32(level)) - np.float32(5.4)), "marrow")
        arch_points: list[Point] = [(11, -26, level), (20, -36, level), (12, -50, level - 3), (0, -60, level - 6)]
        _bone_tube(canvas, arch_points, [4, 5.5, 3.2, 3.6], 1.5)
    canal = [(0, -38, -56), (0, -37, -72), (0, -38, -100), (0, -38, -150)]
    _tube(canvas, canal, [14, 10.5, 9, 8.5], "csf", mirrored=False)  # type: ignore[arg-type]


def _arch(x: Array, y: Array) -> Array:
    """Distance to the dental arch in the axial plane, negative inside it."""
    u, v = x / 25, (y - 48) / 39
    norm = np.sqrt(u * u + v * v)
    return norm * (norm - 1) / (np.sqrt((u / 25) ** 2 + (v / 39) ** 2) + np.float32(1e-6))


def _air_spaces(canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Paranasal sinuses, nasal cavity, pharynx, mouth and ear canals."""
    s = anatomy.frontal_sinus
    uneven = float(rng.uniform(0.75, 1.25))
    for box, q, sign in _both_sides(canvas, (0, 55, -25), (32, 92, 34)):
        size = s * (uneven if sign > 0 else 1 / uneven)
        bone = _ellipsoid(q, (12 * size**0.5, 76, -8 + 5 * size), (14 * size, 6, 18 * size), 12)
        canvas.paint(box, bone - np.float32(2.2), "cortical")
        lobes = np.float32(1.4) * np.cos(q[0] / np.float32(2.6))
        canvas.paint(box, np.maximum(bone + np.maximum(lobes, 0), np.float32(0.8) - q[0]), "air")
    for box, q, sign in _both_sides(canvas, (8, 30, -76), (50, 84, -32)):
        antrum = _ellipsoid(q, (28, 58, -53), tuple(r * anatomy.maxillary_sinus for r in (15, 18, 17)))  # type: ignore[arg-type]
        canvas.paint(box, antrum, "mucosa")
        lining = 0.8 + 4.0 * max(anatomy.sinus_fluid - 0.6, 0) * (sign > 0)
        level = -90.0 + 42.0 * max(anatomy.sinus_fluid - 0.5, 0) * (sign < 0)
        canvas.paint(box, np.maximum(antrum + np.float32(lining), np.float32(level + 26) - q[2] - 6), "air")

    box = canvas.box((-16, 22, -66), (16, 108, -18))
    x, y, z = (c[box] for c in canvas.q)
    ax = np.abs(x)
    width = 3.0 + 10.0 * _step(-z, 34, 50)
    cavity = np.maximum(np.maximum(ax - width, np.abs(y - 62) - 34), np.maximum(z + 30, np.float32(-64) - z))
    cavity = np.maximum(cavity, y - (97 - 0.5 * (z + 60)))
    canvas.paint(box, cavity, "mucosa")
    septum = np.abs(x + np.float32(rng.normal(0, 1.5)) * np.sin((y - 40) / 20)) - np.float32(1.1)
    conchae = np.minimum(
        _ellipsoid((ax, y, z), (8.5, 64, -55), (4.2, 24, 5.5)), _ellipsoid((ax, y, z), (6.5, 58, -44), (2.4, 18, 5.0))
    )
    canvas.paint(box, np.maximum(cavity + 1.0, np.maximum(-septum, -conchae)), "air")
    ethmoid = np.maximum(np.maximum(ax - (6.5 + 0.09 * (78 - y)), np.abs(y - 53) - 20), np.abs(z + 31) - 10)
    canvas.paint(box, ethmoid, "cortical", 0.6)
    cells = _tiled(_band_noise(rng, 48, WORK_MM, 11.0, 0.25), x.shape)
    walls = np.float32(1.1) - np.abs(cells) * np.float32(4.5)
    canvas.paint(box, np.maximum(ethmoid + 0.8, np.maximum(walls, np.float32(1.2) - ax)), "air")
    canvas.paint(box, np.maximum(_chain((ax, y, z), [(6, 92, -62), (6, 102, -63)], [4.2, 3.8]), -100 + 0 * ax), "air")

    for box, q, sign in _both_sides(canvas, (0, 8, -50), (22, 40, -22)):
        sphenoid = _ellipsoid(q, (7, 22, -37), (10 + 2 * sign * (uneven - 1), 12, 9))
        canvas.paint(box, sphenoid - np.float32(1.8), "cortical")
        canvas.paint(box, np.maximum(sphenoid, np.float32(0.7) - q[0]), "air")
    box = canvas.box((-20, -12, -150), (20, 50, -44))
    q = tuple(c[box] for c in canvas.q)
    pharynx = _chain(
        (q[0] * 0.75, q[1], q[2]),
        [(0, 26, -54), (0, 17, -66), (0, 8, -84), (0, 4, -110), (0, 4, -150)],
        [9, 8, 5, 6, 7],
    )
    canvas.paint(box, pharynx - np.float32(2.0), "mucosa")
    canvas.paint(box, pharynx, "air")
    _blob(canvas, (0, 56, -69.5), (15, 24, 1.6), "air", mirrored=False)
    _tube(canvas, [(84, -20, -38), (66, -21, -38), (48, -20, -37)], [4.0, 3.0, 3.2], "air")
    _blob(canvas, (46, -20, -34), (3, 4, 6), "air")


def _orbits(canvas: _Canvas) -> None:
    """Orbital fat, globes with lens, optic nerves and eye muscles."""
    for box, q, _ in _both_sides(canvas, (4, 16, -58), (58, 90, -8)):
        socket = _chain(q, [(15, 32, -31), (33, 66, -34), (35, 80, -35)], [3.5, 17.5, 18.5])
        canvas.paint(box, np.maximum(socket, q[1] - np.float32(80) + np.float32(0.35) * (q[0] - 10)), "fat")
        for dx, dz in ((0, 11), (0, -11), (11, 0), (-10, 0)):
            points: list[Point] = [(17, 34, -31), (31 + 0.9 * dx, 58, -34 + 0.9 * dz), (33 + dx, 72, -34 + dz)]
            canvas.paint(box, _chain(q, points, [1.6, 2.4, 1.3]), "muscle")
        canvas.paint(box, _chain(q, [(8, 18, -26), (17, 34, -31), (31, 57, -34)], [2, 2, 2.1]), "white")
        globe = _ellipsoid(q, (33, 68.5, -34), (12.2, 12.2, 12.2))
        canvas.paint(box, globe, "sclera")
        canvas.paint(box, globe + np.float32(1.4), "vitreous")
        canvas.paint(box, _ellipsoid(q, (33.5, 77, -34), (4.6, 2.2, 4.6)), "lens")


# ---- the brain ----


def _tentorium_height(ax: Array, y: Array) -> Array:
    """Height (mm) of the tentorium above each point; far below the brain in front of it."""
    spread = np.sqrt(ax * ax + 160) - 12.6
    height = 3 - np.float32(0.62) * spread + np.float32(0.0024) * spread * spread
    height = height - np.float32(0.0035) * np.maximum(-40 - y, 0) ** 2
    # in front it ends along the ridges of the petrous bones
    return height - np.float32(2.0) * np.maximum(y + 9 + np.float32(0.40) * ax, 0)


def _brain(canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator, cavity: Array) -> None:
    """CSF, dura, cerebrum with its folds, deep nuclei, ventricles, brain stem, cerebellum and lesions."""
    box = tuple(slice(s.start, s.stop - 1 + (s.stop - s.start) % 2) for s in canvas.box((-72, -108, -72), (72, 74, 80)))
    x, y, z = q = tuple(c[box] for c in canvas.q)
    cavity = cavity[box]
    ax = np.abs(x)
    inside = np.clip(0.5 - cavity / np.float32(WORK_MM), 0, 1)
    canvas.blend(box, inside, *canvas.tissues["csf"])
    canvas.paint(box, np.maximum(cavity, -cavity - np.float32(1.1)), "dura", 0.8)

    tent = _tentorium_height(ax, y) + np.float32(1.3) * _smooth_noise(rng, (*x.shape[:2], 1), WORK_MM, 45.0)
    drift = np.float32(1.8) * _smooth_noise(rng, (1, x.shape[1], x.shape[2]), WORK_MM, 60.0)
    mid = np.abs(x + drift)
    core = np.maximum((np.sqrt(((y + 6) / 37) ** 2 + ((z - 1) / 26) ** 2) - 1) * np.float32(28), -8 - z)
    _cerebrum(canvas, anatomy, rng, box, q, cavity, tent, mid, core)

    falx = np.maximum(np.maximum(mid - np.float32(0.4), np.float32(9.0) - core - 0.12 * (y + 6)), cavity)
    falx = np.maximum(falx, -6 - z)
    canvas.paint(box, falx, "dura", 0.8)
    sinus_box = canvas.box((-8, -108, -16), (8, 74, 80), 3.0)
    sq = tuple(c[sinus_box] for c in canvas.q)
    sinus = np.maximum(np.float32(-6) + np.abs(sq[0]) * 1.3 - _vault(sq), np.maximum(_vault(sq) + 0.6, -14 - sq[2]))
    canvas.paint(sinus_box, sinus, "blood")

    _deep_brain(canvas, anatomy, q, box, mid, core)
    front, top = (canvas.box((0, 0, 10), (0, 0, 10), 0.0)[i].start - box[i].start for i in (1, 2))
    under = (slice(None), slice(0, front), slice(0, top))
    low = tuple(slice(s.start, s.start + n) for s, n in zip(box, x[under].shape, strict=True))
    _posterior_fossa(canvas, anatomy, rng, low, (x[under], y[under], z[under]), cavity[under], tent[under])
    _ventricles(canvas, anatomy)
    _calcifications(canvas, anatomy, rng)
    brain = inside * np.clip((-cavity - 2.5) / 2, 0, 1)
    for lesion in anatomy.lesions:
        _lesion(canvas, lesion, rng, brain, box)


def _cerebrum(
    canvas: _Canvas,
    anatomy: Anatomy,
    rng: np.random.Generator,
    box: tuple[slice, ...],
    q: tuple[Array, Array, Array],
    cavity: Array,
    tent: Array,
    mid: Array,
    core: Array,
) -> None:
    """Cortex and white matter.

    The pial surface is everything nearest to the brain's hull, to the fissures and to the sulci. Sulci are sheets that
    run inwards from the zero crossings of a noise of one wavelength, known along the direction from the centre of each
    hemisphere; their depth varies. Grey matter is what lies within a cortical thickness of that surface.
    """
    x, _, z = q
    ax = np.abs(x)
    outside = np.maximum(cavity + np.float32(anatomy.gap_mm), tent - z + np.float32(1.2))
    outside = np.maximum(outside, np.float32(0.5 + 0.4 * anatomy.sulcus_mm) - mid - np.maximum(-core, 0))
    hull = -outside

    # directions and fissures are smooth: every second voxel is enough to know them
    hx, hy, hz = (np.ascontiguousarray(c[::2, ::2, ::2]) for c in q)
    wobble = partial(_smooth_noise, rng, hx.shape, 2 * WORK_MM)
    u, v, w = (np.abs(hx) - 27) / 41, (hy + 17) / 87, (hz - 6) / 66
    norm = np.maximum(np.sqrt(u * u + v * v + w * w), 0.25)
    out = np.float32(0.72) / norm + np.float32(0.28)
    points = [27 + u * out * 41, -17 + v * out * 87, 6 + w * out * 66]
    points = [_doubled(p + np.float32(2.2) * wobble(26.0)) for p in points]
    points[0] *= np.sign(x + np.float32(1e-3))
    across = np.abs(hz + 4 + np.float32(0.42) * (hy - 5) + np.float32(2.5) * wobble(28.0)) * np.float32(0.9)
    hax = np.abs(hx)
    sylvian = np.sqrt(across**2 + np.maximum(np.abs(hy + 7) - 32, 0) ** 2 + np.maximum(39 - hax, 0) ** 2)
    bowl = (
        hax
        - 40
        + np.float32(1.6) * wobble(22.0)
        + np.float32(0.006) * (hy - 2) ** 2
        + np.float32(0.012) * (hz - 3) ** 2
    )
    beyond = (np.sqrt(((hy - 1) / 21) ** 2 + ((hz - 3) / 14) ** 2) - 1) * 16
    insula = np.sqrt(bowl**2 + np.maximum(beyond, 0) ** 2)
    fissure = _doubled(np.minimum(sylvian, insula)) - np.float32(0.5 + 0.9 * anatomy.sulcus_mm)

    texture = _band_noise(rng, 112, 2.2, 22.0, 0.17)
    index = np.stack([(p + np.float32(120)) / np.float32(2.2) for p in points])
    fold = ndimage.map_coordinates(texture, index, order=1, mode="grid-wrap", output=np.float32)
    slopes = np.gradient(fold, WORK_MM)
    steepness = np.sqrt(slopes[0] ** 2 + slopes[1] ** 2 + slopes[2] ** 2)
    sheet = np.abs(fold) / np.maximum(steepness, 0.10)
    reach = np.clip(16 + np.float32(6) * _smooth_noise(rng, x.shape, WORK_MM, 36.0), 4, 25)
    central = np.minimum(np.maximum(-core, 0), np.maximum(32 - ax, 0))
    sheet = np.sqrt(sheet**2 + np.maximum(hull - reach, 0) ** 2 + (np.float32(1.5) * central) ** 2)
    wide = np.float32(anatomy.sulcus_mm) * np.clip(1.25 - hull / 22, 0.3, 1.25)

    surface = _smooth_min(_smooth_min(hull, sheet - wide, 2.5), fissure, 2.0)
    shrink = np.float32(0.5)
    edge = np.float32(WORK_MM)
    alpha = np.clip(0.5 + (surface - shrink) / edge, 0, 1) * np.clip(0.5 + hull / edge, 0, 1)
    canvas.blend(box, alpha, *canvas.tissues["grey"])
    cortex = np.float32(2.7) + np.float32(0.35) * _smooth_noise(rng, x.shape, WORK_MM, 35.0)
    thin = np.maximum(surface - shrink - cortex, np.minimum(np.minimum(-core - 7, 30 - ax), 3))
    white = np.clip(0.5 + thin / np.float32(1.5), 0, 1) * alpha
    canvas.blend(box, white, *canvas.tissues["white"])


def _deep_brain(
    canvas: _Canvas,
    anatomy: Anatomy,
    q: tuple[Array, Array, Array],
    box: tuple[slice, ...],
    mid: Array,
    core: Array,
) -> None:
    """Corpus callosum, basal ganglia, thalamus, hippocampus and the basal cisterns."""
    _, y, z = q
    thick = np.float32(5.5) + np.float32(3.0) * _step(np.abs(y + 6), 24, 36)
    callosum = np.maximum(np.maximum(core + 0.6, -core - thick), np.maximum(mid - 14, 0 - z - 0.15 * (y + 6)))
    canvas.paint(box, callosum, "white")
    _blob(canvas, (9, -3, -8), (8, 12, 8), "grey")
    _blob(canvas, (10.5, -17, 6), (8.5, 14, 8.5), "deep_grey", pitch=-12)
    for small, sq, _ in _both_sides(canvas, (6, -30, -16), (36, 30, 30)):
        lens = (sq[0] - np.float32(0.25) * (sq[1] - 4), sq[1], sq[2])
        canvas.paint(small, _ellipsoid(lens, (26, 3, 1), (6, 17, 11)), "deep_grey")
        canvas.paint(small, _ellipsoid(lens, (20.5, -1, -1), (4.2, 10, 7)), "pallidum")
        canvas.paint(
            small, _chain(sq, [(11, 22, 2), (13, 12, 12), (17, -8, 20), (20, -22, 21)], [6, 5.5, 3.5, 2.0]), "deep_grey"
        )
    _tube(canvas, [(21, -6, -19), (25, -18, -15), (26, -30, -8)], [5.5, 4.5, 3.5], "grey")
    _blob(canvas, (0, 4, -18), (13, 10, 7), "csf", mirrored=False)
    _blob(canvas, (0, -33, -6), (11, 6, 9), "csf", mirrored=False)
    _tube(canvas, [(7, 10, -13), (0, 4, -13.5)], [2.0, 1.6], "white")
    _tube(canvas, [(0, 2, -14), (0, 3, -25)], [1.4, 1.2], "grey", mirrored=False)
    _blob(canvas, (0, 5, -29), (6, 4.5, 4), "gland", mirrored=False)


def _posterior_fossa(
    canvas: _Canvas,
    anatomy: Anatomy,
    rng: np.random.Generator,
    box: tuple[slice, ...],
    q: tuple[Array, Array, Array],
    cavity: Array,
    tent: Array,
) -> None:
    """Cerebellum with folia, brain stem and the cisterns around them."""
    x, y, z = q
    ax = np.abs(x)
    roof = np.maximum(np.abs(z - tent) - np.float32(0.7), np.maximum(cavity, y + 24))
    canvas.paint(box, np.maximum(roof, 10 - ax - 0.9 * np.maximum(-48 - y, 0)), "dura", 0.9)
    lobes = _ellipsoid((ax, y, z), (22, -62, -33), (37, 38, 32))
    vermis = _ellipsoid((ax, y, z), (0, -61, -26), (16, 31, 30))
    hull = np.maximum(_smooth_min(lobes, vermis, 6), np.maximum(z - tent + 2.2, cavity + 1.8))
    radius = np.sqrt((y + 42) ** 2 + (z + 30) ** 2) + 1e-3
    turn = np.arctan2(z + 30, -(y + 42))
    waves = turn * (10 + 0.03 * ax) + np.float32(0.9) * _smooth_noise(rng, x.shape, WORK_MM, 24.0)
    folia = np.abs(np.sin(waves)) * radius / 10.0
    depth = np.maximum(-hull - 16 - np.float32(3) * _smooth_noise(rng, x.shape, WORK_MM, 18.0), 0)
    fissures = np.sqrt(folia**2 + depth**2) - np.float32(0.3 * anatomy.sulcus_mm)
    surface = _smooth_min(-hull, fissures, 1.5)
    edge = np.float32(WORK_MM)
    alpha = np.clip(0.5 - hull / edge, 0, 1) * np.clip(0.75 + surface / edge, 0.25, 1)
    canvas.blend(box, alpha, *canvas.tissues["grey"])
    canvas.blend(box, np.clip(0.5 + (surface - 1.9) / 1.8, 0, 1) * alpha, *canvas.tissues["white"])

    moat = _chain((ax, y, z), [(0, -24, -6), (0, -25, -32), (0, -33, -52)], [19, 19, 13])
    canvas.paint(box, np.maximum(np.maximum(moat, cavity), y + 30), "csf")
    canvas.paint(
        box,
        np.maximum(_chain((ax, y, z), [(6, -14, -2), (9, -18, -12), (9, -24, -20)], [8, 8, 9]), -10 - ax),
        "brain_stem",
    )
    canvas.paint(box, _ellipsoid((ax, y, z), (0, -24, -32), (17, 12.5, 14)), "brain_stem")
    canvas.paint(box, _chain((ax, y, z), [(12, -28, -32), (20, -44, -33)], [8, 7]), "brain_stem")
    spine = canvas.box((-12, -60, -150), (12, -18, -30))
    sq = tuple(c[spine] for c in canvas.q)
    medulla = _chain(
        (sq[0], sq[1], sq[2]), [(0, -28, -42), (0, -34, -58), (0, -37, -74), (0, -38, -150)], [8.5, 7, 5.2, 5]
    )
    canvas.paint(spine, medulla, "brain_stem")
    _blob(canvas, (0, -40, -33), (6, 4.5, 11), "csf", mirrored=False, pitch=-12)
    _tube(canvas, [(0, -30, -2), (0, -36, -26)], [1.3, 1.4], "csf", mirrored=False)
    _blob(canvas, (0, -56, -62), (8, 10, 5), "csf", mirrored=False)


def _ventricles(canvas: _Canvas, anatomy: Anatomy) -> None:
    """Lateral and third ventricles with the choroid plexus; larger with age."""
    for box, q, sign in _both_sides(canvas, (0, -76, -26), (46, 40, 38), 6.0):
        f = anatomy.ventricles * (1 + sign * anatomy.ventricle_asymmetry)
        horn: list[Point] = [(9, 31, 3), (6.5, 20, 11), (6.8, 2, 19), (11, -20, 21), (24, -38, 11)]
        lateral = _chain(
            (q[0] - np.float32(2.6 * (f - 1)), q[1], q[2]), horn, [3.0 * f, 6.2 * f, 5.6 * f, 5.8 * f, 8.0 * f], 0.78
        )
        tail = _chain(q, [(23, -37, 10), (25, -52, 6), (24, -66, 4)], [6.5 * f, 4.6 * f, 1.4 * f], 0.7)
        temporal = _chain(
            q, [(23, -37, 10), (31, -31, -6), (32, -16, -15), (29, -4, -18)], [5 * f, 2.8 * f, 1.9 * f, 1.4 * f]
        )
        whole = _smooth_min(_smooth_min(lateral, tail, 3), temporal, 3)
        canvas.paint(box, np.maximum(whole, np.float32(0.6) - q[0]), "csf")
        plexus = _chain(q, [(14, -20, 17.5), (22, -37, 8), (26, -36, 4)], [1.2, 2.4, 1.6])
        canvas.paint(box, np.maximum(plexus, whole), "gland", 0.7)
    f = anatomy.ventricles
    _blob(canvas, (0, -12, 2), (1.2 + 1.2 * f, 14, 10), "csf", mirrored=False, pitch=20)


def _calcifications(canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """Pineal gland, choroid plexus and, in some old people, pallidum and falx."""
    canvas_age = anatomy.age
    if rng.random() < 0.3 + 0.6 * canvas_age:
        _blob(canvas, (0, -33, 3), tuple(rng.uniform(1.4, 2.8, 3)), "calcification", mirrored=False)  # type: ignore[arg-type]
    if rng.random() < 0.2 + 0.7 * canvas_age:
        _blob(canvas, (23, -38, 7), tuple(rng.uniform(1.2, 2.6, 3)), "calcification")  # type: ignore[arg-type]
    if anatomy.calcified_pallidum:
        _blob(canvas, (20, -2, -1), tuple(rng.uniform(1.5, 3.5, 3)), "calcification")  # type: ignore[arg-type]
    if rng.random() < 0.3 * canvas_age:
        _blob(canvas, (0, float(rng.uniform(0, 40)), 56), (1.3, 7, 3), "calcification", mirrored=False)


def _lesion(canvas: _Canvas, lesion: Lesion, rng: np.random.Generator, brain: Array, box: tuple[slice, ...]) -> None:
    """Paint one lesion, inside the brain alone."""
    q = tuple(c[box] for c in canvas.q)
    ragged = _smooth_noise(rng, brain.shape, WORK_MM, 16.0) + np.float32(0.5) * _smooth_noise(
        rng, brain.shape, WORK_MM, 8.0
    )
    distance = _ellipsoid(q, lesion.centre_mm, lesion.radii_mm) + np.float32(0.12 * min(lesion.radii_mm)) * ragged
    fluid_t1, fluid_hu = canvas.tissues["csf"]
    halo = np.clip(1 - np.maximum(distance + 3 * ragged, 0) / np.float32(9), 0, 1) * brain
    # oedema spreads along white matter: grey matter and CSF are as they were
    is_white = np.clip((canvas.t1[box] - 0.62) / 0.12, 0, 1)
    if lesion.kind == "infarct":
        canvas.blend(box, np.clip(0.5 - distance / np.float32(2.5), 0, 1) * brain, *canvas.tissues["infarct"])
        return
    canvas.blend(box, halo * is_white * 0.42, fluid_t1, fluid_hu)
    if lesion.kind == "tumour":
        canvas.paint(box, distance, "tumour", brain)
        canvas.paint(box, distance + np.float32(0.42 * min(lesion.radii_mm)) + ragged, "necrosis", brain)
    else:
        canvas.paint(box, distance, "haemorrhage_rim", brain)
        canvas.paint(box, distance + np.float32(2.0), "haemorrhage", brain)


# ---- scanners ----


def _rigid(rotation_deg: Array, translation_mm: Array) -> Array:
    """4x4 rotation about the origin (x, then y, then z, in degrees) followed by a translation (mm)."""
    a, b, c = np.deg2rad(rotation_deg)
    rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = rz @ ry @ rx
    matrix[:3, 3] = translation_mm
    return matrix


def _scan_grid(low: Array, high: Array, spacing: Array, orientation: str, tilt: Array) -> tuple[tuple[int, ...], Array]:
    """Shape and affine of a grid that covers `low`..`high` (mm, RAS) with its axes named by `orientation`.

    `spacing` is along x, y, z of the patient; `tilt` is the 4x4 by which the scanner's box is turned in the world.
    """
    size = np.ceil((high - low) / spacing).astype(int)
    shape, columns, origin = [], [], low.astype(float).copy()
    for letter in orientation:
        axis = next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        forward = letter in "RAS"
        column = np.zeros(3)
        column[axis] = spacing[axis] if forward else -spacing[axis]
        if not forward:
            origin[axis] = low[axis] + (size[axis] - 1) * spacing[axis]
        shape.append(int(size[axis]))
        columns.append(column)
    affine = np.eye(4)
    affine[:3, :3] = np.stack(columns, axis=1)
    affine[:3, 3] = origin
    return tuple(shape), tilt @ affine


def _sample(
    volume: Array, volume_affine: Array, shape: tuple[int, ...], affine: Array, thickness: float, fill: float
) -> Array:
    """Linear sampling of `volume` on another grid after averaging along the head's z over `thickness` mm."""
    if thickness > 1.5 * WORK_MM:
        volume = ndimage.uniform_filter1d(volume, max(round(thickness / WORK_MM), 1), axis=2, mode="nearest")
    to_voxel = np.linalg.inv(volume_affine) @ affine
    return ndimage.affine_transform(
        volume, to_voxel[:3, :3], to_voxel[:3, 3], output_shape=shape, order=1, cval=fill, output=np.float32
    )


def render_mr(
    t1: Array, head_affine: Array, pose: Array, rng: np.random.Generator, orientation: str | None = None
) -> nib.Nifti1Image:
    """A T1-weighted scan of a painted head.

    Parameters
    ----------
    t1, head_affine
        As `tissue_maps` gives them.
    pose
        4x4 rigid, head mm -> scanner RAS mm.
    orientation
        Axis codes of the file, drawn where not given.
    """
    orientation = orientation or str(rng.choice(MR_ORIENTATIONS))
    in_plane, slices = rng.uniform(1.0, 1.3), rng.uniform(1.1, 1.6)
    through = next(i for i, pair in enumerate(("RL", "AP", "SI")) if orientation[2] in pair)
    spacing = np.full(3, in_plane)
    spacing[through] = slices
    spacing = np.round(spacing, 4)
    low = np.array([-90.0, -122.0, rng.uniform(-122, -62)]) + rng.uniform(-3, 3, 3)
    high = np.array([90.0, 118.0, 101.0]) + rng.uniform(-2, 6, 3)
    tilt = _rigid(rng.normal(0, 2.0, 3), pose[:3, 3])
    shape, affine = _scan_grid(low, high, spacing, orientation, tilt)
    signal = _sample(t1, pose @ head_affine, shape, affine, 0.0, 0.0)
    bias = sum(_smooth_noise(rng, shape, 1.2, w) * a for w, a in ((260.0, 0.55), (140.0, 0.2)))
    bias = np.clip(bias, -1.3, 1.3)
    signal *= 1 + np.float32(rng.uniform(0.10, 0.28)) * bias
    sigma = np.float32(rng.uniform(0.008, 0.026))
    real = signal + sigma * rng.standard_normal(shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(shape, dtype=np.float32)
    magnitude = np.sqrt(real * real + imaginary * imaginary)
    factor = float(np.exp(rng.uniform(np.log(0.3), np.log(20.0))))
    values = magnitude * np.float32(100 * factor)
    # where the scale is too small for integers, sixteenths keep the files small
    stored = np.rint(values).astype(np.int16) if factor > 2 else np.rint(values * np.float32(16)) / np.float32(16)
    return _image(stored, affine)


def render_ct(
    hu: Array, head_affine: Array, pose: Array, rng: np.random.Generator, orientation: str | None = None
) -> nib.Nifti1Image:
    """A CT scan of a painted head, int16 HU; parameters as for `render_mr`."""
    orientation = orientation or str(rng.choice(CT_ORIENTATIONS))
    in_plane = float(np.round(rng.uniform(0.96, 1.0), 4))
    thickness = float(rng.choice([1.5, 2.0, 2.5, 3.0], p=[0.1, 0.3, 0.3, 0.3]))
    field = 248 * in_plane
    side = field / 2
    table = float(rng.uniform(-6, 4))
    low = np.array([-side, -side - 6 + table, rng.uniform(-112, -58)])
    high = np.array([side, side - 6 + table, rng.uniform(100, 108)])
    tilt = _rigid(np.zeros(3), pose[:3, 3])
    shape, affine = _scan_grid(low, high, np.array([in_plane, in_plane, thickness]), orientation, tilt)
    volume = _sample(hu, pose @ head_affine, shape, affine, thickness, -1000.0)

    x, y = _in_plane_coordinates(shape, affine, tilt)
    middle_y = (low[1] + high[1]) / 2
    if rng.random() < 0.7:
        holder = _head_holder(x, y, back=float(rng.uniform(-122, -118)), rng=rng)
        volume = np.where(volume < -900, np.maximum(volume, holder), volume)
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), 0.6, axes=(0, 1))
    noise *= np.float32(rng.uniform(3.0, 7.5) / noise.std())
    # fewer photons are lost in air: its noise is lower
    volume += noise * np.where(volume < -900, np.float32(0.5), np.float32(1))
    volume = np.maximum(volume, -1024)
    padding = _draw_padding(rng)
    if padding is not None:
        outside = (x**2 + (y - middle_y) ** 2) > side**2
        volume = np.where(outside, np.float32(padding), volume)
    return _image(np.rint(volume).astype(np.int16), affine)


def _draw_padding(rng: np.random.Generator) -> float | None:
    """HU that a scanner writes outside its scan circle, often below -1024; None where it fills the square."""
    return [None, -1024.0, -1500.0, -2000.0, -3024.0][int(rng.choice(5, p=[0.35, 0.25, 0.15, 0.20, 0.05]))]


def _in_plane_coordinates(shape: tuple[int, ...], affine: Array, tilt: Array) -> tuple[Array, Array]:
    """The scanner's x and y (mm) of every voxel, broadcastable to `shape`."""
    local = np.linalg.inv(tilt) @ affine
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    x, y = (sum(np.float32(local[i, j]) * grids[j] for j in range(3)) + np.float32(local[i, 3]) for i in range(2))
    return x, y


def _head_holder(x: Array, y: Array, back: float, rng: np.random.Generator) -> Array:
    """HU of a curved head rest with a carbon shell and foam, -1000 elsewhere."""
    radius = float(rng.uniform(105, 125))
    depth = np.sqrt(x**2 + (y - (back + radius)) ** 2) - radius
    reach = np.float32(rng.uniform(-90, -40))
    shell = np.clip(0.5 - (np.abs(depth - 2) - 1.6), 0, 1) * np.clip(reach - y, 0, 1)
    return np.float32(-1000) + shell * np.float32(rng.uniform(600, 1150))


def _image(data: Array, affine: Array) -> nib.Nifti1Image:
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    return image


def _write_nifti(image: nib.Nifti1Image, path: Path) -> None:
    """Write .nii.gz without a time stamp or a file name, so that equal volumes are equal files."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(image.to_bytes(), compresslevel=2, mtime=0))


# ---- the sample ----


def _draw_pose(rng: np.random.Generator) -> Array:
    """How a head lies in a scanner."""
    return _rigid(rng.normal(0, [4.0, 2.0, 3.0]), rng.normal(0, [4.0, 8.0, 10.0]))


def _make_subject(task: tuple[str, str, int, int], folder: Path) -> list[dict[str, object]]:
    """Write one subject's volumes; returns its RAW_VOLUMES rows."""
    subject, kind, seed, index = task
    rng = np.random.default_rng([seed, index])
    anatomy = draw_anatomy(rng)
    t1, hu, head_affine = tissue_maps(anatomy)
    pose = _draw_pose(rng)
    rows: list[dict[str, object]] = []
    paired = kind == "paired"

    def save(image: nib.Nifti1Image, modality: str) -> None:
        name = f"{subject}_{modality.lower()}"
        path = folder / "paired" / f"{name}.nii.gz" if paired else folder / modality.lower() / f"{subject}.nii.gz"
        _write_nifti(image, path)
        row = {"volume_id": name, "subject_id": subject, "modality": modality, "path": path.as_posix()}
        rows.append(row | {"mask_path": "", "paired": paired})

    if kind in ("MR", "paired"):
        save(render_mr(t1, head_affine, pose, rng), "MR")
    if paired:
        motion = _rigid(
            rng.uniform(1.0, 4.0, 3) * rng.choice([-1, 1], 3), rng.uniform(1.5, 5.0, 3) * rng.choice([-1, 1], 3)
        )
        lesions = [asdict(lesion) | {"side": lesion.side} for lesion in anatomy.lesions]
        truth = {"mr_to_ct": motion.tolist(), "head_to_mr": pose.tolist(), "lesions": lesions}
        write_json(folder / "paired" / f"{subject}_truth.json", truth)
        pose = motion @ pose
    if kind in ("CT", "paired"):
        save(render_ct(hu, head_affine, pose, rng), "CT")
    return rows


def make_head_sample(folder: Path, *, unpaired: int, paired: int, seed: int, processes: int = 2) -> pd.DataFrame:
    """Write the embedded head sample: gzip NIfTI volumes of phantom heads.

    `folder`/mr and `folder`/ct hold `unpaired` subjects each, all different people; `folder`/paired holds `paired`
    subjects with both modalities, which differ by a small rigid motion. That motion is in
    `folder`/paired/<subject>_truth.json as `mr_to_ct` (4x4, RAS mm of the MR -> RAS mm of the CT), beside `head_to_mr`
    and the subject's lesions.

    Parameters
    ----------
    folder
        Where to write; paths in the table begin with it.
    unpaired, paired
        Numbers of subjects.
    seed
        A subject depends on this and on its own number alone, not on `processes`.

    Returns
    -------
    pandas.DataFrame
        Rows of `radsynth.schemas.RAW_VOLUMES`: MR, then CT, then paired.
    """
    import pandas as pd

    tasks = [(f"mr{i:03d}", "MR", seed, i) for i in range(unpaired)]
    tasks += [(f"ct{i:03d}", "CT", seed, 10_000 + i) for i in range(unpaired)]
    tasks += [(f"both{i:03d}", "paired", seed, 20_000 + i) for i in range(paired)]
    folder = Path(folder)
    with mapper(processes) as over:
        done = track(over(partial(_make_subject, folder=folder), tasks), "drawing heads", len(tasks), "subjects")
        rows = [row for subject in done for row in subject]
    columns = ["volume_id", "subject_id", "modality", "path", "mask_path", "paired"]
    return pd.DataFrame(rows, columns=columns)
