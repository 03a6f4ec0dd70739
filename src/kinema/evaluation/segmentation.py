"""From pixels to blobs: one coloured region of one frame, with its soft centroid and area."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, Int8, Int32, UInt8
from scipy import ndimage

from kinema.evaluation import palette

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)
_MIN_INTERIOR_SHARE = 0.0003
"""Share of the picture that a blob's interior must cover: 5 pixels at 128, 2 at 64. Thinner regions are
the mixed hues where two things touch, not things."""
_MAX_SEAM_AREA_RATIO, _MAX_SEAM_INTERIOR_SHARE = 0.12, 0.4
"""A blob smaller than this share of a blob that it touches, and with less than this share of its pixels
inside, is the seam between two things."""
_MIN_SPLIT_ELONGATION = 1.82
"""Ratio of the axes of a region that may be two things side by side; a cylinder has 1.75 at most, two discs
that touch √5."""
_WAIST_DEPTH_RATIO = 0.85
_MERGE_HUE_RATIO = 0.55
"""Share of the distance between two palette colours within which regions that touch are one thing, whose hue
happens to lie between the two. Things of two colours are a whole distance apart."""
_RIM_PIXELS = 3
"""Pixels round a blob in which its soft edge lies."""
_GAP_SEARCH_PIXELS = 16
"""Pixels within which the gap between two blobs is measured."""
_TOUCHING_GAP = 1.0
"""Pixels at 128 between two blobs up to which they count as touching on screen, beyond the one that
belongs to neither because it is half of each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Blob:
    """A coloured region of one frame. Lengths in pixels, x to the right, y down, from the middle of the
    top left pixel."""

    frame: int
    colour_index: int
    """Place in `palette.COLOURS`."""
    hue: float
    """Mean hue in degrees, weighted by chroma."""
    x: float
    y: float
    """Soft centroid."""
    area: float
    """Soft area: pixels that are half covered count half."""
    chroma: float
    """Mean chroma of the interior, 0 to 1."""
    mean_rgb: tuple[float, float, float]
    """Mean sRGB of the interior, 0 to 1."""
    box: tuple[int, int, int, int]
    """Left, top, right, bottom of the hard mask, the last two exclusive."""
    touches_border: bool
    """Whether it reaches the edge of the picture."""
    neighbours: frozenset[int]
    """Blobs of the same frame within `_TOUCHING_GAP`, by their place in the frame's list."""
    gap: float
    """Pixels to the nearest other blob of the frame; infinity when alone."""
    soft_mask: Float32[np.ndarray, "bh bw"]
    """Soft mask, 0 to 1, over the box widened by the rim; cut off at the picture's edge."""
    value: UInt8[np.ndarray, "bh bw"]
    """Largest of the three channels, over the same box."""
    origin: tuple[int, int]
    """Column and row at which `soft_mask` and `value` begin."""
    image_height: int
    """Of the picture, in pixels."""

    @property
    def radius(self) -> float:
        """Radius of the disc of the same area, pixels."""
        return float(np.sqrt(self.area / np.pi))


def _box_distance(first: tuple[slice, slice], second: tuple[slice, slice]) -> float:
    """Pixels between two bounding boxes, 0 when they overlap."""
    gaps = [max(0, a.start - b.stop, b.start - a.stop) for a, b in zip(first, second, strict=True)]
    return float(np.hypot(gaps[0], gaps[1]))


def _region_gap(labels: Int32[np.ndarray, "h w"], one: int, other: int, box: tuple[slice, slice]) -> float:
    """Pixels between two regions, looked for within `_GAP_SEARCH_PIXELS` pixels of the first; 0 when they touch."""
    rows = slice(max(0, box[0].start - _GAP_SEARCH_PIXELS), box[0].stop + _GAP_SEARCH_PIXELS)
    columns = slice(max(0, box[1].start - _GAP_SEARCH_PIXELS), box[1].stop + _GAP_SEARCH_PIXELS)
    crop = labels[rows, columns]
    others = crop == other
    if not others.any():
        return np.inf
    distance = ndimage.distance_transform_edt(crop != one)
    return max(0.0, float(np.asarray(distance)[others].min()) - 1)


