"""Probes many k-sparse encoders of MNIST, as `ksparse_seeds.py` saves them: logistic regression on several readings of each.

    python benchmarks/ksparse_probe.py runs/seeds/weights_1000.npz [--data FILE.npz]

The protocol is that of `keras_sae.evaluation.probe`: codes are divided by their standard deviation, and the penalty is chosen
on the last 10,000 training images. JAX fits all penalties of the grid side by side, which suits a GPU. The script prints
validation and test errors in percent for each variant: the mean over seeds, and the range.
"""

import argparse
import functools
import itertools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

REGULARISATIONS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
HELD_OUT = 10_000
MEMORY = 10  # of L-BFGS
# How many entries of a code stay, and whether the largest of the others is subtracted from them.
READINGS = {"top 75": (75, False), "top 150, soft": (150, True), "top 300, soft": (300, True), "ReLU": (None, False)}


def dot(pattern, *arrays):
    return jnp.einsum(pattern, *arrays, precision="highest")


@functools.partial(jax.jit, static_argnames="iterations")
def fit(x, labels, strengths, iterations=150):
    """Multinomial logistic regression with each strength `C`, by L-BFGS with an exact line search.

        mean_i  -log softmax(x[i] @ kernel + bias)[labels[i]]  +  ||kernel||**2 / (2 * C * n)

    Args:
        x: float32 array of shape (n, features), whose last feature is 1: its weight is the bias.
        labels: Integer array of shape (n,).
        strengths: Array of shape (s,).

    Returns:
        float32 array of shape (s, features, classes).
    """
    rows, features = x.shape
    targets = jax.nn.one_hot(labels, 10)  # (n, classes)
    decay = (1 / (strengths * rows))[:, None, None] * (jnp.arange(features) < features - 1)[:, None]

    def inner(a, b):
        return (a * b).sum(axis=(-2, -1))[..., None, None]

    def gradient(weights, logits):
        return dot("nf,snc->sfc", x, (jax.nn.softmax(logits) - targets) / rows) + decay * weights

    def direction(slope, steps, changes):
        """The two loops of L-BFGS, oldest pair first."""
        products = inner(steps, changes)  # (MEMORY, s, 1, 1), zero where there is no pair yet
        inverse = jnp.where(products > 0, 1 / jnp.where(products > 0, products, 1), 0)
        shares = [None] * MEMORY
        for i in reversed(range(MEMORY)):
            shares[i] = inverse[i] * inner(steps[i], slope)
            slope = slope - shares[i] * changes[i]
        slope = slope * jnp.where(products[-1] > 0, products[-1] / jnp.maximum(inner(changes[-1], changes[-1]), 1e-30), 1)
        for i in range(MEMORY):
            slope = slope + (shares[i] - inverse[i] * inner(changes[i], slope)) * steps[i]
        return -slope

    def length(weights, logits, along, logits_along):
        """The step at which the loss is smallest along a direction: brackets it, then bisects the sign of the slope."""

        def rises(t):
            error = (jax.nn.softmax(logits + t * logits_along) - targets) / rows
            return inner(error, logits_along) + inner(decay * (weights + t * along), along) > 0

        def widen(_, bracket):
            low, high = bracket
            enough = rises(high)
            return jnp.where(enough, low, high), jnp.where(enough, high, 2 * high)

        def halve(_, bracket):
            low, high = bracket
            middle = (low + high) / 2
            up = rises(middle)
            return jnp.where(up, low, middle), jnp.where(up, middle, high)

        zero = jnp.zeros_like(strengths)[:, None, None]
        bracket = jax.lax.fori_loop(0, 3, widen, (zero, zero + 1))
        return sum(jax.lax.fori_loop(0, 6, halve, bracket)) / 2

    def iterate(_, carry):
        weights, logits, slope, steps, changes = carry
        along = direction(slope, steps, changes)
        logits_along = dot("nf,sfc->snc", x, along)
        t = length(weights, logits, along, logits_along)
        weights, logits = weights + t * along, logits + t * logits_along
        new = gradient(weights, logits)
        steps = jnp.concatenate([steps[1:], (t * along)[None]])
        changes = jnp.concatenate([changes[1:], (new - slope)[None]])
        return weights, logits, new, steps, changes

    # Zeros that the compiler does not take for constants, which it would fold for seconds.
    weights = 0 * strengths[:, None, None] + jnp.zeros((len(strengths), features, 10))
    logits = dot("nf,sfc->snc", x, weights)
    history = jnp.zeros((MEMORY, *weights.shape))
    return jax.lax.fori_loop(0, iterations, iterate, (weights, logits, gradient(weights, logits), history, history))[0]


@jax.jit
def wrong(x, labels, weights):
    """The share of wrong predictions in percent, for each strength."""
    return 100 * (dot("nf,sfc->snc", x, weights).argmax(axis=-1) != labels).mean(axis=-1)


