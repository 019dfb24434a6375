"""The embedded chest sample: analytic chest X-rays and their reports, stored as the NLM distributes Open-i.

Every study is drawn from its own random stream, (seed, study number), so that the sample does not depend on how
many processes make it. The report is written from the facts that the picture was made of.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter, map_coordinates

from radsynth.files import atomic_path
from radsynth.processes import mapper
from radsynth.progress import track
from radsynth.schemas import FINDING_TRUTH
from radsynth.sources import chest_anatomy as anatomy_of
from radsynth.sources.chest_anatomy import MU_BONE, MU_SOFT, Anatomy, Frame, Thorax
from radsynth.sources.openi_xml import write_openi_xml
from radsynth.sources.report_writer import Finding, write_report

Array = NDArray[np.float32]

MASK_SIZE = 256
MASK_THRESHOLD = 0.035
"""Change of a line integral (natural-log units) above which a pixel belongs to a finding's mask."""

RATES = {
    "effusion": 0.15,
    "cardiomegaly": 0.15,
    "atelectasis": 0.14,
    "consolidation": 0.14,
    "nodule": 0.12,
    "pneumothorax": 0.12,
    "edema": 0.11,
    "emphysema": 0.11,
    "mass": 0.10,
    "hernia": 0.10,
}
"""Relative frequencies of the findings among abnormal studies."""

NORMAL_SHARE = 0.35
FOLLOW_UP_EVERY = 12
"""Every so many studies one is of the subject of the study before it."""

_EXCLUDES = {
    "emphysema": {"edema", "cardiomegaly"},
    "edema": {"emphysema", "pneumothorax"},
    "cardiomegaly": {"emphysema"},
    "pneumothorax": {"edema"},
    "nodule": {"mass"},
    "mass": {"nodule"},
}
_ZONES = {"upper": (0.13, 0.34), "mid": (0.42, 0.62), "lower": (0.68, 0.88)}


@dataclass(frozen=True)
class Lesion:
    """A finding and where it is: `x`, `z`, `d` in mm in the body's axes; `seed` draws its texture."""

    finding: Finding
    seed: int
    x: float = 0.0
    z: float = 0.0
    d: float = 0.0

    @property
    def sides(self) -> tuple[int, ...]:
        """Indices of the lungs concerned: 0 right, 1 left."""
        return {"right": (0,), "left": (1,)}.get(self.finding.side, (0, 1))


# ---- what a study shows ----


def draw_findings(rng: np.random.Generator) -> list[Finding]:
    """Draw the findings of one study: none in about a third, else one to three that can occur together."""
    if rng.random() < NORMAL_SHARE:
        return []
    count = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.20]))
    names, rates = list(RATES), np.array(list(RATES.values()))
    chosen: list[str] = []
    for name in rng.choice(names, size=len(names), replace=False, p=rates / rates.sum()):
        if len(chosen) < count and not any(name in _EXCLUDES.get(other, ()) for other in chosen):
            chosen.append(str(name))
    taken: set[str] = set()
    findings = []
    for name in chosen:
        finding = _draw_finding(name, rng, taken)
        if finding.side in ("left", "right") and name in ("effusion", "pneumothorax", "consolidation"):
            taken.add(finding.side)
        findings.append(finding)
    return findings


def _draw_finding(name: str, rng: np.random.Generator, taken: set[str]) -> Finding:
    severity = float(rng.beta(1.5, 1.6) * 0.75 + 0.25)
    side = str(rng.choice(["left", "right"]))
    if side in taken:
        side = {"left": "right", "right": "left"}[side]
    zone = str(rng.choice(["upper", "mid", "lower"]))
    if name in ("cardiomegaly", "edema", "emphysema", "hernia"):
        side, zone = "", ""
    if name in ("effusion", "atelectasis"):
        zone = "lower"
        if not taken and rng.random() < 0.22:
            side = "both"
    if name == "consolidation":
        zone = str(rng.choice(["upper", "mid", "lower"], p=[0.27, 0.23, 0.5]))
        if not taken and rng.random() < 0.10:
            side = "both"
    if name == "pneumothorax":
        zone = "upper"
    sizes = {
        "cardiomegaly": 150 + 45 * severity,
        "effusion": 16 + 130 * severity**1.4,
        "pneumothorax": 14 + 50 * severity,
        "consolidation": 50 + 70 * severity,
        "nodule": 10 + 18 * severity,
        "mass": 33 + 32 * severity,
        "atelectasis": 35 + 50 * severity,
        "hernia": 42 + 48 * severity,
    }
    return Finding(name, side, zone, float(sizes.get(name, 0.0)), severity)


