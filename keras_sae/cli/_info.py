from keras_sae import presets
from keras_sae.cli._arguments import add_preset

SUMMARY = "show the card of a pretrained model"


def add_arguments(parser):
    add_preset(parser)


def run(options):
    directory = presets.find(options.preset)
    metadata = presets.read_metadata(directory)
    card = directory / presets.CARD
    if card.is_file():
        print(card.read_text(encoding="utf-8"))
        if not presets.is_unchanged(card, metadata["files"].get(presets.CARD)):
            print(f"{presets.CARD} was edited after the preset was saved. `keras-sae seal {directory}` records it.\n")
    else:
        print(f"A {metadata['class_name']} with {metadata['parameters']:,} parameters, without a card.\n")
    print(f"Files: {directory}")
