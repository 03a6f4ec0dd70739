"""Colour segmentation: the coloured regions of each frame, with soft masks, centroids and areas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, Int8, Int32, UInt8
from scipy import ndimage

from kinema.evaluation import palette
from kinema.frames import FrameArray

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)
_MIN_INTERIOR_SHARE = 0.0003
"""Share of the image that a blob's interior must cover: 5 pixels at 128, 2 at 64. Thinner regions are the
mixed hues where two objects touch."""
_MAX_SEAM_AREA_RATIO, _MAX_SEAM_INTERIOR_SHARE = 0.12, 0.4
"""A blob is a seam between two objects if its area is below this share of a touching blob's area and its
interior below this share of its own area."""
_MIN_SPLIT_ELONGATION = 1.82
"""Ratio of the axes of a region that may be two objects. A cylinder has at most 1.75, two touching discs
√5."""
_WAIST_DEPTH_RATIO = 0.85
"""Share of the largest distance to the outline; where the distance falls below it, a region has a waist."""
_MERGE_HUE_RATIO = 0.55
"""Share of the distance between two palette hues up to which touching regions are one object whose hue lies
between the two. Objects of two colours differ by a whole distance."""
_RIM_PIXELS = 3
"""Width of the soft edge around a blob."""
_GAP_SEARCH_PIXELS = 16
"""Largest gap between two blobs that is measured."""
_TOUCHING_GAP = 1.0
"""Gap in pixels at 128 up to which two blobs touch on screen. One pixel is added for the mixed pixel between
them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Blob:
    """A coloured region of one frame. Lengths are in pixels, x to the right, y down, from the centre of the
    top left pixel."""

    frame: int
    colour_index: int
    """Index in `palette.COLOURS`."""
    hue: float
    """Mean hue in degrees, weighted by chroma."""
    x: float
    y: float
    """Soft centroid."""
    area: float
    """Soft area: partly covered pixels count partly."""
    chroma: float
    """Mean chroma of the interior, 0 to 1."""
    mean_rgb: tuple[float, float, float]
    """Mean sRGB of the interior, 0 to 1."""
    box: tuple[int, int, int, int]
    """Left, top, right, bottom of the hard mask; right and bottom are exclusive."""
    touches_border: bool
    """The region reaches the border of the image."""
    neighbours: frozenset[int]
    """Indices of the blobs of the same frame within `_TOUCHING_GAP`."""
    gap: float
    """Pixels to the nearest other blob of the frame; infinity without one."""
    soft_mask: Float32[np.ndarray, "bh bw"]
    """Coverage, 0 to 1, over the box extended by the rim and clipped to the image."""
    value: UInt8[np.ndarray, "bh bw"]
    """Largest of the three channels, over the same area."""
    origin: tuple[int, int]
    """Column and row of the top left pixel of `soft_mask` and `value`."""
    image_height: int

    @property
    def radius(self) -> float:
        """Radius of the disc with the same area, pixels."""
        return float(np.sqrt(self.area / np.pi))


def _box_distance(first: tuple[slice, slice], second: tuple[slice, slice]) -> float:
    """Distance between two bounding boxes in pixels, 0 if they overlap."""
    gaps = [max(0, a.start - b.stop, b.start - a.stop) for a, b in zip(first, second, strict=True)]
    return float(np.hypot(gaps[0], gaps[1]))


