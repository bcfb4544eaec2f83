from keras_sae.cli._package import load_package

SUMMARY = "try the package on a small sample of Fashion-MNIST that it ships"
DETAILS = (
    "Loads a pretrained encoder, compares a classifier on its codes with one on raw pixels, trains a small sparse autoencoder, "
    "exports it, loads the export, and draws the learned features. Needs no network and no data."
)


def add_arguments(parser):
    parser.add_argument(
        "--output",
        default="keras_sae_quickstart",
        metavar="DIR",
        help="folder for the picture, the model and its export (default: %(default)s)",
    )


def run(options):
    load_package()
    from keras_sae.cli._tour import tour

    tour(options.output)
