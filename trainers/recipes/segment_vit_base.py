"""Segmentation by ViT-B/16 on ADE20K, 512 x 512, 100 epochs.

Evidence: arXiv 2111.06377, appendix A.4 (100 epochs in batches of 16, crops of 512 pixels, UperNet, all of it trained);
numbers that are not given there are those with which mmsegmentation reproduces it (`configs/mae`,
`upernet_mae-base_fp16_8x2_512x512_160k_ade20k`: AdamW with a peak of 1e-4 and weight decay 0.05, 1,500 steps of
warm-up, layer-wise decay 0.65, drop path 0.1, tested in windows 341 pixels apart). Not run here.
Command: `keras-mae segment --recipe=segment_vit_base --run=runs/mae_vit_base
--data=pairs:/data/ADEChallengeData2016/images,/data/ADEChallengeData2016/annotations --set num_classes=150
--set reduce_zero_label=True --output=runs/segment`: in ADE20K's masks 0 is no label, and 1 the first class.
Expected (paper, table 5): 48.1 % mean IoU after 1,600 epochs of pretraining; mmsegmentation has 48.13 %.
Deviations from the paper: half a cosine in place of a linear decay; no relative position bias; brightness, contrast
and saturation vary by up to 0.4 in every image, without hue; crops are not drawn again if one class fills them; no
auxiliary head; a mask transformer in place of UperNet, of which the expected number is.
"""

from keras_mae.trainers.segment_config import SegmentConfig
from keras_mae.trainers.settings import replaced


def config() -> SegmentConfig:
    """The paper's recipe for ViT-B, with the head of this package."""
    return replaced(
        SegmentConfig(),
        preset="vit_base_patch16",
        image_size=(512, 512),
        design="mask_transformer",
        evaluation="slide",
    )