@jax.jit
def responses(images, kernel, bias):
    """What the units respond before the selection, and, for each reading, the threshold of each row."""
    z = dot("nf,fu->nu", images.astype(jnp.float32) / 255, kernel) + bias
    ranked = jnp.sort(z, axis=-1)
    ranks = {name: keep + soft for name, (keep, soft) in READINGS.items() if keep}
    return z, {name: ranked[:, -rank, None] for name, rank in ranks.items()}


def read(z, threshold, soft):
    if threshold is None:
        return jax.nn.relu(z)
    return jax.nn.relu(z - threshold) if soft else jnp.where(z >= threshold, z, 0)


@functools.partial(jax.jit, static_argnames="soft")
def features(z, threshold, soft, scale):
    x = read(z, threshold, soft) / scale
    return jnp.concatenate([x, jnp.ones((len(x), 1))], axis=1)


def probe(data, kernel, bias, readings):
    """The figures of each reading of one encoder: the chosen `C`, and errors on the held-out and on the test images."""
    train_z, train_thresholds = responses(data["x"], kernel, bias)
    test_z, test_thresholds = responses(data["tx"], kernel, bias)
    kept = len(train_z) - min(HELD_OUT, len(train_z) // 2)
    for name in readings:
        soft = READINGS[name][1]
        threshold = train_thresholds.get(name)
        scale = jnp.std(read(train_z, threshold, soft))
        x = features(train_z, threshold, soft, scale)
        validation = wrong(x[kept:], data["y"][kept:], fit(x[:kept], data["y"][:kept], jnp.asarray(REGULARISATIONS)))
        best = int(jnp.argmin(validation))
        weights = fit(x, data["y"], jnp.asarray(REGULARISATIONS[best : best + 1]))
        test = wrong(features(test_z, test_thresholds.get(name), soft, scale), data["ty"], weights)
        yield {"reading": name, "C": REGULARISATIONS[best], "validation": float(validation[best]), "test": float(test[0])}


def load_data(path):
    """Training images `x` and labels `y`, test images `tx` and labels `ty`, on the device."""
    if path:
        arrays = dict(np.load(path))
    else:
        from keras_sae.datasets import load_arrays

        (x, y), (tx, ty) = (load_arrays("mnist", split) for split in ("train", "test"))
        arrays = {"x": x.reshape(len(x), -1), "y": y, "tx": tx.reshape(len(tx), -1), "ty": ty}
    return {name: jnp.asarray(array if array.ndim == 2 else array.astype("int32")) for name, array in arrays.items()}


def table(rows):
    """Rows of a table in Markdown: validation and test error of each training, variant and reading, over the seeds."""
    lines = [
        "| folder | variant | epochs | reading | seeds | validation: mean (range) | test: mean (range) |",
        "|---|---|---|---|---|---|---|",
    ]
    for (folder, variant, epochs, reading), group in itertools.groupby(
        sorted(rows, key=lambda row: (row["of"], row["variant"], row["epochs"], list(READINGS).index(row["reading"]))),
        key=lambda row: (row["of"], row["variant"], row["epochs"], row["reading"]),
    ):
        group = list(group)
        cells = []
        for what in ("validation", "test"):
            errors = [row[what] for row in group]
            cells.append(f"{np.mean(errors):.2f} ({min(errors):.2f} to {max(errors):.2f})")
        lines.append(f"| {folder} | {variant} | {epochs} | {reading} | {len(group)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", type=pathlib.Path, help="files that ksparse_seeds.py wrote")
    parser.add_argument("--data", help="npz file with arrays x, y, tx, ty (default: load MNIST with keras_sae)")
    parser.add_argument("--readings", nargs="+", choices=READINGS, default=list(READINGS), help="(default: all)")
    parser.add_argument(
        "--out", type=pathlib.Path, help="JSON file for all figures; those already in it are not measured again"
    )
    parser.add_argument("--time-limit", type=float, default=float("inf"), help="seconds after which no new probe starts")
    options = parser.parse_args()
    began = time.perf_counter()
    data = load_data(options.data)
    rows = json.loads(options.out.read_text()) if options.out and options.out.exists() else []
    done = {(row["variant"], row["seed"], row["epochs"], row["of"]) for row in rows}
    for path in options.weights:
        with np.load(path) as saved:
            runs, epochs, kernels, biases = json.loads(str(saved["runs"])), int(saved["epochs"]), saved["kernel"], saved["bias"]
        for (variant, seed), kernel, bias in zip(runs, kernels, biases, strict=True):
            run = {"variant": variant, "seed": seed, "epochs": epochs, "of": path.parent.name}
            if tuple(run.values()) in done or time.perf_counter() - began > options.time_limit:
                continue
            rows += [{**run, **figures} for figures in probe(data, kernel, bias, options.readings)]
            print(f"{time.perf_counter() - began:6.1f} s", rows[-len(options.readings) :], flush=True)
            if options.out:
                options.out.write_text(json.dumps(rows, indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()
