"""The shipped sample of Fashion-MNIST: 2,000 training and 1,000 test images, the same number of each of the ten classes.

It is a file of arrays, which you can read without TensorFlow. `benchmarks/draw_sample.py` drew it from the whole Fashion-MNIST,
(c) 2017 Zalando SE, under the MIT licence in `fashion_mnist_sample.LICENSE`.
"""

from pathlib import Path

SAMPLE = "fashion_mnist_sample"
FILE = Path(__file__).resolve().parent / f"{SAMPLE}.npz"
LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
