from keras_sae import presets

SUMMARY = "make a preset valid again after you edited its card or metadata.json"
DETAILS = "Refuses a preset whose model was changed or damaged. Prints the new metadata_sha256."


def add_arguments(parser):
    parser.add_argument("directory", metavar="DIR", help="directory of a preset")


def run(options):
    print(f"Sealed {options.directory}. metadata_sha256: {presets.seal(options.directory)}")
