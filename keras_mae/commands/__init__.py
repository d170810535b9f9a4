"""The commands of `keras-mae`, those that belong together in one module; `keras_mae.cli` lists and runs them.

Flags are defined with absl alone, so that `--help` needs neither TensorFlow nor Keras; a command imports what it runs
when it runs.
"""
