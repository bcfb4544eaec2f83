"""Publishes one network of `ksparse_seeds.py` as the preset mnist_dense_ksparse, with a card that is measured here.

    python benchmarks/ksparse_seeds.py --variants centred --epochs 1000 --seeds 3 --out runs/seeds
    python benchmarks/ksparse_probe.py runs/seeds/weights_1000.npz
    python benchmarks/ksparse_preset.py runs/seeds/weights_1000.npz --seed 2 --hardware "one H200" --seconds 162 --out DIR

The recipe describes the same training; the order of the images and the first weights differ. The script gives the network the
mean of the training images, which the saved biases contain.
"""

import argparse
import json

import numpy as np

from keras_sae.datasets import load_arrays
from keras_sae.training import load_recipe, publish_model

RECIPE = "mnist_dense_ksparse"
VARIANT = "centred"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", help="file that ksparse_seeds.py saved")
    parser.add_argument("--seed", type=int, required=True, help="which of its networks")
    parser.add_argument("--data-dir")
    parser.add_argument("--hardware", required=True)
    parser.add_argument("--seconds", type=float, required=True, help="what the training took")
    parser.add_argument("--out", required=True, help="folder of the preset")
    options = parser.parse_args()
    with np.load(options.weights) as saved:
        index = json.loads(str(saved["runs"])).index([VARIANT, options.seed])
        kernel, bias, output_bias = (saved[name][index] for name in ("kernel", "bias", "output_bias"))
    recipe = load_recipe(RECIPE)
    images, _ = load_arrays("mnist", "train", options.data_dir)
    model = recipe.build(images.shape[1:])
    model.adapt(images)
    mean = images.reshape(len(images), -1).mean(axis=0, dtype="float64") / 255
    found = {tuple(weight.shape): weight for weight in model.trainable_weights}
    if len(found) != 3:
        raise SystemExit(f"Expected three trainable weights of different shapes. Found: {sorted(found)}")
    found[784, 1000].assign(kernel)
    found[1000,].assign(bias + mean @ kernel)
    found[784,].assign(output_bias - mean)
    arguments = {"data_dir": options.data_dir, "hardware": options.hardware, "seconds": options.seconds}
    print(publish_model(model, recipe, options.out, report=print, **arguments))


if __name__ == "__main__":
    main()
