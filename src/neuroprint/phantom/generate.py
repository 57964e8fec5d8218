"""One phantom from a seed: anatomy, tumor, contrast and acquisition, on the grid asked for."""

from __future__ import annotations

from dataclasses import astuple
from math import ceil

import numpy as np

from neuroprint.phantom import contrast
from neuroprint.phantom.anatomy import Anatomy, Lattice, make_anatomy
from neuroprint.phantom.clinic import examination
from neuroprint.phantom.draws import Draws, usual_draws
from neuroprint.phantom.noise import noise
from neuroprint.phantom.pose import apply, brats_grid, draw_pose, kept_inside, scale_of
from neuroprint.phantom.template import load_template
from neuroprint.phantom.tumor import make_tumor, tumor_maps
from neuroprint.phantom.types import PHANTOM_MODALITIES, TISSUES, Phantom, PhantomFloats, PhantomSettings

_AROUND_MM = 3.0  # tissue is made a little beyond the brain's edge, so that slices mix in what is there


def make_phantom(seed: int, index: int, settings: PhantomSettings) -> Phantom:
    """Makes case ``index`` of the cohort ``seed``: a pure function of its arguments.

    Anatomy and tumor are the same at every spacing and with or without pose jitter; noise is not.
    """
    return build(draws_of(seed, index, settings), settings, with_tissues=True)


def draws_of(seed: int, index: int, settings: PhantomSettings) -> Draws:
    """What case ``index`` of the cohort ``seed`` is made from."""
    return examination(seed, index).draws() if settings.clinic else usual_draws(seed, index)


def build(draws: Draws, settings: PhantomSettings, with_tissues: bool) -> Phantom:
    """The phantom of fresh ``draws``; without ``with_tissues`` their maps are left empty, which saves memory."""
    grid = brats_grid(settings.spacing_mm)
    pose = draw_pose(draws.pose)
    scale = scale_of(pose)
    person = make_anatomy(load_template(), draws.anatomy, draws.age)
    tumor, anatomy = make_tumor(person, draws.tumor, scale, draws.kind)

    coarse = Lattice(8.0).points()
    outline = coarse[:, anatomy.depth(anatomy.to_mni(coarse)) > -2]
    pose = kept_inside(pose, outline) if settings.pose_jitter else np.eye(4)
    to_head, scale = np.linalg.inv(pose), scale_of(pose)

    index_of = np.linalg.inv(grid.affine) @ pose
    corners = index_of[:3, :3] @ outline + index_of[:3, 3:]
    margin = ceil(8 * scale / grid.spacing_mm)
    low = np.maximum(np.floor(corners.min(axis=1)).astype(int) - margin, 0)
    high = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + 1 + margin, grid.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    shape = tuple(high - low)

    everywhere = apply(to_head, grid.points(low, high))
    mni = anatomy.to_mni(everywhere)
    near = anatomy.depth(mni) > -_AROUND_MM
    points, mni = np.ascontiguousarray(everywhere[:, near]), np.ascontiguousarray(mni[:, near])
    healthy = anatomy.tissues(points, mni, grid.spacing_mm / scale)
    edge = anatomy.depth(mni) + np.float32(0.5) * noise(points, 6.0, draws.contrast)
    inside = edge + 2.5 * healthy.vessel > 0  # skull stripping leaves the sinuses in
    maps = tumor_maps(tumor, anatomy, points, healthy, inside, (grid.spacing_mm / scale) ** 3 / 1000)
    ill = np.stack([maps.edema, maps.necrosis, maps.non_enhancing, maps.enhancing])
    tissues = np.concatenate([np.stack(astuple(healthy)) * (1 - ill.sum(axis=0)), ill])

    images = _images(anatomy, tissues, points, near, inside, shape, grid.spacing_mm, draws)
    brain = np.zeros(near.shape, bool)
    brain[near] = inside
    label = np.zeros(near.shape, np.uint8)
    label[near] = maps.label
    full = np.zeros((len(TISSUES), *grid.shape) if with_tissues else (len(TISSUES), 0, 0, 0), np.float32)
    if with_tissues:
        boxed = np.zeros((len(TISSUES), near.size), np.float32)
        boxed[:, near] = tissues * inside
        full[(slice(None), *box)] = boxed.reshape(-1, *shape)
    written = {m: np.zeros(grid.shape, np.int16) for m in PHANTOM_MODALITIES}
    for modality, image in images.items():
        written[modality][box] = image
    whole = np.zeros(grid.shape, np.uint8)
    whole[box] = label.reshape(shape)
    return Phantom(written, whole, grid.affine, full, pose, np.stack([f.center for f in tumor.foci]))


def _images(
    anatomy: Anatomy,
    tissues: PhantomFloats,
    points: PhantomFloats,
    near: np.ndarray,
    inside: np.ndarray,
    shape: tuple[int, ...],
    spacing_mm: float,
    draws: Draws,
) -> dict[str, np.ndarray]:
    rng, scanner = draws.contrast, draws.scanner
    signal = contrast.signals(rng, scanner) @ tissues
    signal *= contrast.texture(tissues, points, rng)
    lattice = anatomy.lattice
    nodes = lattice.points()
    signal *= lattice.read(contrast.bias(nodes, anatomy.depth(anatomy.to_mni(nodes)), rng, scanner), points)
    units = contrast.draw_units(rng)
    brain = np.zeros(near.shape, bool)
    brain[near] = inside
    images = {}
    for modality, channel, for_noise in zip(PHANTOM_MODALITIES, signal, draws.noise.spawn(4), strict=True):
        volume = np.zeros(near.shape, np.float32)
        volume[near] = channel
        images[modality] = contrast.acquire(
            volume.reshape(shape),
            brain.reshape(shape),
            spacing_mm,
            for_noise,
            contrast.THICK[modality],
            units[modality],
            scanner,
        )
    return images
