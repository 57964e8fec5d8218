"""One person's head: the template, deformed, with ventricles, sulci and cortex of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from neuroprint.phantom.noise import noise
from neuroprint.phantom.pose import HEAD_CENTER
from neuroprint.phantom.template import MNI_CENTER, Template
from neuroprint.phantom.trilinear import interpolate

if TYPE_CHECKING:
    from neuroprint.phantom.types import PhantomFloats

_SRI_TO_MNI = np.array([1.05, 1.045, 1.07])  # the MNI brain is larger than the atlas that BraTS is registered to
_HALF_FIELD_MM = np.array([84.0, 104.0, 90.0])


@dataclass(frozen=True)
class Lattice:
    """Regular positions over the head, in head mm, on which smooth fields are kept."""

    step_mm: float

    @property
    def origin(self) -> PhantomFloats:
        """The first position."""
        first: PhantomFloats = np.subtract(HEAD_CENTER, _HALF_FIELD_MM, dtype=np.float32)
        return first

    @property
    def shape(self) -> tuple[int, int, int]:
        """Positions along each axis."""
        x, y, z = (int(n) for n in np.ceil(2 * _HALF_FIELD_MM / self.step_mm) + 1)
        return x, y, z

    def points(self) -> PhantomFloats:
        """All positions (3, N), head mm."""
        axes = [o + np.float32(self.step_mm) * np.arange(n) for o, n in zip(self.origin, self.shape, strict=True)]
        return np.stack([a.ravel() for a in np.meshgrid(*axes, indexing="ij")]).astype(np.float32)

    def read(self, values: PhantomFloats, points: PhantomFloats) -> PhantomFloats:
        """Fields kept on the lattice (C, N), at head positions (3, M): (C, M); trilinear."""
        table = np.ascontiguousarray(values.T).reshape(*self.shape, -1)
        return interpolate(table, (points - self.origin[:, None]) / np.float32(self.step_mm))


@dataclass(frozen=True)
class Focus:
    """What a tumor focus does to the tissue around it.

    Attributes:
        center: Head mm (3,).
        radius_mm: Of the swelling.
        push: Share by which tissue at the center is pushed outward (0 to below 1).
    """

    center: PhantomFloats
    radius_mm: float
    push: float

    def closeness(self, points: PhantomFloats, reach: float) -> PhantomFloats:
        """1 at the center, falling off over ``reach`` radii; (N,) at head positions (3, N)."""
        offset = points - self.center[:, None]
        near: PhantomFloats = np.exp(-np.sum(offset**2, axis=0) / np.float32((reach * self.radius_mm) ** 2))
        return near


@dataclass(frozen=True)
class Tissues:
    """Soft healthy tissue at positions (N,): the memberships sum to 1."""

    csf: PhantomFloats
    ventricle: PhantomFloats
    cortex: PhantomFloats
    deep_gray: PhantomFloats
    white_matter: PhantomFloats
    white_lesion: PhantomFloats
    choroid: PhantomFloats
    vessel: PhantomFloats
    dura: PhantomFloats


@dataclass(frozen=True)
class Anatomy:
    """A person's anatomy as functions of head position.

    Attributes:
        warp: Offset from affine position to MNI position (3, N) on :attr:`lattice`, mm.
        affine: Head mm to MNI mm (3, 4).
        foci: Tumor foci that push the tissue.
        atrophy: 0 young, 1 old: widens sulci.
        margin_mm: Depth at which the skull-stripped brain begins.
        lesions: Load of white matter lesions, 0 to 1.
        seed: Seeds the small-scale noise.
    """

    template: Template
    affine: PhantomFloats
    warp: PhantomFloats
    atrophy: float
    margin_mm: float
    lesions: float
    seed: int
    foci: tuple[Focus, ...] = ()
    lattice: Lattice = field(default_factory=lambda: Lattice(6.0))

    def to_mni(self, points: PhantomFloats) -> PhantomFloats:
        """MNI mm (3, N) of the tissue that lies at head positions (3, N)."""
        return self.affine[:, :3] @ points + self.affine[:, 3:] + self.lattice.read(self.warp, points)

    def with_foci(self, foci: tuple[Focus, ...]) -> Anatomy:
        """The same person with a tumor: tissue is pushed away from the foci, less so towards the skull."""
        nodes = self.lattice.points()
        mni = self.to_mni(nodes)
        room = np.clip((self.template.read_depth(mni) + 2) / 22, 0, 1)
        inward = np.zeros_like(nodes)
        for focus in foci:
            inward -= (nodes - focus.center[:, None]) * (np.float32(focus.push) * focus.closeness(nodes, 1.6))
        inward *= room
        pushed = self.to_mni(nodes + inward)
        near = np.minimum(sum(focus.closeness(nodes, 1.7) for focus in foci), 1)
        pushed = pushed + self.template.read_widen(pushed) * (near * np.float32(6))
        warp = pushed - self.affine[:, :3] @ nodes - self.affine[:, 3:]
        return Anatomy(
            self.template,
            self.affine,
            warp,
            self.atrophy,
            self.margin_mm,
            self.lesions,
            self.seed,
            foci,
            self.lattice,
        )

    def depth(self, mni: PhantomFloats) -> PhantomFloats:
        """Depth below the surface of the skull-stripped brain, mm, (N,) at MNI positions (3, N)."""
        return self.template.read_depth(mni) - np.float32(self.margin_mm)

    def tissues(self, points: PhantomFloats, mni: PhantomFloats, blur_mm: float) -> Tissues:
        """Healthy tissue at head positions (3, N) whose MNI positions are ``mni``; edges ``blur_mm`` wide."""
        rng = np.random.default_rng(self.seed)
        maps = self.template.read(mni)
        fold, depth, wall, deep = maps["fold"], maps["depth"], maps["ventricle"], maps["deep"]
        squeeze = np.zeros_like(depth)
        for focus in self.foci:
            squeeze += focus.closeness(points, 2.2)
        squeeze = np.minimum(squeeze, 1)

        soft = np.float32(0.3 + 0.05 * blur_mm)
        fold = fold + 0.12 * noise(points, 5.0, rng) * (1 - deep)
        sulcus = 0.95 - 0.4 * self.atrophy + 0.4 * squeeze + 0.10 * noise(points, 14.0, rng)
        csf = _step((-fold - sulcus - 0.1) / soft)
        white = _step((fold - 0.45) / (1.4 * soft)) * (1 - csf)
        inner = deep * np.clip(fold + 0.15, 0, 1) * (1 - csf)  # thalamus and brainstem are neither gray nor white
        white = np.maximum(white, np.minimum(inner, 1 - csf))
        gray = np.maximum(1 - csf - white, 0)
        inside = _step((1.5 - wall) / 0.7)

        speckle = noise(points, 6.0, rng)
        edge_of_ventricle = np.exp(-np.maximum(wall, 0) / (1.0 + 5 * self.lesions)) * (0.4 + 0.6 * self.lesions)
        patches = _step((speckle - 3.0 + 1.0 * self.lesions) / 0.25) * _step((depth - 10) / 2) * self.lesions
        lesion = white * np.clip(edge_of_ventricle * (1 - deep) + patches, 0, 1)

        veins = _curves(points, 11.0, 1.0 + 0.3 * blur_mm, rng) * np.clip(1.5 * csf + (depth < 6) * 0.45 + 0.08, 0, 1)
        large = maps["sinus"] + maps["artery"] * (0.25 + 0.75 * csf)
        vessel = np.clip(large + 0.9 * veins * (wall > 2), 0, 1)
        choroid = maps["choroid"] * np.clip(0.75 + 0.5 * speckle, 0, 1)
        patchy = _step((noise(points, 22.0, rng) - 0.6) / 0.3)
        falx = np.exp(-np.square(mni[0] / 0.8)) * csf * _step((mni[2] - 12) / 6) * (wall > 4)
        dura = np.maximum(patchy * _step((self.margin_mm + 0.9 - depth) / 0.5), 0.3 * falx)
        rest = (1 - vessel) * (1 - choroid) * (1 - dura)
        return Tissues(
            csf=csf * (1 - inside) * rest,
            ventricle=csf * inside * rest,
            cortex=gray * (1 - deep) * rest,
            deep_gray=gray * deep * rest,
            white_matter=(white - lesion) * rest,
            white_lesion=lesion * rest,
            choroid=choroid * (1 - vessel) * (1 - dura),
            vessel=vessel * (1 - dura),
            dura=dura,
        )


def draw_age(rng: np.random.Generator) -> float:
    """How old a person is, from 0 (young) to 1 (old)."""
    return float(rng.beta(2, 2))


def make_anatomy(template: Template, rng: np.random.Generator, age: float | None = None) -> Anatomy:
    """Draws a person: size and shape of the head, asymmetry, folding, ventricles, atrophy, lesions.

    ``age`` is as of :func:`draw_age`; None draws it. With it sulci and ventricles widen and lesions become more.
    """
    age = draw_age(rng) if age is None else age
    stretch = _SRI_TO_MNI * np.exp(rng.normal(0, 0.025) + rng.normal(0, 0.02, 3))
    tilt = rng.normal(0, 0.025, (3, 3)) * (1 - np.eye(3))
    matrix = np.diag(stretch) @ (np.eye(3) + tilt)
    shift = rng.normal(0, 1.5, 3)
    affine = np.concatenate([matrix, (MNI_CENTER - matrix @ (HEAD_CENTER + shift))[:, None]], axis=1)

    lattice = Lattice(6.0)
    nodes = lattice.points()
    torque = np.tanh(nodes[0] - HEAD_CENTER[0]) * (nodes[1] - HEAD_CENTER[1]) / 80  # one frontal, one occipital lobe
    warp = np.zeros_like(nodes)
    warp[1] += torque * rng.normal(1.5, 1.5)
    for scale_mm, size_mm in ((70.0, 3.0), (35.0, 1.6), (18.0, 0.8)):
        warp += size_mm * np.stack([noise(nodes, scale_mm, rng) for _ in range(3)])
    mni = (affine[:, :3] @ nodes + affine[:, 3:] + warp).astype(np.float32)
    width = rng.normal(-1.2 + 3.0 * age, 0.7)
    sides = np.where(mni[0] > 0, 1 + rng.normal(0, 0.25), 1 + rng.normal(0, 0.25))
    warp -= template.read_widen(mni) * (width * sides)
    return Anatomy(
        template,
        affine.astype(np.float32),
        warp.astype(np.float32),
        atrophy=float(np.clip(age + rng.normal(0, 0.15), 0, 1)),
        margin_mm=float(rng.normal(1.0, 0.4)),
        lesions=float(np.clip(rng.normal(age - 0.3, 0.25), 0, 1)),
        seed=int(rng.integers(2**63)),
    )


def _step(x: PhantomFloats) -> PhantomFloats:
    """A smooth step from 0 to 1 around x = 0."""
    return 1 / (1 + np.exp(-np.clip(4 * x, -30, 30)))


def _curves(points: PhantomFloats, scale_mm: float, width_mm: float, rng: np.random.Generator) -> PhantomFloats:
    """Random winding tubes: where two noise fields vanish together. Peak 1, ``width_mm`` thick."""
    a, b = noise(points, scale_mm, rng), noise(points, scale_mm, rng)
    slope = 1.6 * width_mm / scale_mm
    return np.exp(-(a * a + b * b) / np.float32(2 * slope * slope))
