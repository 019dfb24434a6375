"""Why a picture: `explain` draws where the judge sees a finding and where the discriminator sees the report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from radsynth.errors import RadsynthError
from radsynth.explain.chest import agreement_maps, finding_maps
from radsynth.figures import explanation_overlays
from radsynth.files import write_json
from radsynth.radiographs.decode import decode
from radsynth.radiographs.prepare import prepare, read_image
from radsynth.radiographs.write import png_bytes, stored_values
from radsynth.reports.findings import label_text
from radsynth.synthetic_dicom import NOTICE
from radsynth.tracking.registry import Resolved, resolve
from radsynth.training.drawing import Drawer
from radsynth.training.report_gan import as_batch
from radsynth.use.judge import JUDGE, Judge
from radsynth.use.outputs import ABOUT, check_folder, new_folder
from radsynth.use.pictures import MODEL, check_numbers, check_view, draw_alone, one_prompt, png_texts
from radsynth.use.provenance import about, title
from radsynth.vocabulary import FINDINGS

METHODS = ("gradcam", "hirescam", "layercam")
NORMAL = "The heart is normal in size. The lungs are clear. No acute cardiopulmonary abnormality."
ABNORMAL = "There are large bilateral pleural effusions. The heart is markedly enlarged."


@dataclass(frozen=True)
class Explanation:
    """A picture with its evidence maps.

    Parameters
    ----------
    picture
        float32 (S, S), -1..1.
    maps
        ``classifier``: evidence for the finding, in its logit. ``discriminator`` (with a report): evidence that the
        picture agrees with the report rather than with another, in logits. float32 (S, S) each.
    about
        What ``about.json`` says: the finding, the judge's probabilities, model, report, seed.
    """

    picture: np.ndarray
    maps: dict[str, np.ndarray]
    about: dict[str, Any]


def explain(
    image: str | Path | None = None,
    out: str | Path | None = None,
    *,
    report: str | None = None,
    against: str | None = None,
    finding: str | None = None,
    method: str = "hirescam",
    seed: int = 0,
    view: str = "frontal",
    model: str = "champion",
    judge: str | Path | None = None,
    force: bool = False,
    root: str | Path = ".",
) -> Explanation:
    """Explain an X-ray: a file, or the picture that is drawn for a report.

    Parameters
    ----------
    image
        PNG, JPEG or DICOM. None draws a picture for `report`.
    out
        Folder to make: the picture, an overlay (PNG) and a map (npy) of each judgement, ``about.json``. None writes
        nothing.
    report
        With an image, what it is said to show.
    against
        The other report that the discriminator compares with; by default a normal one, or an abnormal one where
        `report` is normal.
    finding
        Which finding the classifier's map is of; by default the one it finds most probable.
    method
        ``gradcam``, ``hirescam`` or ``layercam``.
    seed, view
        Of the picture that is drawn; `view` also says how the discriminator reads an image.
    model
        Alias, version or model folder; read where there is a report.
    judge
        Model folder of the classifier, ``models/classifier`` of the checkout by default.
    force
        Replace `out` where an earlier command made it.
    root
        The checkout whose registry is asked.

    Raises
    ------
    RadsynthError
        Where there is neither image nor report, one cannot be read, a parameter is out of range, or the judge was
        trained on pictures of another size than the model draws.
    """
    if image is None and report is None:
        raise RadsynthError("nothing to explain", got="neither", expected="an image, a report or both")
    if finding is not None and finding not in FINDINGS:
        raise RadsynthError("no such finding", got=repr(finding), expected=", ".join(FINDINGS))
    if method not in METHODS:
        raise RadsynthError("no such method", got=repr(method), expected=", ".join(METHODS))
    check_numbers(1, 1, seed)
    target = None if out is None else check_folder(out, force, image)
    words = None if report is None else one_prompt(report, "report")
    stored = None if image is None else _read(Path(image))
    judging = Judge(Path(root) / JUDGE if judge is None else judge)
    resolved = drawer = None
    if words is not None:
        resolved = resolve(root, MODEL, model)
        drawer = Drawer(resolved.folder)
        check_view(view, drawer.views)
        judging.require_size(drawer.size)
    size = drawer.size if drawer else judging.size
    if stored is not None:
        square, _ = prepare(stored, size, str(image))
        picture = (square.astype(np.float32) / np.float32(32767.5)) - 1
    else:
        picture = draw_alone(drawer, words, seed, view)  # type: ignore[arg-type]
    scores = judging.scores(picture[None])[0]
    named = finding or judging.strongest(scores)
    maps = {"classifier": finding_maps(judging.network, as_batch(picture[None]), [named], method)[0]}
    facts = about("explain", resolved) | {
        "source": "image" if stored is not None else "drawn",
        # a given picture is no synthetic one, but it is not for diagnosis either
        "notice": NOTICE if stored is None else "research only, not for clinical use",
        "finding": named,
        "finding_learned": named in judging.learned,
        "probabilities": {name: round(float(p), 6) for name, p in zip(FINDINGS, scores, strict=True)},
        "judge": judging.facts,
        "settings": {"method": method, "size": size, "view": view},
        "units": {"classifier": f"logit of {named}"},
    }
    if drawer is not None and words is not None:
        other = one_prompt(against, "against") if against is not None else _other(words)
        maps["discriminator"] = _agreement(drawer, picture, words, other, view, method)
        facts |= {"report": words, "against": other}
        facts["units"]["discriminator"] = "logit, the report minus the other"
        if stored is None:
            facts["seed"] = seed
    if target is not None:
        with new_folder(target) as folder:
            _write(folder, picture, maps, facts, resolved if stored is None else None)
    return Explanation(picture, maps, facts)


def _read(path: Path) -> Any:
    data = read_image(path)
    if data is None:
        raise RadsynthError("no such file", where=path, expected="a PNG, JPEG or DICOM image")
    return decode(data, str(path))


def _other(words: str) -> str:
    return NORMAL if 1 in label_text(words).values.values() else ABNORMAL


def _agreement(drawer: Drawer, picture: np.ndarray, words: str, other: str, view: str, method: str) -> np.ndarray:
    gan = drawer.gan.cpu()
    own, another = (gan.conditioner(*drawer.text([text], view)) for text in (words, other))
    return agreement_maps(gan.discriminator, as_batch(picture[None]), own, another, method)[0]


def _write(
    folder: Path, picture: np.ndarray, maps: dict[str, np.ndarray], facts: dict[str, Any], drawn_by: Resolved | None
) -> None:
    texts = png_texts(title(drawn_by)) if drawn_by else {"Description": "prepared image, research only"}
    (folder / "picture.png").write_bytes(png_bytes(stored_values(picture), texts))
    for name, evidence in maps.items():
        np.save(folder / f"{name}_map.npy", evidence.astype(np.float32))
        said = facts["finding"] if name == "classifier" else "agrees with the report"
        explanation_overlays(
            picture[None],
            evidence[None],
            folder / f"{name}_overlay.png",
            titles=[f"{name}: {said}"],
            unit=facts["units"][name],
            columns=1,
        )
    write_json(folder / ABOUT, facts)
