"""BrainSegFounder: a SwinUNETR pretrained without labels on 41,400 people of UK Biobank, then on BraTS or ATLAS.

Cox et al. 2024, BrainSegFounder: Towards 3D foundation models for neuroimage segmentation, Medical Image Analysis 97, 103301,
arXiv:2406.10395; github.com/lab-smile/BrainSegFounder, huggingface.co/smilelab/BrainSegFounder. The terms of UK Biobank hold
for the weights.
"""

from __future__ import annotations

from neuroprint.encoders.swin_unetr import TrainedSwinUNETREncoder


class BrainSegFounderEncoder(TrainedSwinUNETREncoder):
    """A published file, pretrained (``SSLHead``) or fine-tuned (``SwinUNETR``); levels as in SwinUNETR.

    The files for BraTS have four channels. ``model_weights_UKB-pretrain.pt`` has one: with ``modalities=[]`` and
    ``per_series="concat"`` it is asked for each series by itself. Pretrained files have no ``encoder10``.

    For fine-tuning BraTS scans were z-scored over the voxels that are not zero. The scripts of pretraining map intensities
    from -1000 to 1000 onto 0 to 1 by default. Whether the files were trained so is not said, and it cannot be chosen here.

    Example:
        >>> BrainSegFounderEncoder(["flair", "t1ce", "t1", "t2"], None)
        Traceback (most recent call last):
        ...
        neuroprint.errors.NeuroprintError: encoder.weights is missing; get model_weights_BRATS-finetune.pt, or ...
    """

    trained_with_legacy_merging = True
    where_to_get = (
        "get model_weights_BRATS-finetune.pt, or another file of huggingface.co/smilelab/BrainSegFounder, and give "
        "encoder.weights=FILE"
    )
