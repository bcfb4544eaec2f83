"""Measures how well an encoder transfers to the labels of a data set, with few labels and with many.

    python benchmarks/transfer.py [--preset NAME ...] [--task NAME] [--images TRAIN TEST] [--labels N ...] [--data-dir DIR]
    python benchmarks/transfer.py --preset cifar10_conv_small_ksparse --task cifar10 --labels 100 1000 10000
        --batch-size 64 --steps 500 --learning-rate 3e-4 --scratch-learning-rate 3e-3 --network-steps 3000
    python benchmarks/transfer.py --preset cifar10_conv_small_ksparse --task FOLDER --size 32 64

Four classifiers are compared: logistic regression on the frozen features, logistic regression on raw pixels, the fine-tuned
encoder, and the same network trained from scratch for as many steps. With `--network-steps`, a small convolutional network that
is trained on the labels alone stands beside them; neither its width nor its steps were tuned. `--steps 0` leaves out the
fine-tuned encoder and the one from scratch. Without `--task`, an encoder of MNIST meets Fashion-MNIST, and the reverse.

A task is a data set of `keras_sae.datasets`, such as a folder with `train/CLASS/` and `test/CLASS/`. `benchmarks/emoji.py`
makes one. `--size` resizes its images, and repeats the comparison for several sizes.

Grey images get three equal channels for an encoder of colour images, in their own size. `--adapt` lets the statistics that
`features` have, such as a whitening, learn from the images of the task, without labels.
"""

import argparse
import itertools
from pathlib import Path

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
    parser.add_argument("--scratch-learning-rate", type=float, help="of the network from scratch (default: --learning-rate)")
    parser.add_argument("--iterations", type=int, default=150, help="of logistic regression, at most (default: %(default)s)")
    parser.add_argument("--size", type=int, nargs="+", default=[None], help="side of the images of a folder, in pixels")
    parser.add_argument("--network-steps", type=int, default=0, help="of the small network; 0 leaves it out")
    options = parser.parse_args()
    lines = []
    for name, size in itertools.product(options.preset, options.size):
        metadata = presets.read_metadata(presets.find(name))
        task = options.task or OTHER[metadata["data"]["name"]]
        model = SparseAutoencoder.from_preset(name)
        train, test = read(task, size, options, channels=model.input_shape[-1])
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
            scratch_learning_rate=options.scratch_learning_rate,
            baselines=("raw_pixels",),
            iterations=options.iterations,
            validation=min(10_000, len(train[0]) // 5),
            report=lambda sentence: print(sentence, flush=True),
        )
        adapted = ", adapted" if options.adapt else ""
        where = f"{Path(task).name}, {' x '.join(map(str, train[0].shape[1:3]))}"
        lines += [line(name + adapted, where, row, train, test, options) for row in rows]
        print(lines[-len(rows) :], flush=True)
    ways = list(WAYS.values()) if options.steps else list(WAYS.values())[:2]
    network = [f"small network, {options.network_steps:,} steps"] * bool(options.network_steps)
    answers = ["frozen beats pixels", *["fine-tuned beats scratch"] * bool(options.steps)]
    header = ("encoder", "task", "labels", *ways, *network, *answers)
    print(f"\nTest error in percent, with its 95 % confidence interval.\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    print("\n".join(lines))


def read(task, size, options, channels):
    """Training and test data of a task, with as many channels as the encoder reads. Folders are sorted by class: not here."""
    pairs = []
    own = {} if size is None else {"image_size": (size, size)}
    for split, count in zip(("train", "test"), options.images or (None, None), strict=True):
        images, labels = load_arrays(task, f"{split}[:{count}]" if count else split, options.data_dir, **own)
        if images.shape[-1] == 1 and channels > 1:
            images = np.repeat(images, channels, axis=-1)
        if Path(task).is_dir():
            order = np.random.default_rng(0).permutation(len(images))
            images, labels = images[order], labels[order]
        pairs.append((images, labels))
    return pairs


def line(name, task, row, train, test, options):
    """A row of the table."""
    ways = [way for way in WAYS if way in row]
    errors = {way: row[way]["error"] for way in ways}
    cells = [f"{errors[way]:.2f} ({' to '.join(f'{end:.2f}' for end in row[way]['interval'])})" for way in ways]
    if options.network_steps:
        number, (images, labels) = row["labels"], train
        draws = 1 if number == len(images) else options.draws
        chosen = [balanced(labels, number, np.random.default_rng([0, draw])) for draw in range(draws)]
        wrong = [supervised((images[rows], labels[rows]), test, number, options.network_steps) for rows in chosen]
        cells.append(f"{np.mean(wrong):.2f}")
        print(f"Small network, with {number:,} labels: {cells[-1]} % wrong.", flush=True)
    for way, rival in (("frozen", "raw_pixels"), ("fine_tuned", "from_scratch")):
        if way in errors:
            cells.append("yes" if errors[way] < errors[rival] else "no")
    return f"| {name} | {task} | {row['labels']:,} | {' | '.join(cells)} |"


def balanced(labels, count, random):
    """Rows of `count` examples, the same number of each class, or one more."""
    order = random.permutation(len(labels))
    rank = np.empty(len(labels), int)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        rank[mine] = np.arange(len(mine))
    return order[np.argsort(rank[order], kind="stable")][:count]


if __name__ == "__main__":
    main()
