"""The published SwinUNETR of BraTS 2021, one network a fold (Hatamizadeh et al. 2022, arXiv:2201.01266)."""

from __future__ import annotations

from neuroprint.encoders.swin_unetr import TrainedSwinUNETREncoder


class BraTS21SwinUNETREncoder(TrainedSwinUNETREncoder):
    """A published fold. It saw the patients of the four other folds: its scores on those flatter it.

    It was trained with MONAI before 1.5, whose patch merging was another: see
    :class:`~neuroprint.encoders.swin_unetr.Architecture`.
    """

    trained_with_legacy_merging = True

    where_to_get = (
        "get a fold from the table in github.com/Project-MONAI/research-contributions, SwinUNETR/BRATS21, such as "
        "fold1_f48_ep300_4gpu_dice0_9059.zip, and give encoder.weights=FILE, or the table's address as it is"
    )
