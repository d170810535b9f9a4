"""Linear probe on small images, 28 to 96 pixels, of the encoder in `--run`, whatever its size.

Evidence: the settings are those of probe_digits, which were measured on digits; on other images they were not.
Command: `keras-mae linear-probe --recipe=probe_small_images --run=runs/small --data=folder:/data/pictures
--output=runs/probe`.
Deviations from the paper: as in probe_digits.
"""

from keras_mae.trainers.classifier_config import ProbeConfig
from keras_mae.trainers.recipes import probe_digits
from keras_mae.trainers.settings import replaced


def config() -> ProbeConfig:
    """The settings of probe_digits, in any dtype policy."""
    return replaced(probe_digits.config(), dtype_policy="auto")