def place(finding: Finding, anatomy: Anatomy, rng: np.random.Generator) -> Lesion:
    """Choose where in this person's chest the finding is."""
    seed = int(rng.integers(2**31))
    x = z = d = 0.0
    if finding.finding in ("nodule", "mass", "consolidation"):
        low, high = _ZONES[finding.zone]
        share, across, depth = rng.uniform(low, high), rng.random(), rng.uniform(-0.5, 0.5)
        left = finding.side == "left"
        inner, outer = (0.42, 0.76) if finding.zone != "lower" else ((0.70, 0.84) if left else (0.48, 0.80))
        if finding.zone == "mid" and left:
            inner = 0.5
        if finding.zone == "lower" and left:
            share -= 0.05
        z = share * anatomy.lung_height
        lateral, _ = anatomy_of.lung_outline(anatomy, np.float32(z))
        out = (inner + (outer - inner) * across) * float(lateral)
        margin = 0.5 * finding.size_mm if finding.finding == "mass" else 0.0
        out = min(out, float(lateral) - 0.7 * margin)
        x = out if left else -out
        d = depth * float(anatomy_of.lung_half_depth(anatomy, np.float32(z)))
    if finding.finding == "hernia":
        size = finding.size_mm / 2
        x = rng.uniform(-8, 26)
        z = anatomy.lung_height + anatomy.dome_left + 6 - 0.55 * size
        d = -45.0
    return Lesion(finding, seed, float(x), float(z), float(d))


def change_anatomy(anatomy: Anatomy, lesions: Iterable[Lesion]) -> Anatomy:
    """The anatomy as findings that move organs leave it: heart size, hyperinflation, a raised diaphragm."""
    changed = anatomy
    for lesion in lesions:
        finding, severity = lesion.finding.finding, lesion.finding.severity
        if finding == "cardiomegaly":
            changed = replace(changed, heart_size=1.08 + 0.27 * severity)
        elif finding == "emphysema":
            changed = replace(
                changed,
                dome_right=changed.dome_right + 12 + 20 * severity,
                dome_left=changed.dome_left + 8 + 20 * severity,
                dome_height=changed.dome_height * (0.62 - 0.32 * severity),
                lung_depth=changed.lung_depth * (1.05 + 0.13 * severity),
                lung_density=changed.lung_density * (0.82 - 0.25 * severity),
                heart_size=changed.heart_size * (0.94 - 0.10 * severity),
                heart_angle=changed.heart_angle + 0.25,
                vessel_size=changed.vessel_size * (0.92 - 0.15 * severity),
                rib_drop=changed.rib_drop * (0.88 - 0.15 * severity),
                rib_pitch=changed.rib_pitch * (1.05 + 0.05 * severity),
            )
        elif finding == "atelectasis":
            rise = 5 + 15 * severity
            sides = lesion.sides
            changed = replace(
                changed,
                dome_right=changed.dome_right - rise * (0 in sides),
                dome_left=changed.dome_left - rise * (1 in sides),
            )
    return changed


# ---- the picture ----


@dataclass(frozen=True)
class Fixed:
    """What the findings of a study do not change between two renderings; (H, W) each, mm."""

    body: Array
    gas: Array
    bones: Array
    vessels: tuple[Array, Array]
    texture: Array


