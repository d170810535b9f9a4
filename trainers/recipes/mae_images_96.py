"""Images of one's own, 64 to 96 pixels in colour, with a ViT of ViT-tiny's width on patches of 8 x 8.

Evidence: that it trains, by the tests; no accuracy was measured, as no such set of pictures comes with the package.
Start here, and compare by `keras-mae knn`.
Command: `keras-mae pretrain --recipe=mae_images_96 --data=folder:/data/pictures --output=runs/small`; for 64 pixels
`--set image_size=64,64`.
Deviations from the paper: as in mae_small_images, on a grid of 12 x 12.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.recipes import mae_small_images
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """192 wide, 6 deep, on 96 x 96 pixels; the peak learning rate is 7.5e-4."""
    return replaced(mae_small_images.config(), image_size=(96, 96), patch_size=(8, 8))