def _region_gap(labels: Int32[np.ndarray, "h w"], one: int, other: int, box: tuple[slice, slice]) -> float:
    """Distance between two regions in pixels, 0 if they touch, infinity if above `_GAP_SEARCH_PIXELS`."""
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
    """The share of each pixel that an object covers, from its chroma relative to the interior next to it.

    A pixel on the edge mixes the object with the neutral floor, so its chroma falls in proportion. It is
    compared with the nearest interior chroma, because one side of an object may be darker than another.
    """
    reference = np.where(interior, chroma, 0)
    grown = ndimage.maximum_filter(reference, size=5, mode="constant")
    grown = np.where(grown > 0, grown, reference.max(initial=palette.MIN_CHROMA))
    # The ends of the ramp exclude colour bleeding on the floor and include shading inside the object.
    return np.clip((chroma / grown - 0.05) / 0.85, 0, 1).astype(np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class _FrameMaps:
    """Per-pixel maps of one frame."""

    frame: int
    pixels: UInt8[np.ndarray, "h w 3"]
    labels: Int32[np.ndarray, "h w"]
    interior: np.ndarray
    alpha: Float32[np.ndarray, "h w"]
    beta: Float32[np.ndarray, "h w"]
    chroma: Float32[np.ndarray, "h w"]


def find_blobs(frames: FrameArray) -> list[list[Blob]]:
    """The blobs of every frame, largest first."""
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
    """Connected regions of one colour, labelled from 1, and the colour of each label."""
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
    """Merge touching regions of neighbouring colours whose hues hardly differ, into the label of the larger
    one.

    In a tinted video a hue can lie half-way between two palette hues, and noise would split one object.
    """
    pairs = _touching_pairs(labels)
    if not len(pairs):
        return labels
    flat, count = labels.ravel(), len(colours)
    sums = [np.bincount(flat, weights=axis.ravel(), minlength=count) for axis in (alpha, beta)]
    hue = np.degrees(np.arctan2(sums[1], sums[0])) % 360
    areas = np.bincount(flat, minlength=count)
    neighbour_colours: dict[int, set[int]] = {}
    for one, other in pairs.tolist():
        neighbour_colours.setdefault(one, set()).add(colours[other])
        neighbour_colours.setdefault(other, set()).add(colours[one])
    palette_hues = np.array([*palette.HUES.values()])
    owner = np.arange(count)
    for one, other in pairs.tolist():
        smaller = min(one, other, key=lambda label: areas[label])
        # A region between objects of two other colours is their seam; see `_is_seam`.
        if len(neighbour_colours[smaller]) > 1:
            continue
        palette_distance = palette.hue_distance(palette_hues[colours[one]], palette_hues[colours[other]])
        if palette.hue_distance(hue[one], hue[other]) < _MERGE_HUE_RATIO * palette_distance:
            first, second = owner[one], owner[other]
            larger = first if areas[first] >= areas[second] else second
            owner[(owner == first) | (owner == second)] = larger
    return owner[labels].astype(np.int32)


def _touching_pairs(labels: Int32[np.ndarray, "h w"]) -> Int[np.ndarray, "n 2"]:
    """Pairs of labels that share a pixel edge, the smaller label first."""
    pairs = []
    for one, other in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        touch = (one != other) & (one > 0) & (other > 0)
        pairs.append(np.stack([one[touch], other[touch]], axis=1))
    return np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0)


def _nearest_label(labels: Int32[np.ndarray, "h w"]) -> Int32[np.ndarray, "h w"]:
    """The label of the nearest labelled pixel, for every pixel."""
    indices = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
    row, column = np.asarray(indices)
    return labels[row, column]


def _split_at_waists(
    labels: Int32[np.ndarray, "h w"], colours: list[int]
) -> tuple[Int32[np.ndarray, "h w"], list[int]]:
    """Split regions with a narrow waist: objects of one colour that touch on screen.

    A region has a waist if the pixels far from the outline (`_WAIST_DEPTH_RATIO`) form several cores. Regions
    at the border or next to another colour are not split: their outline is cut.
    """
    for label, box in enumerate(ndimage.find_objects(labels), 1):
        if box is None:
            continue
        rows, columns = (slice(max(0, side.start - 2), side.stop + 2) for side in box)
        crop = labels[rows, columns]
        mask = crop == label
        at_border = box[0].start == 0 or box[1].start == 0
        at_border = at_border or box[0].stop == labels.shape[0] or box[1].stop == labels.shape[1]
        if (
            at_border
            or mask.sum() < 40
            or ((crop > 0) & ~mask).any()
            or _elongation(mask) < _MIN_SPLIT_ELONGATION
        ):
            continue
        depth = np.asarray(ndimage.distance_transform_edt(np.pad(ndimage.binary_fill_holes(mask), 1)))
        depth = depth[1:-1, 1:-1]
        cores, count = ndimage.label(depth > _WAIST_DEPTH_RATIO * depth.max(), structure=_EIGHT_CONNECTED)
        if count < 2:
            continue
        owner = _nearest_label(np.asarray(cores))
        for core in range(2, count + 1):
            crop[mask & (owner == core)] = len(colours)
            colours.append(colours[label])
    return labels, colours


