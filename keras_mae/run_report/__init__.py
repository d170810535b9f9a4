"""A page about a run, or several beside each other. It reads files of run folders, and needs no TensorFlow."""

from keras_mae.run_report.page import write_report

__all__ = ["write_report"]
