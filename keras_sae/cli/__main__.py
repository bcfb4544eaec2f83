import sys

from keras_sae.cli import main

if __name__ == "__main__":
    sys.exit(main())
