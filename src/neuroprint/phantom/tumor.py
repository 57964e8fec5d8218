"""A glioma: where it sits, how large it is, and which voxels are core, rim and edema."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from neuroprint.phantom.anatomy import Anatomy, Focus, Lattice, Tissues
from neuroprint.phantom.noise import noise, random_rotation

if TYPE_CHECKING:
    from neuroprint.phantom.types import PhantomFloats

_MEDIAN_CM3, _VOLUME_SIGMA = 105.0, 0.95  # before truncation
_SMALLEST, LARGEST_CM3 = 5.4, 240.0  # cm3: 5 to 250, with room for what rounding to voxels does
_BARRIER = np.float32(1e4)


@dataclass(frozen=True)
class TumorKind:
    """What is asked of a tumor before it is drawn; by default whatever a glioma may be.

    Attributes:
        volume_cm3: Of the whole tumor before it grows; None draws it.
        growth: Factor on the volume; centers, shape and seed stay.
        without_rim: Probability that nothing enhances.
        rim_mm: Range of the mean thickness of the enhancing rim, where there is one.
        solid: Range of how rare enhancing nodules are within the core.
    """

    volume_cm3: float | None = None
    growth: float = 1.0
    without_rim: float = 0.125
    rim_mm: tuple[float, float] = (1.6, 5.5)
    solid: tuple[float, float] = (0.6, 2.4)


GLIOMA = TumorKind()
"""The tumor of the default phantoms."""


@dataclass(frozen=True)
class Tumor:
    """A tumor before it is put on a grid; lengths in head mm, volumes in cm3.

    Attributes:
        foci: Center, swelling and push of each focus; the first is the largest.
        radii: Radius of each focus' core.
        axes: World to core axes (F, 3, 3), divided by relative lengths of determinant 1.
        volume: Whole tumor, all foci.
        core_share: The core's part of the whole.
        rim_mm: Mean thickness of the enhancing rim; 0 for none.
        solid: How rare enhancing nodules are within the core.
        lobes: How lobulated the core is.
        reach: Geodesic distance of each :attr:`lattice` position from the cores, in mm of white matter.
        seed: Seeds the small-scale noise.
    """

    foci: tuple[Focus, ...]
    radii: tuple[float, ...]
    axes: PhantomFloats
    volume: float
    core_share: float
    rim_mm: float
    solid: float
    lobes: float
    reach: PhantomFloats
    lattice: Lattice
    seed: int


@dataclass(frozen=True)
class TumorMaps:
    """A tumor at positions (N,): hard label, and soft memberships that sum to at most 1."""

    label: npt.NDArray[np.uint8]
    edema: PhantomFloats
    necrosis: PhantomFloats
    non_enhancing: PhantomFloats
    enhancing: PhantomFloats


def make_tumor(
    anatomy: Anatomy, rng: np.random.Generator, scale: float, kind: TumorKind = GLIOMA
) -> tuple[Tumor, Anatomy]:
    """Draws a tumor for a healthy anatomy; returns it and the anatomy as the tumor has displaced it.

    ``scale`` is how much the head will be enlarged: volumes that are drawn here stay in range with and without it.
    """
    volume = draw_volume(rng, scale) if kind.volume_cm3 is None else kind.volume_cm3
    has_rim = rng.random() > kind.without_rim
    core_share = float(np.clip(rng.beta(2.2, 3.2), 0.08, 0.9)) if has_rim else float(rng.uniform(0.3, 0.85))
    count = 1 if rng.random() > 0.05 else int(rng.integers(2, 4))
    shares = np.sort(rng.dirichlet(np.full(count, 3.0)))[::-1]
    radii = np.cbrt(3000 * volume * core_share * shares / (4 * pi))
    swelling = np.cbrt(3000 * volume * (core_share + 0.3 * (1 - core_share)) * shares / (4 * pi))
    push = rng.uniform(0.25, 0.5) * (1.0 if has_rim else 0.7)
    centers = _draw_centers(anatomy, rng, tuple(float(r) for r in radii))
    wider = np.cbrt(kind.growth)
    foci = tuple(Focus(c, float(r), push) for c, r in zip(centers, swelling * wider, strict=True))
    lengths = np.exp(rng.normal(0, 0.16, (count, 3)))
    lengths /= np.cbrt(lengths.prod(axis=1, keepdims=True))
    axes = np.stack([random_rotation(rng) / length[:, None] for length in lengths]).astype(np.float32)
    rim_mm = float(rng.uniform(*kind.rim_mm)) if has_rim else 0.0
    displaced = anatomy.with_foci(foci)
    tumor = Tumor(
        foci,
        tuple(float(r) for r in radii * wider),
        axes,
        volume * kind.growth,
        core_share,
        rim_mm,
        solid=float(rng.uniform(*kind.solid)),
        lobes=float(rng.uniform(0.5, 1.3)),
        reach=np.empty(0, np.float32),
        lattice=Lattice(5.0),
        seed=int(rng.integers(2**63)),
    )
    return _with_reach(tumor, displaced), displaced


def tumor_maps(
    tumor: Tumor,
    anatomy: Anatomy,
    points: PhantomFloats,
    tissues: Tissues,
    inside: npt.NDArray[np.bool_],
    voxel_cm3: float,
) -> TumorMaps:
    """The tumor at head positions (3, N), within the brain's voxels ``inside``, of ``voxel_cm3`` in head space."""
    rng = np.random.default_rng(tumor.seed)
    fluid = tissues.csf + tissues.ventricle
    level = core_level(tumor, points, rng) + np.float32(0.9) * fluid + np.float32(2) * tissues.dura
    level[~inside] = _BARRIER
    core_limit = _limit(level, tumor.volume * tumor.core_share / voxel_cm3)
    inward_mm = (core_limit - level) * np.float32(tumor.radii[0])
    core = inward_mm > 0

    reach = tumor.lattice.read(tumor.reach[None], points)[0]
    rough = noise(points, 16.0, rng)
    score = reach * (1 + np.float32(0.22) * rough) + 7 * tissues.cortex + 2 * tissues.deep_gray + 30 * fluid
    score += 30 * (tissues.dura + tissues.vessel + tissues.choroid) + np.float32(1.2) * noise(points, 4.0, rng)
    score[core] = -_BARRIER
    score[~inside] = _BARRIER
    limit = _limit(score, tumor.volume / voxel_cm3)
    edema = _soft((limit - score) / np.float32(2.5)) * np.clip(0.85 + np.float32(0.2) * rough, 0.4, 1) * inside

    label = np.where(score < limit, np.uint8(2), np.uint8(0))
    necrosis, non_enhancing, enhancing = (np.zeros_like(level) for _ in range(3))
    near = inward_mm > -4
    parts = _core_parts(tumor, points[:, near], inward_mm[near], float(np.cbrt(1000 * voxel_cm3)), rng)
    necrosis[near], non_enhancing[near], enhancing[near] = parts
    label[core] = np.where((enhancing > necrosis + non_enhancing)[core], 4, 1)
    return TumorMaps(label, edema * (1 - necrosis - non_enhancing - enhancing), necrosis, non_enhancing, enhancing)


