"""Models for other programs: SavedModels for TF Serving and fine-tuning, ONNX, LiteRT and OpenVINO files.

Imported and shipped as `keras_mae.export`.
"""

from keras_mae.export.saved_model import (
    export_autoencoder,
    export_classifier,
    export_encoder,
    export_head,
    export_segmenter,
)
from keras_mae.export.serving import write_models_config
from keras_mae.export.tfsm_layer import mend_names
from keras_mae.export.verify import VerificationError

__all__ = [
    "VerificationError",
    "export_autoencoder",
    "export_classifier",
    "export_encoder",
    "export_head",
    "export_segmenter",
    "mend_names",
    "write_models_config",
]
