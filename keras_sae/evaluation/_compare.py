import time

import keras
import numpy as np

from keras_sae.evaluation._code_statistics import code_statistics
from keras_sae.evaluation._encode import as_input, encode
from keras_sae.evaluation._probe import probe
from keras_sae.layers import BatchKSparse, KSparse, WinnerTakeAll
from keras_sae.models import DenseAutoencoder
from keras_sae.regularizers import ActivityKL, ActivityLog, ActivityTargetL1, ActivityTargetL2, GroupL21

PLAIN = "plain ReLU"


def mechanisms(units):
    """The mechanisms that `compare` compares by default, at settings that suit images in [0, 1].

    Args:
        units: Integer, the width of the code. A fortieth of them is to be active at a time.

    Returns:
        Dictionary from a name to arguments of `DenseAutoencoder`.
    """
    k = max(1, units // 40)
    return {
        PLAIN: {},
        "KSparse": {"sparsity": KSparse(k)},
        "KSparse, alpha=3": {"sparsity": KSparse(k, alpha=min(3, units / k))},
        "KSparse by magnitude": {"sparsity": KSparse(k, select_by="magnitude")},
        "BatchKSparse": {"sparsity": BatchKSparse(k)},
        "WinnerTakeAll": {"sparsity": WinnerTakeAll(lifetime=0.05)},
        "ActivityKL": {"sparsity": ActivityKL(0.05, 0.003)},
        "ActivityKL, running mean": {"sparsity": ActivityKL(0.05, 0.003, momentum=0.9)},
        "ActivityKL, population": {"sparsity": ActivityKL(0.05, 1.0, sparsity="population")},
        "ActivityLog": {"sparsity": ActivityLog(1e-4)},
        "ActivityTargetL1": {"sparsity": ActivityTargetL1(0.05, 0.001)},
        "ActivityTargetL2": {"sparsity": ActivityTargetL2(0.05, 0.01)},
        "L1": {"sparsity": keras.regularizers.L1(1e-4)},
        "L1, unit norm": {"sparsity": keras.regularizers.L1(1e-4), "unit_norm": True},
        "L2": {"sparsity": keras.regularizers.L2(1e-4)},
        "GroupL21": {"sparsity": GroupL21(1e-5)},
    }


def compare(train, test, units=1000, epochs=40, batch_size=256, rounds=15, seed=0, chosen=None, report=None):
    """Trains the same small autoencoder with each mechanism, and measures what became of it.

    Args:
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255.
        units: Integer, the width of the code.
        epochs: Integer, epochs of training with Adam, which `seed` fixes.
        batch_size: Integer.
        rounds: Integer, at least 0. How often the time of a step is measured, each time beside the plain step, so that what
            else the machine does meets both. 0 leaves it out.
        seed: Integer.
        chosen: Dictionary of mechanisms like that of `mechanisms(units)`, which is the default. With `rounds` it must hold
            the plain autoencoder, `PLAIN`, that the others are compared with.
        report: Called with a sentence before each model is trained.

    Returns:
        List of dictionaries of plain numbers, one per mechanism: its `name`, those of `code_statistics` on the test images,
        `probe_accuracy` in percent, and with `rounds` `step_ms`, the median time of a step, and `step_ratio`, the median
        over rounds of its ratio to the plain step.
    """
    for name, value, least in (("units", units, 1), ("epochs", epochs, 1), ("rounds", rounds, 0)):
        if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
            raise ValueError(f"`{name}` must be an integer of at least {least}. Received: {name}={value!r}.")
    report = report or (lambda sentence: None)
    train_x, test_x = (as_input(images) for images, _ in (train, test))
    labels = np.asarray(train[1])
    rows, fits = [], {}
    for name, arguments in (chosen or mechanisms(units)).items():
        report(f"{name} ...")
        keras.utils.set_random_seed(seed)
        model = DenseAutoencoder(train_x.shape[1:], units, **arguments)
        model.compile(keras.optimizers.Adam(1e-3), "mse")
        y = labels if model.supervised else None
        model.fit(train_x, y, batch_size=batch_size, epochs=epochs, verbose=0)
        classifier = probe(
            encode(model, train_x),
            labels,
            encode(model, test_x),
            test[1],
            validation=len(labels) // 4,
            C=(0.01, 0.1),
            iterations=80,
        )
        rows.append({"name": name, **code_statistics(model, test_x), "probe_accuracy": 100 - classifier["error"]})
        fits[name] = (model, y)
    if rounds:
        report(f"The time of a step, {rounds} rounds ...")
        for row, figures in zip(rows, _step_times(fits, train_x, batch_size, rounds), strict=True):
            row.update(figures)
    return rows


def _step_times(fits, x, batch_size, rounds):
    whole = len(x) // batch_size * batch_size  # batches of one size

    def seconds(name):
        model, y = fits[name]
        clock = _Clock()
        model.fit(x[:whole], None if y is None else y[:whole], batch_size=batch_size, callbacks=[clock], verbose=0)
        return np.median(clock.seconds[1:] or clock.seconds)

    pairs = {name: [] for name in fits}
    for turn in range(rounds):
        for name in fits:
            # Right before its own step and right after it, in turn: what runs second finds another cache.
            order = (PLAIN, name) if turn % 2 else (name, PLAIN)
            times = {step: seconds(step) for step in dict.fromkeys(order)}
            pairs[name].append((times[name], times[PLAIN]))
    for series in pairs.values():
        own, plain = np.transpose(series)
        yield {"step_ms": 1000 * float(np.median(own)), "step_ratio": float(np.median(own / plain))}


class _Clock(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds.append(time.perf_counter() - self._began)
