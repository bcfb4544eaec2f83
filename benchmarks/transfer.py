"""Measures how well an encoder transfers to the labels of a data set, with few labels and with many.

    python benchmarks/transfer.py [--preset NAME ...] [--task NAME] [--images TRAIN TEST] [--labels N ...] [--data-dir DIR]
    python benchmarks/transfer.py --preset cifar10_conv_small_ksparse --task cifar10 --images 10000 2000 --draws 2 --steps 100
        --batch-size 64 --learning-rate 3e-4 --head-epochs 20 --network-steps 600

Four classifiers are compared: logistic regression on the frozen features, logistic regression on raw pixels, the fine-tuned
encoder, and the same network trained from scratch for as many steps. With `--network-steps`, a small convolutional network that
is trained on the labels alone stands beside them; neither its width nor its steps were tuned. Without `--task`, an encoder of
MNIST meets Fashion-MNIST, and the reverse.

Grey images get three equal channels for an encoder of colour images, in their own size. `--adapt` lets the statistics that
`features` have, such as a whitening, learn from the images of the task, without labels.
"""

import argparse

import numpy as np
from patch_dictionaries import supervised

from keras_sae import presets
from keras_sae.datasets import load_arrays
from keras_sae.evaluation import transfer
from keras_sae.models import SparseAutoencoder

WAYS = {
    "frozen": "frozen, logistic regression",
    "raw_pixels": "raw pixels, logistic regression",
    "fine_tuned": "fine-tuned",
    "from_scratch": "from scratch",
}
OTHER = {"mnist": "fashion_mnist", "fashion_mnist": "mnist"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    presets_of_both = ["mnist_dense_ksparse", "fashion_mnist_dense_kl"]
    parser.add_argument("--preset", nargs="+", default=presets_of_both, help=f"(default: {' '.join(presets_of_both)})")
    parser.add_argument("--task", help="data set whose labels are learned (default: the other one of MNIST and Fashion-MNIST)")
    parser.add_argument("--data-dir", help="folder of TensorFlow Datasets (default: TFDS_DATA_DIR)")
    parser.add_argument("--images", type=int, nargs=2, metavar=("TRAIN", "TEST"), help="use the first ones only (default: all)")
    parser.add_argument("--labels", type=int, nargs="*", default=(100, 1000), help="besides all (default: 100 1000)")
    parser.add_argument("--draws", type=int, default=5, help="of few labels (default: %(default)s)")
    parser.add_argument("--adapt", action="store_true", help="adapt features to the images of the task")
    parser.add_argument("--steps", type=int, default=2000, help="training steps of each network (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=128, help="(default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="(default: %(default)s)")
    parser.add_argument("--head-epochs", type=int, default=0, help="for the softmax layer alone, before (default: %(default)s)")
    parser.add_argument("--network-steps", type=int, default=0, help="of the small network; 0 leaves it out")
    options = parser.parse_args()
    lines = []
    for name in options.preset:
        metadata = presets.read_metadata(presets.find(name))
        task = options.task or OTHER[metadata["data"]["name"]]
        model = SparseAutoencoder.from_preset(name)
        train, test = read(task, options, channels=model.input_shape[-1])
        if options.adapt:
            model.adapt_features(train[0])
        rows = transfer(
            model,
            train,
            test,
            few_labels=options.labels,
            draws=options.draws,
            steps=options.steps,
            batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            head_epochs=options.head_epochs,
            baselines=("raw_pixels",),
            report=lambda sentence: print(sentence, flush=True),
        )
        lines += [line(name, task, row, train, test, options.network_steps) for row in rows]
    network = [f"small network, {options.network_steps:,} steps"] * bool(options.network_steps)
    header = ("encoder", "task", "labels", *WAYS.values(), *network, "frozen beats pixels", "fine-tuned beats scratch")
    print(f"\nTest error in percent, with its 95 % confidence interval.\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    print("\n".join(lines))


def read(task, options, channels):
    """Training and test data of a task, with as many channels as the encoder reads."""
    pairs = []
    for split, count in zip(("train", "test"), options.images or ("", ""), strict=True):
        images, labels = load_arrays(task, f"{split}[:{count}]", options.data_dir)
        if images.shape[-1] == 1 and channels > 1:
            images = np.repeat(images, channels, axis=-1)
        pairs.append((images, labels))
    return pairs


def line(name, task, row, train, test, network_steps):
    """A row of the table."""
    errors = {way: row[way]["error"] for way in WAYS}
    cells = [f"{errors[way]:.2f} ({' to '.join(f'{end:.2f}' for end in row[way]['interval'])})" for way in WAYS]
    if network_steps:
        cells.append(f"{supervised(train, test, row['labels'], network_steps):.2f}")
    for way, rival in (("frozen", "raw_pixels"), ("fine_tuned", "from_scratch")):
        cells.append("yes" if errors[way] < errors[rival] else "no")
    return f"| {name} | {task} | {row['labels']:,} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
