import os
import sys

from keras_sae.cli._parser import make_parser


def main(arguments=None):
    """Runs the command line.

    Args:
        arguments: List of strings, by default those that the process was started with.

    Returns:
        The exit status: 0, 1 for a check that failed, 2 for bad input, 130 after Ctrl-C.
    """
    options = make_parser().parse_args(arguments)
    options.arguments = list(map(str, sys.argv[1:] if arguments is None else arguments))
    if not options.verbose:
        # TensorFlow prints start-up messages, some of them as warnings and errors, unless told not to before it is loaded.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return options.run(options) or 0
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        print(f"keras-sae {options.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nkeras-sae {options.command}: stopped.", file=sys.stderr)
        return 130