def fixed_parts(anatomy: Anatomy, frame: Frame, seed: int) -> Fixed:
    """Project bones, vessels and airways, and draw the lung's fine texture."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(frame.u.shape, dtype=np.float32)
    scale = 1.45 / frame.pixel_mm
    texture = 2.2 * gaussian_filter(noise, 0.8 * scale) + 4.0 * gaussian_filter(noise[::-1], 1.8 * scale)
    return Fixed(
        body=anatomy_of.body(anatomy, frame),
        gas=_gas(anatomy, frame),
        bones=anatomy_of.bones(anatomy, frame),
        vessels=anatomy_of.vessels(anatomy, frame),
        texture=texture,
    )


def _gas(anatomy: Anatomy, frame: Frame) -> Array:
    gas = anatomy_of.airway(anatomy, frame) + anatomy_of.bronchi(anatomy, frame)
    return gas + 0.9 * anatomy_of.bowel_gas(anatomy, frame)


def line_integrals(anatomy: Anatomy, lesions: list[Lesion], frame: Frame, fixed: Fixed, thorax: Thorax) -> Array:
    """Attenuation along every ray, (H, W), in natural-log units.

    `thorax` are the organs of `anatomy` as `change_anatomy` leaves it.
    """
    changed = change_anatomy(anatomy, lesions)
    density = [np.full(frame.u.shape, np.float32(changed.lung_density)) for _ in range(2)]
    vessels = list(fixed.vessels)
    texture = fixed.texture
    extra = np.zeros_like(frame.u)
    for lesion in lesions:
        kind, severity = lesion.finding.finding, lesion.finding.severity
        rng = np.random.default_rng(lesion.seed)
        if kind == "pneumothorax":
            for side in lesion.sides:
                density[side], vessels[side], line = _pneumothorax(
                    changed, frame, thorax, lesion, side, density[side], vessels[side]
                )
                extra += line
        elif kind == "edema":
            texture = texture * np.float32(1 + 1.0 * severity)
            for side in range(2):
                density[side] = density[side] + _edema(changed, frame, side, severity, rng)
                vessels[side] = vessels[side] + severity * gaussian_filter(vessels[side], 1.6) * 0.7
                extra += _septal_lines(frame, thorax, side, severity, rng)
        elif kind == "consolidation":
            for side in lesion.sides:
                density[side] = _raise(density[side], _consolidation(frame, thorax, lesion, side, rng))
        elif kind == "atelectasis":
            for side in lesion.sides:
                extra += _bands(changed, frame, thorax, lesion, side, rng)
        elif kind in ("nodule", "mass"):
            extra += _ball(frame, lesion, rng) * np.float32(0.95)
        elif kind == "hernia":
            extra += _hernia(frame, lesion)[0]
    for lesion in lesions:
        if lesion.finding.finding == "effusion":
            rng = np.random.default_rng(lesion.seed)
            for side in lesion.sides:
                fluid = _effusion(changed, frame, thorax, lesion, side, rng)
                density[side] = _raise(density[side], fluid)
                vessels[side] = vessels[side] * (1 - fluid)
    soft = fixed.body + extra
    for side in range(2):
        air = thorax.air[side]
        aerated = np.clip(air / 35, 0, 1)
        soft = soft - air * (1 - np.minimum(density[side], 1)) + aerated * (vessels[side] + 0.9 * texture)
    return np.maximum(MU_SOFT * (soft - fixed.gas) + MU_BONE * fixed.bones, 0).astype(np.float32)


def _raise(density: Array, share: Array) -> Array:
    """Replace a share of the air that is left by soft tissue."""
    return density + (1 - density) * share


def _smooth_step(value: Array) -> Array:
    t = np.clip(value, 0, 1)
    return t * t * (3 - 2 * t)


def _out(frame: Frame, side: int) -> Array:
    return np.float32((-1.0, 1.0)[side]) * frame.u


def _pneumothorax(
    anatomy: Anatomy, frame: Frame, thorax: Thorax, lesion: Lesion, side: int, density: Array, vessels: Array
) -> tuple[Array, Array, Array]:
    collapse = 0.07 + 0.33 * lesion.finding.severity
    lung = anatomy_of.collapsed_lung(anatomy, frame, side, collapse)
    cavity = np.maximum(thorax.cavity[side], 1e-3)
    share = np.clip(lung / cavity, 0, 1)
    inside = gaussian_filter((lung > 0).astype(np.float32), 0.7 * 1.45 / frame.pixel_mm)
    aerated = np.clip(thorax.air[side] / 25, 0, 1)
    if frame.view == "frontal":
        aerated = aerated * (_out(frame, side) > 38)
    line = 4 * inside * (1 - inside) * aerated * np.float32(6.0)
    return density * (1 + 0.5 * collapse) * share, vessels * inside, line


def _edema(anatomy: Anatomy, frame: Frame, side: int, severity: float, rng: np.random.Generator) -> Array:
    hilum_z = anatomy.hilum_z * anatomy.lung_height + 22
    across = _out(frame, side) - 40 if frame.view == "frontal" else frame.u + 8
    haze = np.exp(-((across / 48) ** 2) - ((frame.z - hilum_z) / 72) ** 2)
    cloud = gaussian_filter(rng.standard_normal(frame.u.shape), 9 * 1.45 / frame.pixel_mm) * 35
    base = 0.05 * _smooth_step((frame.z - 0.4 * anatomy.lung_height) / 120)
    return (severity * (base + haze * (0.34 + 0.05 * cloud)) + 0.07 * haze).astype(np.float32)


def _septal_lines(frame: Frame, thorax: Thorax, side: int, severity: float, rng: np.random.Generator) -> Array:
    edge = thorax.lateral_edge[side]
    total = np.zeros_like(frame.u)
    bottom = rng.uniform(165, 200)
    for step in range(int(4 + 6 * severity)):
        z = bottom - step * rng.uniform(6, 9)
        slope = rng.uniform(-0.15, 0.15)
        total += np.exp(-(((frame.z - z - slope * edge) / 0.9) ** 2)) * _smooth_step((16 - edge) / 6) * (edge > 0)
    return total * np.float32(3.0 + 4 * severity) * np.clip(thorax.air[side] / 20, 0, 1)


def _consolidation(frame: Frame, thorax: Thorax, lesion: Lesion, side: int, rng: np.random.Generator) -> Array:
    size = lesion.finding.size_mm / 2
    mirror = 1.0 if lesion.finding.side != "both" else (-1.0 if (lesion.x > 0) == (side == 0) else 1.0)
    cloud = np.zeros_like(frame.u)
    for _ in range(9):
        offset = rng.normal(0, 0.42, 3) * size
        radius = size * rng.uniform(0.28, 0.62)
        centre = lesion.x * mirror + offset[0] if frame.view == "frontal" else lesion.d + offset[2]
        square = ((frame.u - centre) / radius) ** 2 + ((frame.z - lesion.z - offset[1]) / (0.85 * radius)) ** 2
        cloud += np.exp(-square) * rng.uniform(0.6, 1.0)
    noise = rng.standard_normal(frame.u.shape)
    scale = 1.45 / frame.pixel_mm
    patches = 1.1 + 2.2 * gaussian_filter(noise, 2.6 * scale) + 5 * gaussian_filter(noise[:, ::-1], 5 * scale)
    share = 1 - np.exp(-1.3 * cloud * np.clip(patches, 0.4, 2.2))
    thick = np.clip(1.5 * size / np.maximum(thorax.air[side], 1), 0, 1)
    return (share * thick * (0.42 + 0.45 * lesion.finding.severity)).astype(np.float32)


def _bands(
    anatomy: Anatomy, frame: Frame, thorax: Thorax, lesion: Lesion, side: int, rng: np.random.Generator
) -> Array:
    severity = lesion.finding.severity
    top = anatomy.lung_height + (anatomy.dome_right, anatomy.dome_left)[side]
    total = np.zeros_like(frame.u)
    across = _out(frame, side) if frame.view == "frontal" else frame.u
    for _ in range(1 + int(rng.random() < 0.75) + int(severity > 0.5)):
        length = lesion.finding.size_mm / 2 * rng.uniform(0.75, 1.1)
        centre = rng.uniform(0.5, 0.72) * anatomy.lung_width if frame.view == "frontal" else rng.uniform(-35, 25)
        if side == 1 and frame.view == "frontal":
            centre += 0.10 * anatomy.lung_width
        z, angle = top - rng.uniform(6, 38), rng.uniform(-0.32, 0.22)
        thick = rng.uniform(1.3, 2.3) + 2.2 * severity
        along = np.cos(angle) * (across - centre) + np.sin(angle) * (frame.z - z)
        off = np.cos(angle) * (frame.z - z) - np.sin(angle) * (across - centre) + along**2 / 420
        total += np.exp(-((off / thick) ** 2)) * _smooth_step((length - np.abs(along)) / 14) * (11 + 16 * severity)
    crowded = (1 + 4 * severity) * np.exp(-(((frame.z - top + 4) / 20) ** 2))
    return (total + crowded) * np.clip(thorax.air[side] / 30, 0, 1)


def _ball(frame: Frame, lesion: Lesion, rng: np.random.Generator) -> Array:
    radius = lesion.finding.size_mm / 2
    lobes = [(0.0, 0.0, 0.0, 0.92 * radius)]
    if lesion.finding.finding == "mass":
        for _ in range(5):
            lobes.append((*(rng.normal(0, 0.33, 3) * radius), radius * rng.uniform(0.5, 0.72)))
    total = np.zeros_like(frame.u)
    strength = 1.0
    if lesion.finding.finding == "nodule":
        strength = 2.2 if rng.random() < 0.2 else 1.4  # a fifth is calcified
    for x, z, d, size in lobes:
        centre = (lesion.x + x, lesion.z + z, lesion.d + d)
        radii = (size * rng.uniform(0.92, 1.08), size * rng.uniform(0.92, 1.08), size)
        total = np.maximum(total, 2 * anatomy_of.ellipsoid(frame, centre, radii, rng.uniform(0, 3))[1])
    if lesion.finding.finding == "mass":
        wobble = gaussian_filter(rng.standard_normal((2, *frame.u.shape)), (0, 2.5, 2.5)) * 9
        rows, columns = np.indices(frame.u.shape)
        total = map_coordinates(total, [rows + wobble[0], columns + wobble[1]], order=1, mode="nearest")
    return (0.95 * total * strength).astype(np.float32)


def _hernia(frame: Frame, lesion: Lesion) -> tuple[Array, Array]:
    """Soft tissue that a hernia adds, and the chord through it, mm."""
    rng = np.random.default_rng(lesion.seed)
    size = lesion.finding.size_mm / 2
    centre = (lesion.x, lesion.z, lesion.d)
    radii = (size * rng.uniform(0.95, 1.2), size * rng.uniform(0.85, 1.0), size)
    outer = 2 * anatomy_of.ellipsoid(frame, centre, radii)[1]
    inner = 2 * anatomy_of.ellipsoid(frame, centre, tuple(r - 4 for r in radii))[1]
    level = lesion.z + rng.uniform(-0.25, 0.25) * size
    gas = inner * _smooth_step((level - frame.z) / 2.5 + 0.5)
    tissue = gaussian_filter(0.5 * outer - 0.72 * gas, 0.8 * 1.45 / frame.pixel_mm)
    return tissue.astype(np.float32), outer


def _effusion(
    anatomy: Anatomy, frame: Frame, thorax: Thorax, lesion: Lesion, side: int, rng: np.random.Generator
) -> Array:
    top, rise, _, _ = anatomy_of.diaphragm(anatomy, side)
    bottom = top + 0.32 * rise
    edge = np.clip(thorax.lateral_edge[side], 0, None)
    severity = lesion.finding.severity
    height = lesion.finding.size_mm
    if severity > 0.4 and rng.random() < 0.15:
        veil = 0.16 + 0.30 * severity
        return veil * _smooth_step((frame.z - 0.25 * anatomy.lung_height) / (0.75 * anatomy.lung_height))
    climb = (20 + 44 * severity) * np.exp(-edge / rng.uniform(18, 34))
    medial = 10 * severity * np.exp(-np.clip(_out(frame, side) - 20, 0, None) / 25) if frame.view == "frontal" else 0
    surface = bottom - height - climb - medial
    fade = rng.uniform(14, 26) + 16 * severity
    return (_smooth_step((frame.z - surface) / fade) * np.float32(0.985)).astype(np.float32)


def finding_masks(
    anatomy: Anatomy, lesions: list[Lesion], frame: Frame, fixed: Fixed, thorax: Thorax, integrals: Array
) -> list[NDArray[np.bool_]]:
    """Where each finding shows, as 256x256 boolean masks in the padded square.

    A pixel belongs to a finding where its line integral differs from the same picture's without that finding by more
    than `MASK_THRESHOLD`: upwards, but for pneumothorax downwards. For cardiomegaly it is the heart's outline, for
    emphysema both lungs, for a hernia its outline.
    """
    masks = []
    for index, lesion in enumerate(lesions):
        kind, level = lesion.finding.finding, 0.5
        if kind == "cardiomegaly":
            shown = thorax.heart > 0
        elif kind == "emphysema":
            shown = thorax.air[0] + thorax.air[1] > 30
        elif kind == "hernia":
            shown = _hernia(frame, lesion)[1] > 0
        else:
            others = lesions[:index] + lesions[index + 1 :]
            healthy = thorax
            if change_anatomy(anatomy, others) != change_anatomy(anatomy, lesions):
                healthy = anatomy_of.thorax(change_anatomy(anatomy, others), frame)
            change = integrals - line_integrals(anatomy, others, frame, fixed, healthy)
            if kind == "pneumothorax":
                change = -change
            if kind in ("edema", "consolidation"):
                # these make the lung's own fine texture denser, which is not an outline
                change = gaussian_filter(change, 1.5 * 1.45 / frame.pixel_mm)
            shown, level = change, MASK_THRESHOLD
        masks.append(to_square(shown.astype(np.float32)) > level)
    return masks


def to_square(picture: Array, size: int = MASK_SIZE) -> Array:
    """Scale so that the longer side is `size`, centre, pad with zeros: the frame of the masks, (size, size)."""
    rows, columns = picture.shape
    scale = size / max(rows, columns)
    rows, columns = max(1, round(rows * scale)), max(1, round(columns * scale))
    small = np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR))
    square = np.zeros((size, size), np.float32)
    top, left = (size - rows) // 2, (size - columns) // 2
    square[top : top + rows, left : left + columns] = small
    return square


def _wide_blur(picture: Array, sigma: float) -> Array:
    """Gaussian blur of many pixels, on an eight times coarser grid."""
    rows, columns = picture.shape
    small = Image.fromarray(picture.astype(np.float32)).resize(
        (max(columns // 8, 4), max(rows // 8, 4)), Image.Resampling.BOX
    )
    blurred = gaussian_filter(np.asarray(small), sigma / 8, mode="nearest")
    return np.asarray(Image.fromarray(blurred).resize((columns, rows), Image.Resampling.BICUBIC))


def expose(integrals: Array, body: Array, rng: np.random.Generator, pixel_mm: float = 1.45) -> NDArray[np.uint8]:
    """Turn line integrals into a displayed X-ray: blur, scatter, quantum noise, film curve.

    Parameters
    ----------
    integrals, body
        (H, W) attenuation in natural-log units and chord through the body in mm.
    rng
        Draws the exposure, and its noise.
    pixel_mm
        Side of a pixel.

    Returns
    -------
    (H, W) uint8
        Bright = dense, as displayed.
    """
    scale = 1.45 / pixel_mm
    primary = np.exp(-gaussian_filter(integrals, rng.uniform(0.42, 0.7) * scale))
    scatter = rng.uniform(0.12, 0.36) * _wide_blur(np.where(body > 8, primary, 0), 25 * scale)
    signal = np.maximum(primary + scatter, 1e-5)
    noise = gaussian_filter(rng.standard_normal(signal.shape, dtype=np.float32), 0.5) * 1.6
    depth = -np.log(signal) + rng.uniform(0.0012, 0.0036) / np.sqrt(signal) * noise
    inside = body > 60
    if not inside.any():
        inside = np.ones_like(inside)
    flat = _wide_blur(np.where(inside, depth, np.median(depth[inside])), 30 * scale)
    depth = depth - rng.uniform(0.3, 0.62) * (flat - flat.mean())
    depth = depth + rng.uniform(0.15, 0.7) * (depth - gaussian_filter(depth, 2.5 * scale))
    low, high = np.percentile(depth[inside], [2, 98])
    white_at = rng.uniform(1.04, 1.2)
    middle, width = rng.uniform(0.42, 0.55), rng.uniform(0.2, 0.36)
    tone = 1 / (1 + np.exp(-((depth - low) / (high - low) - middle) / width))
    black, white = 1 / (1 + np.exp((middle + 0.25) / width)), 1 / (1 + np.exp(-(white_at - middle) / width))
    shown = np.clip((tone - black) / (white - black), 0, 1) ** rng.uniform(0.85, 1.15)
    return (255 * shown + 0.5).astype(np.uint8)


def _frame_of(
    anatomy: Anatomy, view: str, size: int, rng: np.random.Generator
) -> tuple[Frame, NDArray[np.bool_] | None]:
    longer = size + int(rng.integers(1, size // 8 + 1))
    shape = [(size, size), (longer, size), (size, longer)][rng.choice(3, p=[0.56, 0.22, 0.22])]
    # from above the lungs to below the costophrenic angles, so that no finding lies outside the picture
    top = -rng.uniform(24, 54)
    bottom = anatomy.lung_height + max(anatomy.dome_right, anatomy.dome_left) + 38 + rng.uniform(0, 48)
    pixel_mm, centre_z = (bottom - top) / size, (bottom + top) / 2
    if view == "frontal":
        centre_u, turn = rng.normal(0, 6), rng.normal(0, 0.035)
    else:
        centre_u, turn = rng.normal(0, 8), 0.0
    frame = anatomy_of.make_frame(view, shape, pixel_mm, turn, rng.normal(0, 0.016), centre_u, centre_z)
    blank = None
    if rng.random() < 0.12:
        blank = np.ones(shape, bool)
        edges = rng.integers(0, size // 26, 4)
        blank[edges[0] : shape[0] - edges[1], edges[2] : shape[1] - edges[3]] = False
    return frame, blank


def _mark_side(picture: NDArray[np.uint8], view: str, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Put the lead letter that technicians put beside the patient's left."""
    rows, columns = picture.shape
    image = Image.fromarray(picture)
    letter = "L" if view == "frontal" else "LT"
    at = (columns * rng.uniform(0.9, 0.95), rows * rng.uniform(0.02, 0.09))
    font = ImageFont.load_default(size=max(8, round(rows / rng.uniform(16, 22))))
    ImageDraw.Draw(image).text(at, letter, fill=int(rng.integers(225, 256)), font=font)
    return np.asarray(image)


