"""Measures how well an encoder of MNIST transfers to Fashion-MNIST, and the reverse, with 100, 1,000 and all labels.

    python benchmarks/transfer.py [--preset NAME ...] [--data-dir DIR] [--images N]

Four classifiers are compared: logistic regression on the frozen encoder, logistic regression on raw pixels, the fine-tuned
encoder, and the same network trained from scratch for as many steps. The frozen encoder is read as in the probe of its card,
a choice made on the data it was trained on.
"""

import argparse

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
    parser.add_argument("--data-dir", help="folder of TensorFlow Datasets (default: TFDS_DATA_DIR)")
    parser.add_argument("--images", type=int, help="use the first N training images only (default: all)")
    parser.add_argument("--steps", type=int, default=2000, help="training steps of each network (default: %(default)s)")
    options = parser.parse_args()
    lines = []
    for name in options.preset:
        metadata = presets.read_metadata(presets.find(name))
        task = OTHER[metadata["data"]["name"]]
        some = f"[:{options.images}]" if options.images else ""
        train, test = (load_arrays(task, split, options.data_dir) for split in (f"train{some}", "test"))
        rows = transfer(
            SparseAutoencoder.from_preset(name),
            train,
            test,
            steps=options.steps,
            report=lambda sentence: print(sentence, flush=True),
        )
        for row in rows:
            errors = {way: row[way]["error"] for way in WAYS}
            cells = [f"{errors[way]:.2f} ({' to '.join(f'{end:.2f}' for end in row[way]['interval'])})" for way in WAYS]
            for way, rival in (("frozen", "raw_pixels"), ("fine_tuned", "from_scratch")):
                cells.append("yes" if errors[way] < errors[rival] else "no")
            lines.append(f"| {name} | {task} | {row['labels']:,} | {' | '.join(cells)} |")
    header = ("encoder", "task", "labels", *WAYS.values(), "frozen beats pixels", "fine-tuned beats scratch")
    print(f"\nTest error in percent, with its 95 % confidence interval.\n\n| {' | '.join(header)} |\n|{'---|' * len(header)}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
