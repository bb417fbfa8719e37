"""Grad-CAM: where in each sensor's image the evidence for a class lies.

Selvaraju et al. 2017, "Grad-CAM: Visual explanations from deep networks via gradient-based localization", with y the
logit of class c and A the last feature map of an encoder:

    a_k = mean over i, j of dy / dA_kij        (equation 1)
    L   = ReLU(sum over k of a_k A_k)          (equation 2)

Ours: one map a sensor, each from its own encoder, in one backward pass; of a series the mean over the seen dates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from landweave.reports import pictures
from landweave.reports.examples import shown_streams

if TYPE_CHECKING:
    from torch import Tensor

    from landweave.nn.model import Model
    from landweave.run.embed import Embedded
    from landweave.run.evaluate import Scene
    from landweave.run.predict import Run
    from landweave.sample import Batch, Sample

EXAMPLES = 4
Cams = dict[str, NDArray[np.float32]]


def grad_cam(model: Model, cube: Batch, index: int) -> Cams:
    """The maps L of class `index` at one place, by sensor (`early` for early fusion), each h w, at least 0.

    A sensor is left out where it is not seen, and where its backbone ends in no feature map (transformers).

    Args:
        model: in eval mode, with one logit a class and place.
        cube: one place, as `landweave.transforms.cubes` makes it.
        index: the class c.
    """
    import torch

    # frozen encoders ask for no gradient of their own, so the images do
    images = {n: replace(im, data=im.data.detach().float().requires_grad_()) for n, im in cube.images.items()}
    with torch.enable_grad(), last_maps(model) as caught:
        out = model(replace(cube, images=images))
        used = {n: a for n, a in caught.items() if bool(out.seen[n].all()) and a.requires_grad}
        if not used:
            return {}
        slopes = torch.autograd.grad(out.logits[:, index].sum(), list(used.values()), allow_unused=True)
    cams: Cams = {}
    for (name, a), slope in zip(used.items(), slopes, strict=True):
        if slope is not None:
            weights = slope.mean((2, 3), keepdim=True)
            cams[name] = (weights * a).sum(1).clamp(min=0).mean(0).detach().float().cpu().numpy()
    return cams


@contextmanager
def last_maps(model: Model) -> Iterator[dict[str, Tensor]]:
    """Catch the last map N C h w (of more than one pixel) that passes through each encoder, while a model runs."""
    from torch import Tensor

    caught: dict[str, Tensor] = {}
    hooks = []
    for name, encoder in model.by_name.items():
        rows_last = getattr(encoder.net, "output_fmt", "NCHW") == "NHWC"

        def catch(_: Any, __: Any, found: Any, name: str = name, rows_last: bool = rows_last) -> None:
            if not isinstance(found, Tensor):
                return
            if found.ndim == 3:
                caught.pop(name, None)  # tokens: what came before is not the last map
            elif found.ndim == 4 and not rows_last and found.shape[2] * found.shape[3] > 1:
                caught[name] = found

        hooks += [module.register_forward_hook(catch) for module in encoder.net.modules()]
    try:
        yield caught
    finally:
        for hook in hooks:
            hook.remove()


def chosen(run: Run, scene: Scene, indices: Sequence[int], found: Embedded) -> list[tuple[int, int, float]]:
    """Places to show, with the class and its probability: the surest right answer of each of the commonest classes."""
    present = [set(scene.dataset.classes(i, run.task) or ()) for i in indices]
    count = np.bincount([k for p in present for k in p], minlength=len(run.legend))
    picked: list[tuple[int, int, float]] = []
    for k in np.argsort(-count, kind="stable")[: 3 * EXAMPLES]:
        said = found.probabilities[:, k]
        right = [
            at
            for at, p in enumerate(present)
            if k in p and _says(run, found.probabilities[at], int(k)) and indices[at] not in {i for i, _, _ in picked}
        ]
        if right and len(picked) < EXAMPLES:
            best = max(right, key=lambda at: said[at])
            picked.append((indices[best], int(k), float(said[best])))
    return picked


def _says(run: Run, probabilities: NDArray[np.float32], index: int) -> bool:
    return bool(probabilities[index] > 0.5) if run.kind == "multilabel" else int(probabilities.argmax()) == index


def panels(run: Run, scene: Scene, indices: Sequence[int], found: Embedded) -> dict[str, Any]:
    """Examples with the image and the map of each sensor as PNG; or `why` there are none."""
    from landweave.sample import collate
    from landweave.transforms import cubes

    rows: list[dict[str, Any]] = []
    names: list[str] = []
    for index, k, probability in chosen(run, scene, indices, found):
        sample = scene.dataset.read(index)
        cams = grad_cam(run.model, cubes(collate([sample]), run.contract), k)
        shown = _shown(sample, cams)
        if shown:
            names += [p["sensor"] for p in shown]
            about = run.legend.classes[k]
            rows.append({"place": sample.name, "class": about.name, "color": about.color,
                         "probability": round(probability, 4), "panels": shown})  # fmt: skip
    if not rows:
        return {"why": "no class is said rightly of a place, or the backbone ends in no feature map"}
    return {"rows": rows, "sensors": list(dict.fromkeys(names))}


def _shown(sample: Sample, cams: Mapping[str, NDArray[np.float32]]) -> list[dict[str, Any]]:
    """The image of each sensor that has a map, and the map laid over it."""
    out = []
    for stream, image in shown_streams(sample).items():
        name = stream.partition("@")[0]
        cam = cams.get(name, cams.get("early"))
        look = pictures.look(stream, image)
        if cam is None or look is None:
            continue
        peak = float(cam.max())
        share = cam / peak if peak > 0 else cam
        out.append(
            {
                "sensor": name,
                "title": look[0],
                "image": pictures.data_uri(look[1]),
                "cam": pictures.data_uri(overlay(look[1], share)),
                "empty": peak == 0,
                "where": _where(share),
            }
        )
    return out


def overlay(picture: pictures.Pixels, share: NDArray[np.float32]) -> pictures.Pixels:
    """A map of 0 ... 1 over a picture that was turned grey: dark where nothing speaks for the class, bright where much.

    The map is brought to the picture's size bilinearly.
    """
    import matplotlib as mpl
    import torch
    import torch.nn.functional as F

    rows, cols = picture.shape[:2]
    one = torch.from_numpy(np.ascontiguousarray(share))[None, None]
    fine = F.interpolate(one, (rows, cols), mode="bilinear", align_corners=False)[0, 0].numpy().clip(0, 1)
    heat = mpl.colormaps["inferno"](fine)[..., :3] * 255
    grey = picture[..., :3].mean(2, keepdims=True)
    mixed = 0.3 * grey + 0.7 * heat
    found: pictures.Pixels = np.concatenate([mixed.round().astype(np.uint8), picture[..., 3:]], 2)
    return found


def _where(share: NDArray[np.float32]) -> str:
    """Where a map is strongest, in words."""
    if share.max() <= 0:
        return "nothing speaks for it"
    row, col = np.unravel_index(int(share.argmax()), share.shape)
    high = ("upper", "middle", "lower")[min(2, 3 * int(row) // share.shape[0])]
    wide = ("left", "centre", "right")[min(2, 3 * int(col) // share.shape[1])]
    return "centre" if (high, wide) == ("middle", "centre") else f"{high} {wide}"


def drawn(found: Mapping[str, Any], *, salt: str = "gradcam") -> str:
    """The examples as SVG: a row a place, for each sensor its image and its map."""
    from html import escape

    side, gap, head = 150, 10, 68
    sensors = found["sensors"]
    width = 2 * len(sensors) * (side + gap) - gap
    height = len(found["rows"]) * (side + head)
    parts, told = [], []
    for r, row in enumerate(found["rows"]):
        y = r * (side + head)
        parts.append(
            f'<text x="0" y="{y + 16}" font-size="14" font-weight="600">{escape(row["class"])}'
            f'<tspan font-weight="400" dx="8" fill-opacity="0.75">p = {row["probability"]:.2f}</tspan></text>'
        )
        by = {p["sensor"]: p for p in row["panels"]}
        for c, name in enumerate(sensors):
            x = 2 * c * (side + gap)
            for uri, lines, dx in _cells(by.get(name)):
                at = x + dx * (side + gap)
                parts += [
                    f'<text x="{at}" y="{y + 34 + 12 * i}" font-size="10.5" fill-opacity="0.75">{escape(line)}</text>'
                    for i, line in enumerate(lines)
                ]
                parts.append(
                    f'<image x="{at}" y="{y + 51}" width="{side}" height="{side}" href="{uri}" '
                    'style="image-rendering:pixelated"/>'
                )
        seen = "; ".join(f"{n} {by[n]['where']}" for n in sensors if n in by)
        told.append(f"{row['class']} at {row['place']} (probability {row['probability']:.2f}), strongest at: {seen}")
    label = escape("Grad-CAM. " + ". ".join(told), quote=True)
    return (
        f'<svg role="img" aria-label="{label}" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'style="width:{width}px;font-family:system-ui,sans-serif" fill="currentColor" data-figure="{salt}">'
        + "".join(parts)
        + "</svg>"
    )


def _cells(panel: Mapping[str, Any] | None) -> list[tuple[str, tuple[str, ...], int]]:
    """The two pictures of a sensor, each with its lines of text and its column."""
    if panel is None:
        return []
    name, _, look = panel["title"].partition(": ")
    note = "nothing speaks for it" if panel["empty"] else "Grad-CAM"
    return [(panel["image"], (name, look), 0), (panel["cam"], (name, note), 1)]