def compute_soft_mask(
    chroma: Float32[np.ndarray, "bh bw"], interior: np.ndarray
) -> Float32[np.ndarray, "bh bw"]:
    """How much of each pixel an object covers, from its chroma against that of the interior next to it.

    A pixel on the edge mixes the object with the neutral floor, so its chroma falls in proportion. The
    comparison is with the nearest interior chroma, because one side of an object may be darker than another.
    """
    reference = np.where(interior, chroma, 0)
    grown = ndimage.maximum_filter(reference, size=5, mode="constant")
    grown = np.where(grown > 0, grown, reference.max(initial=palette.MIN_CHROMA))
    # The ends of the ramp keep the bleeding of colour onto the floor out, and shading inside whole.
    return np.clip((chroma / grown - 0.05) / 0.85, 0, 1).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class _FrameMaps:
    """One frame, taken apart."""

    frame: int
    pixels: UInt8[np.ndarray, "h w 3"]
    labels: Int32[np.ndarray, "h w"]
    interior: np.ndarray
    alpha: Float32[np.ndarray, "h w"]
    beta: Float32[np.ndarray, "h w"]
    chroma: Float32[np.ndarray, "h w"]


def find_blobs(frames: UInt8[np.ndarray, "f h w 3"]) -> list[list[Blob]]:
    """Every blob of every frame, largest first within a frame."""
    alpha, beta = palette.opponent_axes(frames)
    classes = palette.classify_pixels(alpha, beta)
    chroma = np.sqrt(alpha * alpha + beta * beta)
    return [
        _blobs_in_frame(
            frame,
            *_label_regions(classes[frame], alpha[frame], beta[frame]),
            pixels=frames[frame],
            alpha=alpha[frame],
            beta=beta[frame],
            chroma=chroma[frame],
        )
        for frame in range(len(frames))
    ]


def _label_regions(
    classes: Int8[np.ndarray, "h w"], alpha: Float32[np.ndarray, "h w"], beta: Float32[np.ndarray, "h w"]
) -> tuple[Int32[np.ndarray, "h w"], list[int]]:
    """Regions of one colour, numbered from 1, and the colour of each number."""
    labels = np.zeros(classes.shape, dtype=np.int32)
    colours = [palette.NO_COLOUR]
    present = np.bincount(classes.ravel() + 1, minlength=len(palette.COLOURS) + 1)[1:]
    for colour in np.flatnonzero(present):
        part, count = ndimage.label(classes == colour, structure=_EIGHT_CONNECTED)
        labels += np.where(part > 0, part + (len(colours) - 1), 0).astype(np.int32)
        colours += [int(colour)] * int(count)
    return _split_at_waists(_merge_similar_regions(labels, colours, alpha, beta), colours)


def _merge_similar_regions(
    labels: Int32[np.ndarray, "h w"],
    colours: list[int],
    alpha: Float32[np.ndarray, "h w"],
    beta: Float32[np.ndarray, "h w"],
) -> Int32[np.ndarray, "h w"]:
    """Regions of neighbouring colours that touch and hardly differ in hue take the number of the larger one.

    An off-colour film has hues half-way between two of the palette, and noise would cut one thing in two.
    """
    pairs = _touching_pairs(labels)
    if not len(pairs):
        return labels
    flat, count = labels.ravel(), len(colours)
    sums = [np.bincount(flat, weights=axis.ravel(), minlength=count) for axis in (alpha, beta)]
    hue = np.degrees(np.arctan2(sums[1], sums[0])) % 360
    areas = np.bincount(flat, minlength=count)
    beside: dict[int, set[int]] = {}
    for one, other in pairs.tolist():
        beside.setdefault(one, set()).add(colours[other])
        beside.setdefault(other, set()).add(colours[one])
    wheel = np.array([*palette.HUES.values()])
    owner = np.arange(count)
    for one, other in pairs.tolist():
        small = min(one, other, key=lambda n: areas[n])
        # What lies between things of two other colours is their seam; see `_is_seam`.
        if len(beside[small]) > 1:
            continue
        apart = palette.hue_distance(wheel[colours[one]], wheel[colours[other]])
        if palette.hue_distance(hue[one], hue[other]) < _MERGE_HUE_RATIO * apart:
            first, second = owner[one], owner[other]
            larger = first if areas[first] >= areas[second] else second
            owner[(owner == first) | (owner == second)] = larger
    return owner[labels].astype(np.int32)


