from keras_sae import presets

SUMMARY = "list the pretrained models"


def add_arguments(parser):
    parser.add_argument("names", nargs="*", metavar="NAME", help="list only these (default: all)")
    parser.add_argument("--markdown", action="store_true", help="print a table in Markdown, as in pretrained/README.md")


def run(options):
    from keras_sae.training import COLUMNS, columns, table

    names = options.names or presets.names()
    if options.markdown:
        print(table([presets.read_metadata(presets.find(name)) for name in names]))
        return
    if not names:
        print("No presets are installed.")
        return
    rows = [("preset", *COLUMNS)]
    rows += [(name, *columns(presets.read_metadata(presets.find(name), verify=False))) for name in names]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        print(f"{name:{widths[0]}}", *(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)), sep="  ")
    print(
        "\nTest errors of logistic regression on frozen codes and on raw pixels, with all labels and with 100 labels, and of\n"
        "the encoder fine-tuned with a classifier. `keras-sae info NAME` shows the card of a model, with all its figures."
    )
