import time
import tomllib
from pathlib import Path

import keras
import numpy as np

from keras_sae import layers, regularizers
from keras_sae._checks import check_integer
from keras_sae.evaluation._code_statistics import code_statistics
from keras_sae.evaluation._encode import as_input, encode
from keras_sae.evaluation._probe import probe
from keras_sae.models import DenseAutoencoder

PLAIN = "plain ReLU"
_SETTINGS = Path(__file__).resolve().parent.parent / "recipes" / "compare" / "mechanisms.toml"


def mechanisms(units):
    """The mechanisms that `compare` compares by default, at settings that suit images in [0, 1].

    Args:
        units: Integer, the width of the code. One unit in 40 is active at a time.

    Returns:
        Dictionary from a name to arguments of `DenseAutoencoder`.
    """
    settings = _settings()
    made = {}
    for row in settings["mechanisms"]:
        arguments = dict(row)
        name = arguments.pop("name")
        if "sparsity" in arguments:
            given = arguments["sparsity"]
            parts = [_make(units, settings["units"], **part) for part in (given if isinstance(given, list) else [given])]
            arguments["sparsity"] = parts if isinstance(given, list) else parts[0]
        made[name] = arguments
    return made


def _settings():
    return tomllib.loads(_SETTINGS.read_text(encoding="utf-8"))


def _make(units, tuned_units, **arguments):
    """A mechanism, made from its class and arguments, for a code of another width than the tuned one."""
    name = arguments.pop("class")
    if "k" in arguments:
        arguments["k"] = max(1, arguments["k"] * units // tuned_units)
    if "alpha" in arguments:
        arguments["alpha"] = min(arguments["alpha"], units / arguments["k"])
    room = next(room for room in (layers, regularizers, keras.regularizers) if hasattr(room, name))
    return getattr(room, name)(**arguments)


def compare(train, test, units=1000, epochs=40, batch_size=256, rounds=15, seed=0, chosen=None, report=None):
    """Trains the same small autoencoder with each mechanism and measures it on test images.

    Args:
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255.
        units: Integer, the width of the code.
        epochs: Integer, epochs of training with Adam.
        batch_size: Integer.
        rounds: Integer, at least 0. How often the time of a step is measured. Each time, a step of the plain autoencoder is
            measured next to it, so that other work on the machine affects both. 0 skips timing.
        seed: Integer. Fixes the training.
        chosen: Dictionary like the default, `mechanisms(units)`. With `rounds` it must contain the plain autoencoder under
            the name "plain ReLU".
        report: Function called with a sentence before each model is trained.

    Returns:
        List of dictionaries of plain numbers, one per mechanism: its `name`, those of `code_statistics` on the test images,
        `probe_accuracy` in percent, and with `rounds` `step_ms`, the median time of a step, and `step_ratio`, the median
        over rounds of its ratio to a plain step.
    """
    check_integer("units", units, "is the width of the code")
    check_integer("epochs", epochs, "counts epochs of training")
    check_integer("rounds", rounds, "counts measurements of the time of a step", at_least=0)
    report = report or (lambda sentence: None)
    settings = _settings()
    train_x, test_x = (as_input(images) for images, _ in (train, test))
    labels = np.asarray(train[1])
    rows, fits = [], {}
    for name, arguments in (chosen or mechanisms(units)).items():
        report(f"{name} ...")
        keras.utils.set_random_seed(seed)
        model = DenseAutoencoder(train_x.shape[1:], units, **arguments)
        model.compile(keras.optimizers.Adam(settings["learning_rate"]), "mse")
        y = labels if model.supervised else None
        model.fit(train_x, y, batch_size=batch_size, epochs=epochs, verbose=0)
        codes = encode(model, train_x), encode(model, test_x)
        classifier = probe(codes[0], labels, codes[1], test[1], validation=len(labels) // 4, **settings["probe"])
        rows.append({"name": name, **code_statistics(model, test_x), "probe_accuracy": 100 - classifier["error"]})
        fits[name] = (model, y)
    if rounds:
        report(f"Timing of a step, {rounds} rounds ...")
        for row, figures in zip(rows, _step_times(fits, train_x, batch_size, rounds), strict=True):
            row.update(figures)
    return rows


def _step_times(fits, x, batch_size, rounds):
    whole = len(x) // batch_size * batch_size  # no smaller last batch

    def seconds(name):
        model, y = fits[name]
        clock = _Clock()
        model.fit(x[:whole], None if y is None else y[:whole], batch_size=batch_size, callbacks=[clock], verbose=0)
        return np.median(clock.seconds[1:] or clock.seconds)

    pairs = {name: [] for name in fits}
    for turn in range(rounds):
        for name in fits:
            # The order alternates, because what runs second finds a different cache.
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
