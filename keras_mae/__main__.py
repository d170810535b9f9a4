"""`python -m keras_mae` is `keras-mae`."""

import sys

from keras_mae.cli import main

if __name__ == "__main__":
    sys.exit(main())
