"""The commands of `keras-mae`; `keras_mae.cli` lists and runs them.

Flags are defined with absl alone, so that `--help` needs neither TensorFlow nor Keras; a command imports them when it
runs.
"""
