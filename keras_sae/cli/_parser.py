import argparse
import importlib
import re

from keras_sae import __version__
from keras_sae._checks import nearest

# In the order of `keras-sae --help`. The module of `verify-export` is `_verify_export`, and so on. It has a SUMMARY and perhaps
# DETAILS for its help, `add_arguments(parser)`, and `run(options)`, which may return an exit status.
COMMANDS = (
    "quickstart",
    "list",
    "info",
    "seal",
    "compare",
    "train",
    "recipes",
    "arrays",
    "evaluate",
    "export",
    "verify-export",
    "encode",
    "browse",
    "calibrate",
    "detect",
)


_HELP = "`keras-sae --help` lists the commands."


class _Parser(argparse.ArgumentParser):
    """Says of a wrong command which one may have been meant."""

    def error(self, message):
        wrong = re.match(r"argument COMMAND: invalid choice: '(.*?)'", message)
        if wrong:
            self.exit(2, f"{self.prog}: There is no command {wrong[1]!r}. {nearest(wrong[1], COMMANDS)}{_HELP}\n")
        super().error(message)


def make_parser():
    """The parser of the command line. `run` of what it returns is the function of the command, which takes the options."""
    parser = _Parser(
        prog="keras-sae",
        description="Sparse autoencoders for Keras: pretrained encoders, training, evaluation, export to TF Serving.",
        epilog="Start with `keras-sae quickstart`: it needs no data and takes about a minute. "
        "`keras-sae COMMAND --help` explains a command.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=20),
    )
    parser.add_argument("--version", action="version", version=f"keras_sae {__version__}")
    _add_verbose(parser, default=False)
    subparsers = parser.add_subparsers(title="commands", dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"keras_sae.cli._{name.replace('-', '_')}")
        summary = module.SUMMARY
        details = f" {module.DETAILS}" if hasattr(module, "DETAILS") else ""
        command = subparsers.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.{details}")
        module.add_arguments(command)
        _add_verbose(command, default=argparse.SUPPRESS)  # keeps what was said before the command
        command.set_defaults(run=module.run)
    return parser


def _add_verbose(parser, default):
    parser.add_argument("--verbose", action="store_true", default=default, help="show the messages of TensorFlow")
