import sys

from keras_sae.cli._package import load_package

SUMMARY = "check an exported model as a server would load it"
DETAILS = (
    "Runs in a new process without keras_sae and Keras. Checks the checksums, the answers of every endpoint at batch sizes 1, "
    "7 and 256, the example requests and the warm-up requests. Exits with status 1 at the first error."
)


def add_arguments(parser):
    parser.add_argument("directory", metavar="DIR", help="folder of a model, or of one of its versions")


def run(options):
    load_package()
    from keras_sae.serving import verify_export

    try:
        for line in verify_export(options.directory):
            print(line)
    except RuntimeError as wrong:
        print(f"keras-sae verify-export: {wrong}", file=sys.stderr)
        return 1
    return 0
