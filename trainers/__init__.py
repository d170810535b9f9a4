"""Programs and recipes; imported and shipped as `keras_mae.trainers`."""
