"""Every picture and plot that radsynth draws; the only place that knows matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from radsynth.files import atomic_path
from radsynth.sheets import CELL, GAP, Sheet, fitted, grey, outlined, sized, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _new_figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: str | Path, dpi: int = 100) -> None:
    """Write a PNG without the program's version in it, so that equal pictures are equal bytes."""
    figure.set_dpi(dpi)
    with atomic_path(path) as temporary:
        # drawn once: `savefig` draws everything a first time to measure it, which the layout has done already.
        # Level 1 takes a third of the time of the usual level 6, for files a fifth larger.
        figure.canvas.print_png(temporary, metadata={"Software": None}, pil_kwargs={"compress_level": 1})


def _sheet(width: int, height: int) -> Sheet:
    import matplotlib

    return Sheet(width, height, Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf")


def _coloured(values: np.ndarray, colours: str, low: float, high: float) -> np.ndarray:
    """(h, w) -> uint8 (h, w, 3) in a colour map from `low` to `high`; white where there is no value."""
    from matplotlib import colormaps

    known = np.isfinite(values)
    share = np.clip((np.where(known, values, low) - low) / (high - low), 0, 1)
    return np.where(known[..., None], colormaps[colours](share, bytes=True)[..., :3], np.uint8(255))


def _signed(values: np.ndarray, limit: float) -> np.ndarray:
    """(h, w) -> uint8 (h, w, 3): blue at -limit, white at 0, red at limit."""
    return _coloured(values, "RdBu_r", -limit, limit)


def _with_evidence(picture: np.ndarray, evidence: np.ndarray, limit: float) -> np.ndarray:
    """A grey picture under its evidence, the stronger the denser: uint8 (h, w, 3)."""
    share = 0.75 * np.clip(np.abs(evidence) / limit, 0, 1)[..., None]
    return np.round(grey(picture) * (1 - share) + _signed(evidence, limit) * share).astype(np.uint8)


def _limit(values: np.ndarray, quantile: float) -> float:
    return float(np.quantile(np.abs(values), quantile)) or 1.0


def _shown(picture: np.ndarray, evidence: np.ndarray | None, limit: float, mask: np.ndarray | None) -> np.ndarray:
    """A picture as it stands on a sheet: with its evidence, if there is any, and its outline."""
    colours = grey(picture) if evidence is None else _with_evidence(picture, evidence, limit)
    seen = None if mask is None else fitted(mask.astype(np.uint8)) > 0
    return outlined(fitted(colours), seen)


def _colour_bar(sheet: Sheet, left: int, top: int, height: int, limit: float, label: str) -> None:
    """Blue to red with the values of its ends and its middle, and what they are."""
    ramp = np.repeat(np.linspace(limit, -limit, height)[:, None], 16, 1)
    sheet.picture(left, top, _signed(ramp, limit))
    for value, place, anchor in ((limit, top, "la"), (0.0, top + height / 2, "lm"), (-limit, top + height, "ld")):
        sheet.words(left + 22, place, f"{value:+.3g}" if value else "0", 12, anchor)
    sheet.words(left, top + height + GAP, wrapped(label, 12, 120), 12)


def picture_grid(
    pictures: Sequence[Sequence[np.ndarray]],
    path: str | Path,
    *,
    row_titles: Sequence[str] = (),
    column_titles: Sequence[str] = (),
) -> None:
    """Draw rows of grey pictures.

    Parameters
    ----------
    pictures
        Rows of (H, W) arrays in -1..1.
    row_titles
        Text at the left of each row (wrapped), for example the report.
    """
    rows, columns, step = len(pictures), max(len(row) for row in pictures), CELL + GAP
    left, top = (330 if row_titles else GAP), (26 if column_titles else GAP)
    sheet = _sheet(left + columns * step, top + rows * step)
    for c, title in enumerate(column_titles):
        sheet.words(left + c * step + CELL / 2, 4, title, 15, "ma")
    for r, row in enumerate(pictures):
        if row_titles:
            sheet.words(GAP, top + r * step + CELL / 2, wrapped(row_titles[r], 40, 190), 13, "lm")
        for c, picture in enumerate(row):
            sheet.picture(left + c * step, top + r * step, fitted(grey(picture)))
    sheet.save(path)


def counterfactual_pairs(
    before: np.ndarray, after: np.ndarray, path: str | Path, *, texts: Sequence[tuple[str, str]], titles: Sequence[str]
) -> None:
    """Draw pictures of a report and of its edit beside their signed difference, one colour bar for all rows.

    Parameters
    ----------
    before, after
        (n, S, S) in -1..1.
    texts
        The report and the edited report of each row.
    titles
        What was edited, of each row.
    """
    difference = after - before
    limit = _limit(difference, 0.998)
    text, step, top = 300, CELL + GAP, 26
    lefts = (text, 2 * text + step, 2 * text + 2 * step)
    sheet = _sheet(lefts[2] + step + 110, top + len(before) * step)
    for left, name in zip(lefts, ("original prompt", "edited prompt, same noise", "edited - original"), strict=True):
        sheet.words(left + CELL / 2, 4, name, 15, "ma")
    for r, (shown, words) in enumerate(zip(zip(before, after, strict=True), texts, strict=True)):
        middle = top + r * step + CELL / 2
        sheet.words(GAP, middle, f"{titles[r]}\n\n{wrapped(words[0], 42, 400)}", 12, "lm")
        sheet.words(text + step, middle, f"edited\n\n{wrapped(words[1], 42, 400)}", 12, "lm")
        for left, picture in zip(lefts[:2], shown, strict=True):
            sheet.picture(left, top + r * step, fitted(grey(picture)))
        sheet.picture(lefts[2], top + r * step, fitted(_signed(difference[r], limit)))
    _colour_bar(sheet, lefts[2] + step + 4, top, CELL - 60, limit, "brightness, of 2")
    sheet.save(path)


class _Column(NamedTuple):
    """Volumes (Z, Y, X) side by side: the title, and how values become colours."""

    title: str
    volume: np.ndarray
    colours: str
    low: float
    high: float
    unit: str = "HU"


SOFT, BONE = (-160, 240), (-500, 1500)
"""Windows of a CT, HU: 40/400 and 500/2000."""


def _three_planes(
    columns: Sequence[_Column],
    middle: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    title: str,
    path: str | Path,
) -> None:
    """Draw every volume in three planes through `middle` (z, y, x), all at one scale, above a bar of its colours.

    The patient's right is on the picture's left and the front is up, as radiologists look at it.
    """
    z, y, x = middle
    dx, dy, dz = spacing_mm
    planes = (
        ("axial", lambda v: v[z, :, ::-1], (dy, dx)),
        ("coronal", lambda v: v[:, y, ::-1], (dz, dx)),
        ("sagittal", lambda v: v[:, :, x], (dz, dy)),
    )
    depth, height, width = columns[0].volume.shape
    scale = CELL / max(depth * dz, height * dy, width * dx)
    left, top, step = 80, 56, CELL + GAP
    sheet = _sheet(left + len(columns) * step, top + 3 * step + 48)
    sheet.words(left + len(columns) * step / 2, 6, title, 15, "ma")
    for c, column in enumerate(columns):
        across = left + c * step
        sheet.words(across + CELL / 2, 32, column.title, 14, "ma")
        for r, (name, cut, (tall, wide)) in enumerate(planes):
            if c == 0:
                sheet.words(GAP, top + r * step + CELL / 2, name, 14, "lm")
            plane = cut(column.volume)[::-1].astype(np.float32)
            size = (round(plane.shape[0] * tall * scale), round(plane.shape[1] * wide * scale))
            colours = sized(_coloured(plane, column.colours, column.low, column.high), *size)
            sheet.picture(across + (CELL - size[1]) // 2, top + r * step + (CELL - size[0]) // 2, colours)
        if column.unit:
            ramp = np.repeat(np.linspace(column.low, column.high, CELL)[None], 10, 0)
            below = top + 3 * step
            sheet.picture(across, below, _coloured(ramp, column.colours, column.low, column.high))
            middle_value = (column.low + column.high) / 2
            for value, place, anchor in ((column.low, 0, "la"), (middle_value, 0.5, "ma"), (column.high, 1, "ra")):
                words = f"{value:.0f} {column.unit}" if place == 0.5 else f"{value:.0f}"
                sheet.words(across + place * CELL, below + 14, words, 12, anchor)
    sheet.save(path)


def _middle(shown: np.ndarray) -> tuple[int, int, int]:
    """The middle (z, y, x) of what a mask (Z, Y, X) bool holds."""
    found = np.argwhere(shown)
    z, y, x = (found.min(axis=0) + found.max(axis=0)) // 2 if len(found) else np.array(shown.shape) // 2
    return int(z), int(y), int(x)


def ct_comparison(
    mr: np.ndarray,
    synthetic: np.ndarray,
    true: np.ndarray | None,
    spacing_mm: tuple[float, float, float],
    title: str,
    path: str | Path,
) -> None:
    """Draw MR, synthetic CT, true CT and their difference in three planes through the middle of the head.

    Parameters
    ----------
    mr
        (Z, Y, X) on the common grid, 0..1.
    synthetic, true
        (Z, Y, X) HU; without a true CT its columns and the difference are left out.
    spacing_mm
        (x, y, z).
    """
    columns = [_Column("MR", mr, "gray", 0, 1, "")]
    for name, window in (("40/400 HU", SOFT), ("500/2000 HU", BONE)):
        columns.append(_Column(f"synthetic CT, {name}", synthetic, "gray", *window))
        if true is not None:
            columns.append(_Column(f"true CT, {name}", true, "gray", *window))
    if true is not None:
        columns.append(_Column("synthetic - true", synthetic - true, "RdBu_r", -600, 600))
    _three_planes(columns, _middle(mr > 0.05), spacing_mm, title, path)


def ct_error_and_doubt(
    mr: np.ndarray,
    synthetic: np.ndarray,
    true: np.ndarray,
    inside: np.ndarray,
    known: np.ndarray,
    places: np.ndarray,
    doubt: np.ndarray,
    spacing_mm: tuple[float, float, float],
    title: str,
    path: str | Path,
) -> None:
    """Draw MR, synthetic CT, true CT, error and doubt in three planes through the middle of the head.

    Parameters
    ----------
    mr, synthetic, true
        (Z, Y, X): 0..1 and HU.
    inside, known
        (Z, Y, X) bool: where the error is taken, and where the doubt is; white elsewhere.
    places, doubt
        (N,) slices, increasing, and their doubt in HU (N, Y, X); slices between them show the nearest one's.
    spacing_mm
        (x, y, z).
    """
    error = np.where(inside, synthetic.astype(np.float32) - true, np.nan)
    nearest = np.abs(np.arange(len(mr))[:, None] - places[None, :]).argmin(1)
    everywhere = np.where(known, doubt[nearest].astype(np.float32), np.nan)
    limit = float(np.nanquantile(everywhere, 0.995)) if known.any() else 1.0
    columns = [
        _Column("MR", mr, "gray", 0, 1, ""),
        _Column("synthetic CT, 500/2000 HU", synthetic, "gray", *BONE),
        _Column("true CT, 500/2000 HU", true, "gray", *BONE),
        _Column("error: synthetic - true", error, "RdBu_r", -600, 600),
        _Column("doubt", everywhere, "magma_r", 0, max(limit, 1.0)),
    ]
    z, y, x = _middle(inside)
    z = int(places[np.abs(places - z).argmin()]) if len(places) else z
    _three_planes(columns, (z, y, x), spacing_mm, title, path)


def risk_coverage_plot(curves: dict[str, np.ndarray], path: str | Path) -> None:
    """Draw the mean error of the least doubtful voxels against their share; curves (points,) in HU, shares to 100 %.

    ``oracle`` and ``random``, the best and the worst order, are drawn in grey.
    """
    figure = _new_figure(6.4, 4.2)
    axis = figure.subplots()
    for name, curve in curves.items():
        share = 100 * np.arange(1, len(curve) + 1) / len(curve)
        look = {"oracle": {"color": "0.35", "linestyle": ":"}, "random": {"color": "0.35", "linestyle": "--"}}
        axis.plot(share, curve, label=f"{name} (mean {curve.mean():.1f} HU)", **look.get(name, {"linewidth": 1.4}))
    axis.set(xlim=(0, 100), xlabel="voxels kept, the least doubtful first, %", ylabel="mean |error| of those kept, HU")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7, title="order by", title_fontsize=7)
    axis.grid(alpha=0.3)
    _save(figure, path, dpi=110)


def slice_strip(
    mr: np.ndarray, synthetic: np.ndarray, true: np.ndarray, inside: np.ndarray, aspect: float, path: str | Path
) -> None:
    """Write one axial slice as MR | synthetic CT | true CT | error, side by side, for a slider over slices.

    Parameters
    ----------
    mr, synthetic, true
        (Y, X): 0..1, and HU, shown from -500 to 1500.
    inside
        (Y, X) bool: where the error (-600 blue .. 600 HU red) is shown; white elsewhere.
    aspect
        Height of a pixel, its width being 1.
    """
    from PIL import Image

    panels = [_coloured(mr, "gray", 0, 1), *(_coloured(ct, "gray", *BONE) for ct in (synthetic, true))]
    error = np.where(inside, synthetic.astype(np.float32) - true, np.nan)
    panels.append(_coloured(error, "RdBu_r", -600, 600))
    gap = np.full((len(mr), 3, 3), 255, np.uint8)
    parts = [part for panel in panels for part in (panel[::-1, ::-1], gap)][:-1]
    strip = Image.fromarray(np.concatenate(parts, 1))
    strip = strip.resize((2 * strip.width, round(2 * strip.height * aspect)), Image.Resampling.BILINEAR)
    with atomic_path(path) as temporary:
        strip.save(temporary, format="PNG")


def explanation_overlays(
    pictures: np.ndarray,
    maps: np.ndarray,
    path: str | Path,
    *,
    titles: Sequence[str],
    masks: np.ndarray | None = None,
    unit: str = "logit",
    columns: int = 6,
) -> None:
    """Draw pictures above their evidence maps, with one colour bar for all so that weak evidence looks weak.

    Parameters
    ----------
    pictures
        (n, S, S) in -1..1.
    maps
        (n, S, S): evidence for (red) and against (blue), in `unit`.
    masks
        (n, S, S) bool: true lesions, outlined in green.
    """
    columns = max(min(columns, len(pictures)), 1)
    rows, step = -(-len(pictures) // columns), CELL + GAP
    limit, title = _limit(maps, 0.999), 44
    sheet = _sheet(GAP + columns * step + 110, rows * (2 * step + title) + GAP)
    for i, (picture, evidence) in enumerate(zip(pictures, maps, strict=True)):
        left, top = GAP + i % columns * step, i // columns * (2 * step + title) + title
        sheet.words(left + CELL / 2, top - 6, wrapped(titles[i], 34, 100), 13, "md")
        mask = None if masks is None else masks[i]
        sheet.picture(left, top, _shown(picture, None, limit, mask))
        sheet.picture(left, top + step, _shown(picture, evidence, limit, mask))
    _colour_bar(sheet, GAP + columns * step + 4, title, CELL, limit, f"evidence, {unit}")
    sheet.save(path)


def evidence_table(
    rows: Sequence[Sequence[tuple[str, np.ndarray, np.ndarray | None, np.ndarray | None]]],
    path: str | Path,
    *,
    row_titles: Sequence[str],
    note: str,
) -> None:
    """Draw a table of pictures with evidence maps over them, every map on its own scale.

    Parameters
    ----------
    rows
        Of each cell: title, picture (S, S) in -1..1, map (S, S) or None, and mask (S, S) bool to outline, or None.
    row_titles
        Text at the left of each row, wrapped.
    note
        Below the table: what the colours mean.
    """
    columns, step, left, title = max(len(row) for row in rows), CELL + GAP, 190, 40
    width = left + columns * step
    words = wrapped(note, width // 8, 1000)
    bottom = len(rows) * (step + title)
    sheet = _sheet(width, bottom + 18 * (words.count("\n") + 1) + GAP)
    for r, row in enumerate(rows):
        top = r * (step + title) + title
        sheet.words(GAP, top + CELL / 2, wrapped(row_titles[r], 24, 150), 13, "lm")
        for c, (name, picture, evidence, mask) in enumerate(row):
            sheet.words(left + c * step + CELL / 2, top - 4, wrapped(name, 34, 100), 13, "md")
            limit = 1.0 if evidence is None else _limit(evidence, 0.999)
            sheet.picture(left + c * step, top, _shown(picture, evidence, limit, mask))
    sheet.words(width / 2, bottom + 4, words, 13, "ma")
    sheet.save(path)


def similarity_histogram(
    groups: dict[str, np.ndarray], limit: float, path: str | Path, *, unit: str = "similarity to the nearest training"
) -> None:
    """Draw how similar the members of each group are to their nearest training picture, and the limit of a copy."""
    figure = _new_figure(7.5, 1.15 * len(groups) + 0.8)
    axes = figure.subplots(len(groups), 1, sharex=True, squeeze=False)[:, 0]
    every = np.concatenate([*groups.values(), [limit]])
    bins = np.linspace(min(float(every.min()), 0.0), 1.0, 60)
    for axis, (name, values) in zip(axes, groups.items(), strict=True):
        axis.hist(values, bins, color="0.45")
        axis.axvline(limit, color="tab:red", linewidth=1)
        axis.set_title(f"{name}: {len(values)}, above the limit {int((values > limit).sum())}", fontsize=8, loc="left")
        axis.tick_params(labelsize=7)
    axes[-1].set_xlabel(f"{unit}; red: the limit, {limit:.3f}", fontsize=8)
    _save(figure, path, dpi=110)


def alarm_rates(curves: dict[str, tuple[np.ndarray, np.ndarray]], path: str | Path) -> None:
    """Draw ROC curves with the false alarm rate on a logarithmic axis: that of interest is small.

    Parameters
    ----------
    curves
        Name -> (false alarm rates, true alarm rates).
    """
    figure = _new_figure(5.6, 4.2)
    axis = figure.subplots()
    least = min((float(false[false > 0].min()) for false, _ in curves.values() if (false > 0).any()), default=1e-3)
    for name, (false, true) in curves.items():
        axis.plot(np.maximum(false, least / 2), true, label=name, linewidth=1.2)
    axis.set(xscale="log", ylim=(-0.02, 1.02), xlabel="false alarms (different patients)", ylabel="copies recognised")
    axis.legend(fontsize=7, loc="lower right", title="the same picture after", title_fontsize=7)
    axis.grid(alpha=0.3)
    _save(figure, path, dpi=110)


def gains_by_arm(panels: Sequence[tuple[str, float, dict[str, tuple[float, float, float]]]], path: str | Path) -> None:
    """Draw how much better or worse than real pictures alone each training set is, with its interval.

    Parameters
    ----------
    panels
        Title, AUROC of real pictures alone, and of each training set the (difference, low, high).
    """
    colours = {"synthetic": "tab:red", "duplicates": "0.5", "augmented": "tab:blue"}
    figure = _new_figure(5.4 * len(panels), 0.27 * max(len(gains) for _, _, gains in panels) + 1.5)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (title, real, gains) in zip(axes, panels, strict=True):
        for place, (arm, (value, low, high)) in enumerate(gains.items()):
            colour = next((c for kind, c in colours.items() if kind in arm), "black")
            axis.plot([low, high], [place, place], color=colour, linewidth=1.6)
            axis.plot(value, place, "o", color=colour, markersize=4.5)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_title(f"{title}; real alone: AUROC {real:.3f}", fontsize=9)
        axis.set_xlabel(
            "AUROC minus that of real alone, 95 % interval over patients; beyond 0.05 logarithmic", fontsize=8
        )
        axis.set_xscale("symlog", linthresh=0.05, linscale=1.5)
        least, most = min(low for _, low, _ in gains.values()), max(high for _, _, high in gains.values())
        axis.set_xlim(1.2 * min(least, -0.025), 1.2 * max(most, 0.025))
        axis.set_xticks(
            [t for t in (-0.3, -0.1, -0.05, -0.02, 0, 0.02, 0.05, 0.1, 0.3) if 1.2 * least < t < 1.2 * most]
        )
        axis.set_xticks([], minor=True)
        axis.xaxis.set_major_formatter("{x:+.2f}")
        axis.set_yticks(range(len(gains)), list(gains), fontsize=8)
        axis.tick_params(axis="x", labelsize=8)
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    _save(figure, path, dpi=110)


CURVE_COLOURS = ("#3f7fc1", "#d9822b", "#2f9e6e", "#c2559d", "#8a6fd1", "#a38a1f", "#4f8f8f", "#c94f4f")
"""Told apart on white and on black, and by colour-blind people; lines beyond the eighth are dashed."""
_INK = "#010203"


def curves_svg(series: dict[str, tuple[Sequence[float], Sequence[float]]], x_label: str, y_label: str) -> str:
    """Draw lines over one axis as an SVG element that takes the colour of the text around it.

    Parameters
    ----------
    series
        Name -> x and y. The y axis is logarithmic where all values are positive and span more than a factor of 30.

    Returns
    -------
    str
        ``<svg ...>...</svg>``; the same lines give the same text. Names are escaped.
    """
    import io

    from matplotlib import rc_context

    values = np.concatenate([np.asarray(y, np.float64) for _, y in series.values()])
    salt = " ".join([y_label, *series])
    colours = {f"{part}.color": _INK for part in ("text", "xtick", "ytick")}
    axes_colours = {"axes.edgecolor": _INK, "axes.labelcolor": _INK}
    with rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.size": 9} | colours | axes_colours):
        figure = _new_figure(6.0, 2.9 + 0.18 * -(-len(series) // 3))
        axis = figure.subplots()
        for k, (name, (x, y)) in enumerate(series.items()):
            style = "-" if k < len(CURVE_COLOURS) else "--"
            marker = "o" if len(x) < 12 else None
            colour = CURVE_COLOURS[k % len(CURVE_COLOURS)]
            axis.plot(x, y, style, color=colour, linewidth=1.3, marker=marker, markersize=3, label=name)
        if (values > 0).all() and values.max() > 30 * values.min():
            axis.set_yscale("log")
        else:
            axis.ticklabel_format(useOffset=False)
        axis.set_xlabel(x_label)
        axis.set_ylabel(y_label)
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25, linewidth=0.5, color=_INK)
        for text in figure.legend(
            loc="outside lower center", ncols=min(3, len(series)), frameon=False, fontsize=8
        ).get_texts():
            text.set_parse_math(False)
        drawn = io.StringIO()
        figure.savefig(
            drawn, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
        )
    svg = drawn.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