def _core_parts(
    tumor: Tumor, points: PhantomFloats, inward_mm: PhantomFloats, voxel_mm: float, rng: np.random.Generator
) -> tuple[PhantomFloats, PhantomFloats, PhantomFloats]:
    """Necrosis, non-enhancing and enhancing tumor at points ``inward_mm`` below the core's surface."""
    size_mm = tumor.radii[0]
    core = _soft(inward_mm / np.float32(0.5 + 0.4 * voxel_mm))
    uneven = noise(points, max(0.7 * size_mm, 5.0), rng)
    fine = noise(points, 4.0, rng)
    lumps = noise(points, max(0.45 * size_mm, 5.0), rng) + np.float32(0.3) * fine
    holes = noise(points, max(0.5 * size_mm, 6.0), rng) + np.float32(1.0 if tumor.rim_mm else -1.0)
    thickness = np.float32(tumor.rim_mm) * np.exp(np.float32(0.5) * uneven + np.float32(0.25) * fine)
    rim = _soft(thickness - np.maximum(inward_mm, 0)) * _soft((uneven + np.float32(1.5)) / 0.2)
    enhances = np.maximum(rim, _soft((lumps - tumor.solid) / 0.25)) * np.float32(tumor.rim_mm > 0)
    necrotic = _soft(holes / 0.4)
    rest = core * (1 - enhances)
    return rest * necrotic, rest * (1 - necrotic), core * enhances


def core_level(tumor: Tumor, points: PhantomFloats, rng: np.random.Generator | None = None) -> PhantomFloats:
    """Distance from the nearest focus in units of its radius (N,); with ``rng``, of lobulated outline."""
    level = np.full(points.shape[1], _BARRIER)
    for focus, radius, axes in zip(tumor.foci, tumor.radii, tumor.axes, strict=True):
        offset = axes @ (points - focus.center[:, None])
        level = np.minimum(level, np.sqrt(np.sum(offset**2, axis=0)) / np.float32(radius))
    if rng is None:
        return level
    size, near = tumor.radii[0], level < 3
    at = points[:, near]
    bumps = 0.2 * noise(at, max(1.2 * size, 8.0), rng) + 0.07 * noise(at, max(0.5 * size, 6.0), rng)
    level[near] = level[near] * np.exp(np.float32(tumor.lobes) * bumps) + np.float32(0.02) * noise(at, 4.0, rng)
    return level


def draw_volume(rng: np.random.Generator, scale: float = 1.0) -> float:
    """Volume of a whole tumor, cm3, that stays in range where the head is enlarged by ``scale`` and where it is not.

    A log-normal draw, truncated rather than clipped, so that no volume is a pile-up.
    """
    from scipy.special import ndtr, ndtri

    least, most = _SMALLEST / min(1.0, scale**3), LARGEST_CM3 / max(1.0, scale**3)
    low, high = ndtr(np.log(np.array([least, most]) / _MEDIAN_CM3) / _VOLUME_SIGMA)
    drawn = np.exp(_VOLUME_SIGMA * ndtri(rng.uniform(low, high))) * _MEDIAN_CM3
    return float(np.clip(drawn, least, most))