def _touching_pairs(labels: Int32[np.ndarray, "h w"]) -> Int[np.ndarray, "n 2"]:
    """Pairs of regions that share an edge of a pixel, the smaller number first."""
    sides = ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:]))
    found = []
    for one, other in sides:
        meet = (one != other) & (one > 0) & (other > 0)
        found.append(np.stack([one[meet], other[meet]], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def _nearest_label(labels: Int32[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    """The label of the nearest labelled pixel, everywhere."""
    places = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    row, column = np.asarray(places)
    return labels[row, column]


def _split_at_waists(
    labels: Int32[np.ndarray, "h w"], colours: list[int]
) -> tuple[Int32[np.ndarray, "h w"], list[int]]:
    """Cut regions with a narrow waist in two: things of one colour that touch on screen.

    Where the distance to the outline falls below `_WAIST_DEPTH_RATIO` of its largest value between two cores, there is
    a waist. Regions next to another colour are left alone: there the other thing cuts the outline.
    """
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        if place is None:
            continue
        rows, columns = (slice(max(0, p.start - 2), p.stop + 2) for p in place)
        crop = labels[rows, columns]
        mine = crop == number
        cut = place[0].start == 0 or place[1].start == 0
        cut = cut or place[0].stop == labels.shape[0] or place[1].stop == labels.shape[1]
        if cut or mine.sum() < 40 or ((crop > 0) & ~mine).any() or _elongation(mine) < _MIN_SPLIT_ELONGATION:
            continue
        depth = np.asarray(ndimage.distance_transform_edt(np.pad(ndimage.binary_fill_holes(mine), 1)))
        depth = depth[1:-1, 1:-1]
        cores, count = ndimage.label(depth > _WAIST_DEPTH_RATIO * depth.max(), structure=_EIGHT_CONNECTED)
        if count < 2:
            continue
        owner = _nearest_label(np.asarray(cores))
        for core in range(2, count + 1):
            crop[mine & (owner == core)] = len(colours)
            colours.append(colours[number])
    return labels, colours


def _elongation(mask: np.ndarray) -> float:
    """Ratio of the axes of the ellipse with the same second moments, whichever way it lies."""
    axes = np.linalg.eigvalsh(np.cov(np.stack(np.nonzero(mask))))
    return float(np.sqrt(axes[1] / max(axes[0], 1e-9)))


def _interior_mask(labels: Int32[np.ndarray, "h w"]) -> np.ndarray:
    """Pixels whose four neighbours have the same label; beyond the picture's edge everything has."""
    padded = np.pad(labels, 1, mode="edge")
    return (
        (labels > 0)
        & (padded[:-2, 1:-1] == labels)
        & (padded[2:, 1:-1] == labels)
        & (padded[1:-1, :-2] == labels)
        & (padded[1:-1, 2:] == labels)
    )


def _blobs_in_frame(
    frame: int,
    labels: Int32[np.ndarray, "h w"],
    colours: list[int],
    *,
    pixels: UInt8[np.ndarray, "h w 3"],
    alpha: Float32[np.ndarray, "h w"],
    beta: Float32[np.ndarray, "h w"],
    chroma: Float32[np.ndarray, "h w"],
) -> list[Blob]:
    height, width = labels.shape
    interior = _interior_mask(labels)
    inner = np.bincount(labels[interior], minlength=len(colours))
    areas = np.bincount(labels.ravel(), minlength=len(colours))
    inner[0] = 0
    least = max(2.0, _MIN_INTERIOR_SHARE * height * width)
    numbers = sorted(np.flatnonzero(inner >= least).tolist(), key=lambda n: -areas[n])
    places = ndimage.find_objects(labels)
    near = 1 + _TOUCHING_GAP * height / 128
    gaps = {}
    for k, one in enumerate(numbers):
        for other in numbers[k + 1 :]:
            close = _box_distance(places[one - 1], places[other - 1]) < _GAP_SEARCH_PIXELS
            gap = _region_gap(labels, other, one, places[other - 1]) if close else np.inf
            gaps[one, other] = gaps[other, one] = gap
    kept = [n for n in numbers if not _is_seam(n, numbers, colours, areas, inner, gaps, near)]
    picture = _FrameMaps(
        frame=frame, pixels=pixels, labels=labels, interior=interior, alpha=alpha, beta=beta, chroma=chroma
    )
    found = []
    for n in kept:
        distances = [gaps[n, m] for m in kept if m != n]
        touched = frozenset(k for k, m in enumerate(kept) if m != n and gaps[n, m] <= near)
        found.append(
            _build_blob(picture, n, colours[n], places[n - 1], min(distances, default=np.inf), touched)
        )
    return found


def _is_seam(
    label: int,
    labels: list[int],
    colours: list[int],
    areas: Int[np.ndarray, " n"],
    interior_areas: Int[np.ndarray, " n"],
    gaps: dict[tuple[int, int], float],
    touching_gap: float,
) -> bool:
    """Whether a region is only the mixed colour where two things meet, thin or between the two."""
    beside = [
        m for m in labels if m != label and gaps[label, m] <= touching_gap and colours[m] != colours[label]
    ]
    larger = [m for m in beside if areas[label] < _MAX_SEAM_AREA_RATIO * areas[m]]
    if larger and interior_areas[label] < _MAX_SEAM_INTERIOR_SHARE * areas[label]:
        return True
    return len(beside) > 1 and all(areas[label] < 0.5 * areas[m] for m in beside)


def _build_blob(
    frame_maps: _FrameMaps,
    label: int,
    colour: int,
    box: tuple[slice, slice],
    gap: float,
    neighbours: frozenset[int],
) -> Blob:
    height, width = frame_maps.labels.shape
    rows, columns = box
    top, left = max(0, rows.start - _RIM_PIXELS), max(0, columns.start - _RIM_PIXELS)
    crop = (
        slice(top, min(height, rows.stop + _RIM_PIXELS)),
        slice(left, min(width, columns.stop + _RIM_PIXELS)),
    )
    labels, chroma = frame_maps.labels[crop], frame_maps.chroma[crop]
    mine = labels == label
    inside = mine & frame_maps.interior[crop]
    if neighbours or ((labels > 0) & ~mine).any():
        # The rim belongs to whichever region is nearer.
        owner = _nearest_label(labels)
        reach = ndimage.binary_dilation(mine, iterations=_RIM_PIXELS) & (owner == label)
    else:
        reach = ndimage.binary_dilation(mine, iterations=_RIM_PIXELS)
    mask = compute_soft_mask(chroma, inside) * reach
    total = float(mask.sum())
    down, across = mask.sum(axis=1), mask.sum(axis=0)
    a, b = float(frame_maps.alpha[crop][inside].sum()), float(frame_maps.beta[crop][inside].sum())
    mean = frame_maps.pixels[crop][inside].mean(axis=0) / 255
    return Blob(
        frame=frame_maps.frame,
        colour_index=colour,
        hue=float(np.degrees(np.arctan2(b, a)) % 360),
        x=left + float(across @ np.arange(len(across))) / total,
        y=top + float(down @ np.arange(len(down))) / total,
        area=total,
        chroma=float(chroma[inside].mean()),
        mean_rgb=(float(mean[0]), float(mean[1]), float(mean[2])),
        box=(columns.start, rows.start, columns.stop, rows.stop),
        touches_border=rows.start == 0 or columns.start == 0 or rows.stop == height or columns.stop == width,
        neighbours=neighbours,
        gap=gap,
        soft_mask=mask,
        value=frame_maps.pixels[crop].max(axis=2),
        origin=(left, top),
        image_height=height,
    )
