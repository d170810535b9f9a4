"""SimMIM that goes on from the weights of `--init` on images of one's own, whatever the encoder's size.

Evidence: that it trains, by the tests.
Command: `keras-mae pretrain --recipe=simmim_continue --init=FILE --data=folder:/data/pictures --output=runs/continued`;
for a file that holds SimMIM's decoder, this recipe is taken by itself.
All as in mae_continue, but for the method; masks are of single patches, 80 % of them, which the paper found as good
for patches of 16 pixels as larger units, and which fit every grid. The target is plain pixels, as in simmim_vit_base.
Deviations from the paper: it pretrains from scratch, in larger batches.
"""

from keras_mae.trainers.config import PretrainConfig
from keras_mae.trainers.recipes import mae_continue
from keras_mae.trainers.settings import replaced


def config() -> PretrainConfig:
    """The settings of mae_continue with SimMIM's method, mask ratio and target."""
    return replaced(mae_continue.config(), method="simmim", mask_ratio=0.8, normalize_target=False)
