import contextlib
import os
import sys
import traceback

from keras_sae.cli._parser import make_parser


def main(arguments=None):
    """Runs the command line.

    Args:
        arguments: List of strings, by default those that the process was started with.

    Returns:
        The exit status: 0, 1 for a check that failed, 2 for bad input, 130 after Ctrl-C, 141 if nobody reads the output.
    """
    try:
        try:
            return _run(arguments)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # here, where a broken pipe can be caught
    except BrokenPipeError:  # as by `keras-sae list | head -1`
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at the end
        return 141


def _run(arguments):
    command, verbose = "", False
    try:
        options = make_parser().parse_args(arguments)
        options.arguments = list(map(str, sys.argv[1:] if arguments is None else arguments))
        command, verbose = f" {options.command}", options.verbose
        if not verbose:
            # TensorFlow prints start-up messages, some of them as warnings and errors, unless told not to before it is loaded.
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        return options.run(options) or 0
    except BrokenPipeError:
        raise
    except (Exception, KeyboardInterrupt) as error:
        if _was_interrupted(error):
            print(f"\nkeras-sae{command}: stopped.", file=sys.stderr)
            return 130
        if not isinstance(error, ValueError | TypeError | OSError | ImportError | FloatingPointError | RuntimeError):
            raise
        if verbose:
            traceback.print_exc()
        print(f"keras-sae{command}: {error}", file=sys.stderr)
        return 2


def _was_interrupted(error):
    """Whether Ctrl-C caused an error. Compiled modules raise another one if it comes while they are imported."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False