def _draw_centers(anatomy: Anatomy, rng: np.random.Generator, radii: tuple[float, ...]) -> list[PhantomFloats]:
    """Positions in white and deep matter, spread over the whole brain; later foci on the side of the first."""
    nodes = anatomy.lattice.points()
    mni = anatomy.to_mni(nodes)
    nodes, mni = nodes[:, anatomy.depth(mni) > 3], mni[:, anatomy.depth(mni) > 3]
    x, y, z = mni
    below = (z < -14) & (y < -40) | (z < -18) & (np.abs(x) < 18) & (y < 0)  # cerebellum, brainstem
    maps = anatomy.template.read(mni)
    weight = np.maximum(np.clip(2 * maps["fold"], 0, 1), 0.5 * maps["deep"]).astype(np.float64)
    weight *= np.where(below, 0.12, 1.0) * np.where((np.abs(x) > 28) & (z < 12) & ~below, 1.8, 1.0)
    depth, wall = maps["depth"], maps["ventricle"]
    centers: list[PhantomFloats] = []
    for number, radius in enumerate(radii):
        room = np.clip((depth - 0.35 * radius - 3) / 4, 0, 1) * (np.abs(x) > 3 + 0.3 * radius)
        room = room * np.clip((wall - 0.5 * radius) / 5, 0.02, 1)
        chance = weight * room
        if number == 0:
            side = rng.random() < 0.5
            chance = chance * ((x > 0) == side)
        else:
            far = np.linalg.norm(nodes - centers[0][:, None], axis=0)
            chance = chance * (far > 1.2 * (radii[0] + radius)) * (far < 70) * np.where((x > 0) == side, 1, 0.2)
        if chance.sum() == 0:  # no room: anywhere deep
            chance = weight * (depth > 10) + 1e-9 * (depth > 10)
        centers.append(nodes[:, rng.choice(chance.size, p=chance / chance.sum())] + rng.uniform(-2, 2, 3).astype("f4"))
    return centers


def _with_reach(tumor: Tumor, anatomy: Anatomy) -> Tumor:
    """The tumor with the way from its cores to everywhere: easy along white matter, hard through gray and fluid."""
    nodes = tumor.lattice.points()
    mni = anatomy.to_mni(nodes)
    brain = anatomy.depth(mni) > 0
    maps = anatomy.template.read(mni[:, brain])
    gray = np.clip(1 - 1.6 * maps["fold"], 0, 1) * (1 - 0.5 * maps["deep"])
    fluid = np.clip(-1.5 * maps["fold"] - 0.4, 0, 1)
    cost = np.full(brain.shape, np.float32(60))
    cost[brain] = 1 + 2.2 * gray + 8 * fluid
    cost *= np.float32(tumor.lattice.step_mm)
    level = core_level(tumor, nodes)
    start = np.where(level < 1, np.float32(0), _BARRIER)
    start[level.argmin()] = 0
    reach = _travel(start.reshape(tumor.lattice.shape), cost.reshape(tumor.lattice.shape))
    return Tumor(**{**tumor.__dict__, "reach": reach.ravel()})


def _travel(start: PhantomFloats, cost: PhantomFloats, rounds: int = 2) -> PhantomFloats:
    """Cheapest way from ``start`` to every voxel, by sweeps of planes in six directions (a chamfer distance)."""
    time = np.pad(start, 1, constant_values=_BARRIER)
    prices = [np.pad(cost * np.float32(np.sqrt(length)), 1) for length in (1, 2, 3)]
    for _ in range(3 * rounds):
        time, *prices = (np.moveaxis(a, 0, 2) for a in (time, *prices))
        for way in (slice(None), slice(None, None, -1)):
            planes, costs = time[way], [price[way] for price in prices]
            for i in range(1, len(planes) - 1):
                _relax(planes[i], planes[i - 1], [price[i] for price in costs])
    return time[1:-1, 1:-1, 1:-1]  # each round of three turns ends as it began


def _relax(here: PhantomFloats, before: PhantomFloats, price: list[PhantomFloats]) -> None:
    """Lowers ``here`` to what the nine neighbors in the plane ``before`` offer; in place."""
    rows, columns = here.shape
    target = here[1:-1, 1:-1]
    for i in range(3):
        for j in range(3):
            far = price[(i != 1) + (j != 1)][1:-1, 1:-1]
            np.minimum(target, before[i : rows - 2 + i, j : columns - 2 + j] + far, out=target)


def _limit(level: PhantomFloats, voxels: float) -> np.float32:
    """The value below which about ``voxels`` of ``level`` lie."""
    rank = int(np.clip(round(voxels), 1, level.size - 1))
    return np.float32(np.partition(level, rank)[rank])


def _soft(x: PhantomFloats) -> PhantomFloats:
    """A smooth step from 0 to 1 around x = 0."""
    return 1 / (1 + np.exp(-np.clip(4 * x, -30, 30)))
