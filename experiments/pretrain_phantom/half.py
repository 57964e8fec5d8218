"""Does storing the weights in float16 change anything? Dice and embeddings, beside the checkpoint's float32.

python experiments/pretrain_phantom/half.py .neuroprint/training/CHECKPOINT.pt
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import SwinUNETR

import neuroprint as npr
from neuroprint.data.brain_box import brain_box
from neuroprint.data.volume import read_volume
from neuroprint.embedding.preprocessing import prepare
from neuroprint.encoders.swin_unetr import LEVEL_NAMES, SwinUNETREncoder
from neuroprint.training.regions import dice, prepare_regions

HERE = Path(__file__).parent
MODALITIES = ("flair", "t1ce", "t1", "t2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--cases", type=int, default=16, help="of the 128 unseen phantoms (default: %(default)s)")
    options = parser.parse_args()
    encoder = SwinUNETREncoder(MODALITIES)
    full = torch.load(options.checkpoint, map_location="cpu", weights_only=True)["network"]
    networks = [load(encoder, full), load(encoder, {name: rounded(weight) for name, weight in full.items()})]
    scores, cosines = [], []
    for case in npr.load_cohort("phantom", cases=128, seed=1).cases[: options.cases]:
        volume = read_volume(case, MODALITIES)
        box = brain_box(volume.images)
        image = torch.from_numpy(prepare(list(volume.images), volume.affine, box, encoder.input).image)[None]
        truth = prepare_regions(volume.label, "brats", volume.affine, box, encoder.input)
        with torch.inference_mode():
            scores.append([dice((network(image)[0] > 0).numpy(), truth) for network in networks])
            maps = [network.swinViT(image) for network in networks]
        cosines.append(
            [float(torch.cosine_similarity(a.mean((2, 3, 4)), b.mean((2, 3, 4)))) for a, b in zip(*maps, strict=True)]
        )
    moved = np.abs(np.diff(np.array(scores), axis=1)).max(axis=(0, 1))
    lines = [
        f"| {options.cases} phantoms, float16 beside float32 | |",
        "| --- | --- |",
        f"| largest change of a Dice: whole tumor, core, enhancing | {', '.join(f'{value:.4f}' for value in moved)} |",
        f"| least cosine of a mean embedding: {', '.join(LEVEL_NAMES)} | "
        f"{', '.join(f'{value:.7f}' for value in np.min(cosines, axis=0))} |",
    ]
    (HERE / "half.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def load(encoder: SwinUNETREncoder, weights: dict[str, torch.Tensor]) -> SwinUNETR:
    network = encoder.network("cpu")
    network.load_state_dict(weights)
    return network


def rounded(weight: torch.Tensor) -> torch.Tensor:
    return weight.half().float() if weight.is_floating_point() else weight


if __name__ == "__main__":
    main()
