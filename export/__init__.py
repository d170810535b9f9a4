"""SavedModels for TF Serving; imported and shipped as `keras_mae.export`."""

from keras_mae.export.saved_model import export_encoder
from keras_mae.export.verify import verify_encoder

__all__ = ["export_encoder", "verify_encoder"]