def _elongation(mask: np.ndarray) -> float:
    """Ratio of the axes of the ellipse with the same second moments."""
    axes = np.linalg.eigvalsh(np.cov(np.stack(np.nonzero(mask))))
    return float(np.sqrt(axes[1] / max(axes[0], 1e-9)))


def _interior_mask(labels: Int32[np.ndarray, "h w"]) -> np.ndarray:
    """Pixels whose four neighbours have the same label; pixels outside the image count as the same."""
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
    interior_areas = np.bincount(labels[interior], minlength=len(colours))
    areas = np.bincount(labels.ravel(), minlength=len(colours))
    interior_areas[0] = 0
    min_interior = max(2.0, _MIN_INTERIOR_SHARE * height * width)
    candidates = sorted(np.flatnonzero(interior_areas >= min_interior).tolist(), key=lambda n: -areas[n])
    boxes = ndimage.find_objects(labels)
    touching_gap = 1 + _TOUCHING_GAP * height / 128
    gaps = {}
    for k, one in enumerate(candidates):
        for other in candidates[k + 1 :]:
            is_close = _box_distance(boxes[one - 1], boxes[other - 1]) < _GAP_SEARCH_PIXELS
            gap = _region_gap(labels, other, one, boxes[other - 1]) if is_close else np.inf
            gaps[one, other] = gaps[other, one] = gap
    kept = [
        label
        for label in candidates
        if not _is_seam(label, candidates, colours, areas, interior_areas, gaps, touching_gap)
    ]
    maps = _FrameMaps(
        frame=frame, pixels=pixels, labels=labels, interior=interior, alpha=alpha, beta=beta, chroma=chroma
    )
    return [
        _build_blob(
            maps,
            label,
            colours[label],
            boxes[label - 1],
            min((gaps[label, other] for other in kept if other != label), default=np.inf),
            frozenset(
                k for k, other in enumerate(kept) if other != label and gaps[label, other] <= touching_gap
            ),
        )
        for label in kept
    ]


def _is_seam(
    label: int,
    labels: list[int],
    colours: list[int],
    areas: Int[np.ndarray, " n"],
    interior_areas: Int[np.ndarray, " n"],
    gaps: dict[tuple[int, int], float],
    touching_gap: float,
) -> bool:
    """Whether a region is the mixed colour where two objects touch: thin, or between two larger ones."""
    touching = [
        other
        for other in labels
        if other != label and gaps[label, other] <= touching_gap and colours[other] != colours[label]
    ]
    is_small = any(areas[label] < _MAX_SEAM_AREA_RATIO * areas[other] for other in touching)
    if is_small and interior_areas[label] < _MAX_SEAM_INTERIOR_SHARE * areas[label]:
        return True
    return len(touching) > 1 and all(areas[label] < 0.5 * areas[other] for other in touching)


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
    hard_mask = labels == label
    interior = hard_mask & frame_maps.interior[crop]
    support = ndimage.binary_dilation(hard_mask, iterations=_RIM_PIXELS)
    if neighbours or ((labels > 0) & ~hard_mask).any():
        # Pixels of the rim belong to the nearest region.
        support &= _nearest_label(labels) == label
    mask = compute_soft_mask(chroma, interior) * support
    area = float(mask.sum())
    row_sums, column_sums = mask.sum(axis=1), mask.sum(axis=0)
    a, b = float(frame_maps.alpha[crop][interior].sum()), float(frame_maps.beta[crop][interior].sum())
    mean = frame_maps.pixels[crop][interior].mean(axis=0) / 255
    return Blob(
        frame=frame_maps.frame,
        colour_index=colour,
        hue=float(np.degrees(np.arctan2(b, a)) % 360),
        x=left + float(column_sums @ np.arange(len(column_sums))) / area,
        y=top + float(row_sums @ np.arange(len(row_sums))) / area,
        area=area,
        chroma=float(chroma[interior].mean()),
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