# ---- a study ----


@dataclass(frozen=True)
class _Study:
    report_id: str
    subject_id: str
    xml: bytes
    images: list[tuple[str, str, bytes]]
    truth: list[tuple[str, Finding, NDArray[np.uint8]]]


def make_picture(
    anatomy: Anatomy, findings: list[Finding], *, view: str = "frontal", size: int = 256, seed: int = 0
) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """One X-ray and the mask of each of its findings.

    Parameters
    ----------
    anatomy
        The person.
    findings
        What the picture shows.
    view
        "frontal" (the patient's right on the picture's left) or "lateral".
    size
        Shorter side of the picture, pixels; the longer side is up to an eighth longer.
    seed
        Draws place and texture of the findings, positioning and exposure.

    Returns
    -------
    tuple
        (H, W) uint8 picture, bright = dense, and one (256, 256) boolean mask a finding in the padded square of
        `to_square`.
    """
    rng = np.random.default_rng([seed, 3])
    lesions = [place(finding, anatomy, rng) for finding in findings]
    return _render(anatomy, lesions, view, size, rng)


def _render(
    anatomy: Anatomy, lesions: list[Lesion], view: str, size: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    changed = change_anatomy(anatomy, lesions)
    frame, blank = _frame_of(changed, view, size, rng)
    fixed = fixed_parts(changed, frame, int(rng.integers(2**31)))
    thorax = anatomy_of.thorax(changed, frame)
    integrals = line_integrals(anatomy, lesions, frame, fixed, thorax)
    picture = expose(integrals, fixed.body, rng, frame.pixel_mm)
    if blank is not None:
        picture = np.where(blank, np.uint8(0), picture)
    if rng.random() < 0.3:
        picture = _mark_side(picture, view, rng)
    return picture, finding_masks(anatomy, lesions, frame, fixed, thorax, integrals)


def _subject_of(index: int) -> int:
    return index - 1 if index % FOLLOW_UP_EVERY == FOLLOW_UP_EVERY - 1 else index


def _report_numbers(studies: int, seed: int) -> list[int]:
    """Numbers of the reports: increasing, with one in forty left out: those of the collection have gaps too."""
    rng = np.random.default_rng([seed, 2])
    return np.cumsum(1 + (rng.random(studies) < 1 / 40)).tolist()


def _make_study(index: int, *, seed: int, size: int, number: int) -> _Study:
    rng = np.random.default_rng([seed, 1, index])
    subject = _subject_of(index)
    anatomy = anatomy_of.draw_anatomy(int(np.random.default_rng([seed, 4, subject]).integers(2**31)))
    findings = draw_findings(rng)
    lesions = [place(finding, anatomy, rng) for finding in findings]
    views = [["frontal"], ["frontal", "lateral"], ["frontal", "lateral", "frontal"], []][
        rng.choice(4, p=[0.72, 0.235, 0.025, 0.02])
    ]
    report_id, series = f"CXR{number}", int(rng.integers(1, 2500))
    images, truth, named = [], [], []
    for position, view in enumerate(views):
        image_id = f"{report_id}_IM-{series:04d}-{(position + 1) * 1000 + 1:04d}"
        picture, masks = _render(anatomy, lesions, view, size, rng)
        named.append(image_id)
        images.append((image_id, view, _png(picture)))
        truth += [(image_id, f, np.packbits(mask, axis=-1)) for f, mask in zip(findings, masks, strict=True)]
    if rng.random() < 0.02:
        named.append(f"{report_id}_IM-{series:04d}-{(len(views) + 1) * 1000 + 1:04d}")
    report = write_report(findings, rng, follow_up=subject != index)
    xml = write_openi_xml(
        report_id,
        findings=report.findings,
        impression=report.impression,
        indication=report.indication,
        comparison=report.comparison,
        image_ids=named,
        mesh=report.mesh,
    )
    return _Study(report_id, f"S{subject:05d}", xml, images, truth)


def _png(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


# ---- the sample ----


def make_chest_sample(folder: Path, *, studies: int, size: int = 256, seed: int, processes: int = 2) -> None:
    """Write a sample of chest X-rays and reports in the layout of the NLM's Open-i archives.

    Written into `folder`:

    - ``NLMCXR_reports.tgz``: ``ecgen-radiology/N.xml``;
    - ``NLMCXR_png.tgz``: flat PNG files, 8-bit grey, `size` pixels on the shorter side and up to an eighth longer on
      the other;
    - ``subjects.parquet`` (report_id, subject_id) and ``views.parquet`` (image_id, view);
    - ``truth.parquet``: table FINDING_TRUTH;
    - ``masks.npy``: uint8 (M, 256, 32), boolean masks through `numpy.packbits` on the last axis, in the 256x256 square
      into which a picture is scaled by its longer side, centred and padded with zeros (`to_square`).

    The sample has the collection's flaws: XXXX where words were removed, empty sections, much repeated normal
    text, numbers left out, reports without images, with several, and with images that the archive lacks. Every
    twelfth study is a follow-up of the subject of the study before it.

    Parameters
    ----------
    folder
        Where to write; made where missing.
    studies
        Number of reports.
    size
        Shorter side of a picture, pixels.
    seed
        The whole sample follows from it and `studies`; a study from it and the study's position alone.
    processes
        Processes to use; the bytes written do not depend on it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    numbers = _report_numbers(studies, seed)
    reports: list[tuple[str, bytes]] = []
    pictures: list[tuple[str, bytes]] = []
    subjects, views, truth, masks = [], [], [], []
    for study in track(_studies(numbers, size, seed, processes), "making chest studies", studies, "studies"):
        reports.append((f"ecgen-radiology/{study.report_id.removeprefix('CXR')}.xml", study.xml))
        subjects.append((study.report_id, study.subject_id))
        for image_id, view, png in study.images:
            pictures.append((f"{image_id}.png", png))
            views.append((image_id, view))
        for image_id, finding, mask in study.truth:
            row = (finding.finding, finding.side, finding.zone, finding.size_mm, finding.severity, len(masks))
            truth.append((image_id, *row))
            masks.append(mask)
    _write_tgz(folder / "NLMCXR_reports.tgz", reports, level=6)
    _write_tgz(folder / "NLMCXR_png.tgz", pictures, level=1)
    for name, rows, columns in (
        ("subjects", subjects, ["report_id", "subject_id"]),
        ("views", views, ["image_id", "view"]),
    ):
        with atomic_path(folder / f"{name}.parquet") as temporary:
            pd.DataFrame(rows, columns=columns).to_parquet(temporary, index=False)
    FINDING_TRUTH.write(pd.DataFrame(truth, columns=list(FINDING_TRUTH.columns)), folder / "truth.parquet")
    packed = np.stack(masks) if masks else np.zeros((0, MASK_SIZE, MASK_SIZE // 8), np.uint8)
    with atomic_path(folder / "masks.npy") as temporary, open(temporary, "wb") as file:
        np.save(file, packed)


def _studies(numbers: list[int], size: int, seed: int, processes: int) -> Iterator[_Study]:
    make = partial(_make_numbered, numbers=numbers, size=size, seed=seed)
    with mapper(processes, chunksize=4) as over:
        yield from over(make, range(len(numbers)))


def _make_numbered(index: int, *, numbers: list[int], size: int, seed: int) -> _Study:
    return _make_study(index, seed=seed, size=size, number=numbers[index])


def _write_tgz(path: Path, members: list[tuple[str, bytes]], level: int) -> None:
    """Write a gzipped tar archive whose bytes depend on names and contents alone."""
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as file,
        gzip.GzipFile("", "wb", level, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))
