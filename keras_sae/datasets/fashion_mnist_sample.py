"""A sample of Fashion-MNIST that the package ships: 2,000 training and 1,000 test images, evenly over the ten classes.

It is stored as TFDS stores data sets, so that one road leads to all of them. The sample was drawn with

    python -m keras_sae.datasets.fashion_mnist_sample DIRECTORY

which takes the first images of each class, in the order of Fashion-MNIST's files. Fashion-MNIST is (c) 2017 Zalando SE,
under the MIT licence, which lies beside this file.
"""

import sys
from pathlib import Path

SAMPLE = "fashion_mnist_sample"
DIRECTORY = Path(__file__).resolve().parent / SAMPLE / "1.0.0"

_PER_CLASS = {"train": 200, "test": 100}


def draw(data_dir):
    """Writes the sample into `data_dir/fashion_mnist_sample/1.0.0`, from the whole Fashion-MNIST that TFDS finds."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    features = tfds.features.FeaturesDict(
        {"image": tfds.features.Image(shape=(28, 28, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
    )
    splits = {}
    for split, per_class in _PER_CLASS.items():
        left = [per_class] * 10
        chosen = []
        for example in tfds.load("fashion_mnist", split=split, download=False).as_numpy_iterator():
            if left[example["label"]]:
                left[example["label"]] -= 1
                chosen.append(example)
        splits[split] = tf.data.Dataset.from_tensor_slices(
            {key: [example[key] for example in chosen] for key in ("image", "label")}
        )
    tfds.dataset_builders.store_as_tfds_dataset(
        name=SAMPLE,
        version="1.0.0",
        features=features,
        split_datasets=splits,
        data_dir=data_dir,
        description="The first images of each class of Fashion-MNIST: 200 for training, 100 for testing. "
        "MIT licence, (c) 2017 Zalando SE.",
        homepage="https://github.com/zalandoresearch/fashion-mnist",
        disable_shuffling=True,
    )


if __name__ == "__main__":
    draw(sys.argv[1])
