"""Fine-tunes a preset with several seeds, to choose the options of its recipe's section `finetune`, or to measure them.

    python benchmarks/finetuning.py mnist_dense_ksparse --set epochs=300 dropout=0.5 input_dropout=0.2
    python benchmarks/finetuning.py mnist_dense_ksparse --set epochs=300 dropout=0.5 input_dropout=0.2 --test
    python benchmarks/finetuning.py mnist_deep_ksparse --seeds 0 --images 15000 --from-scratch

Options that `--set` leaves out are those of the recipe. Errors are of the last 10,000 training images, which training leaves
out. With `--test`, they are of the test images, after training on all training images: use it once, after all choices. With
`--from-scratch`, the encoder starts from random weights.
"""

import argparse
import tomllib

import keras
import numpy as np

from keras_sae import presets
from keras_sae.datasets import load_arrays
from keras_sae.evaluation import SUITES, finetune
from keras_sae.models import SparseAutoencoder
from keras_sae.training import load_recipe


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset")
    parser.add_argument("--data-dir", help="folder of TensorFlow Datasets (default: TFDS_DATA_DIR)")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="options of `keras_sae.evaluation.finetune`")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--images", type=int, help="train on the first ones only (default: all)")
    parser.add_argument("--held-out", type=int, default=10_000, help="(default: %(default)s)")
    parser.add_argument("--test", action="store_true", help="measure on the test images, not on held-out ones")
    parser.add_argument("--from-scratch", action="store_true", help="start from random weights")
    arguments = parser.parse_args()
    recipe = load_recipe(arguments.preset)
    options = {**recipe.suites().get("finetune", {}), **tomllib.loads("\n".join(arguments.set))}
    unknown = set(options) - set(SUITES["finetune"].options)
    if unknown:
        parser.error(f"Fine-tuning has the options {', '.join(sorted(SUITES['finetune'].options))}. Received: {min(unknown)}.")
    data = presets.read_metadata(presets.find(arguments.preset))["data"]["name"]
    images, labels = load_arrays(data, "train", data_dir=arguments.data_dir)
    known = len(images) - (0 if arguments.test else arguments.held_out)
    train = images[:known][: arguments.images], labels[:known][: arguments.images]
    test = load_arrays(data, "test", data_dir=arguments.data_dir) if arguments.test else (images[known:], labels[known:])
    model = SparseAutoencoder.from_preset(arguments.preset)
    errors = []
    for seed in arguments.seeds:
        if arguments.from_scratch:
            keras.utils.set_random_seed(seed)
            model = recipe.build(images.shape[1:])
            model.adapt(train[0] / np.float32(255))
        errors.append(finetune(model, train, test, **{**options, "seed": seed}, report=print)["error"])
        print(f"seed {seed}: {errors[-1]:.2f} %", flush=True)
    of = f"{len(test[0]):,} {'test' if arguments.test else 'held-out'} images"
    start = "random weights" if arguments.from_scratch else arguments.preset
    print("\n| start | options | training images | seeds | mean error (range) |\n|---|---|---|---|---|")
    said = ", ".join(f"{key} {value}" for key, value in options.items() if key != "seed")
    error = f"{np.mean(errors):.2f} % ({min(errors):.2f} to {max(errors):.2f})"
    print(f"| {start} | {said} | {len(train[0]):,} | {len(errors)} | {error}, {of} |")


if __name__ == "__main__":
    main()
