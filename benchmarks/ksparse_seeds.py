"""Trains many k-sparse autoencoders of MNIST side by side on JAX: seeds and variants of the recipe mnist_dense_ksparse.

    python benchmarks/ksparse_seeds.py --epochs 1000 --seeds 3 --out runs/seeds
    python benchmarks/ksparse_probe.py runs/seeds/weights_1000.npz

It needs only NumPy and JAX if you pass the images as `--images FILE.npz`, with a uint8 array `x` of shape (60000, 784). All
runs share one program, and each step is a batched matrix product. It is meant for a GPU; on a CPU use it for small checks.

The state is saved every minute: give the same arguments again to continue. Weights are saved after 200, 1000 and 5000 epochs
and at the end or at the time limit, with centring folded into the biases, so that they read plain images in [0, 1].
"""

import argparse
import functools
import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np

UNITS, PIXELS, BATCH = 1000, 784, 128
K_START, K = 100, 25
ANNEALED = 0.3  # the share of training in which k falls from K_START to K, as in the recipe
RATE, MOMENTUM = 0.01, 0.9  # on half the sum of squares over pixels
SAVED_AFTER = (200, 1000, 5000)  # epochs

# The recipe, and what each variant changes. Dropout is of input pixels; masking leaves the other pixels as they are.
RECIPE = {"centred": False, "dropped": 0.0, "rescaled": True, "decayed": True}
VARIANTS = {
    "recipe": {},
    "constant rate": {"decayed": False},
    "centred": {"centred": True},
    "dropout 0.2": {"dropped": 0.2},
    "dropout 0.5": {"dropped": 0.5},
    "masked 0.2": {"dropped": 0.2, "rescaled": False},
    "centred, dropout 0.2": {"centred": True, "dropped": 0.2},
}


def largest(z, k):
    """Which `k` entries of each row are its largest, ties to the first: a mask of the shape of `z`, without a sort.

    Bisects the bits of the k-th largest value, and then the index up to which entries equal to it stay.
    """

    def count(mask):
        return jnp.sum(mask.astype(jnp.int32), axis=-1, keepdims=True)

    bits = jax.lax.bitcast_convert_type(z, jnp.int32)
    keys = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # integers in the order of the floats
    kth = jnp.where(count(keys >= 0) >= k, 0, -(2**31)).astype(jnp.int32)
    for bit in range(30, -1, -1):
        tried = kth + (1 << bit)
        kth = jnp.where(count(keys >= tried) >= k, tried, kth)
    equal = keys == kth
    left = k - count(keys > kth)
    places = jax.lax.broadcasted_iota(jnp.int32, z.shape, z.ndim - 1)
    last = jnp.zeros_like(kth)
    for bit in range((z.shape[-1] - 1).bit_length() - 1, -1, -1):
        tried = last + (1 << bit)
        last = jnp.where(count(equal & (places < tried)) < left, tried, last)
    return (keys > kth) | (equal & (places <= last))


def largest_in_registers(z, k):
    """The same as `largest`, in one GPU kernel: each row stays in the registers of one warp."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import triton

    width = z.shape[-1]
    padded = 1 << (width - 1).bit_length()

    def kernel(z_ref, k_ref, mask_ref):
        row = pl.program_id(0)
        inside = jax.lax.broadcasted_iota(jnp.int32, (1, padded), 1) < width
        place = (pl.ds(row, 1), pl.ds(0, padded))
        values = triton.load(z_ref.at[place], mask=inside, other=-jnp.inf)
        mask = largest(values, k_ref[0]).astype(jnp.int8)
        triton.store(mask_ref.at[place], mask, mask=inside)

    rows = z.reshape(-1, width)
    mask = pl.pallas_call(
        kernel,
        out_shape=jax.ShapeDtypeStruct(rows.shape, jnp.int8),
        grid=(len(rows),),
        compiler_params=triton.CompilerParams(num_warps=1, num_stages=1),
    )(rows, k.reshape(1))
    return mask.reshape(z.shape) != 0


def settings_of(runs):
    """The settings of runs, a list of (variant, seed), as arrays with one entry for each run."""
    options = [{**RECIPE, **VARIANTS[variant], "seed": seed} for variant, seed in runs]
    return {name: np.asarray([option[name] for option in options]) for name in options[0]}


def initial(settings):
    """Weights and velocities of all runs before training."""
    seeds = settings["seed"]
    kernels = [np.random.default_rng(seed).normal(0, 0.01, (PIXELS, UNITS)).astype("float32") for seed in seeds]
    biases = {"bias": np.zeros((len(seeds), 1, UNITS), "float32"), "output_bias": np.zeros((len(seeds), 1, PIXELS), "float32")}
    weights = {"kernel": np.stack(kernels), **biases}
    return {"weights": weights, "velocity": {name: np.zeros_like(value) for name, value in weights.items()}}


class Training:
    """The compiled training of all runs.

    Args:
        images: uint8 array of shape `(n, PIXELS)`.
        runs: List of (variant, seed).
        epochs: Integer, the length of the whole training: the schedules of the rate and of `k` depend on it.
        select: `largest` or `largest_in_registers`.
    """

    def __init__(self, images, runs, epochs, select):
        settings = settings_of(runs)
        self.runs, self.epochs, self.select = runs, epochs, select
        self.count, self.steps = len(images), -(-len(images) // BATCH)
        self.images = jnp.asarray(images)
        self.seeds = jnp.asarray(settings["seed"])
        self.dropped = settings["dropped"].reshape(-1, 1, 1)
        self.scale = np.where(settings["rescaled"].reshape(-1, 1, 1), 1 / (1 - self.dropped), 1).astype("float32")
        self.decayed = settings["decayed"].reshape(-1, 1, 1)
        self.mean = settings["centred"].reshape(-1, 1, 1) * (images.mean(axis=0, dtype="float64") / 255).astype("float32")
        self.state = jax.device_put(initial(settings))
        self.epoch = 0
        self._train = jax.jit(self._epochs, donate_argnums=0)
        self._measure = jax.jit(self._errors)

    def train(self, until):
        """Trains on to an epoch."""
        self.state = jax.block_until_ready(self._train(self.state, self.images, self.epoch, until))
        self.epoch = until

    def errors(self):
        """The mean squared error per pixel of each run with K units, on the first 10,000 images."""
        return [round(float(error), 6) for error in self._measure(self.state["weights"], self.images)]

    def weights(self):
        """The weights of all runs, for images that are not centred: kernel, bias and output bias."""
        kernel, bias, output_bias = (np.asarray(self.state["weights"][name]) for name in ("kernel", "bias", "output_bias"))
        return {"kernel": kernel, "bias": (bias - self.mean @ kernel)[:, 0], "output_bias": (output_bias + self.mean)[:, 0]}

    def _epochs(self, state, images, first, last):
        def epoch(number, state):
            numbers = number * self.steps + jnp.arange(self.steps)
            step = functools.partial(self._step, images)
            return jax.lax.scan(step, state, (numbers, self._batches(number)))[0]

        return jax.lax.fori_loop(first, last, epoch, state)

    def _batches(self, epoch):
        """The rows of each batch, of shape (steps, runs, BATCH); -1 fills up the last batch."""

        def order(seed):
            return jax.random.permutation(jax.random.fold_in(jax.random.key(seed), epoch), self.count)

        rows = jnp.pad(jax.vmap(order)(self.seeds), ((0, 0), (0, self.steps * BATCH - self.count)), constant_values=-1)
        return rows.reshape(len(self.runs), self.steps, BATCH).swapaxes(0, 1)

    def _step(self, images, state, number_and_rows):
        number, rows = number_and_rows  # (), (runs, BATCH)
        weights, velocity = state["weights"], state["velocity"]
        progress = number / (self.epochs * self.steps)
        k = jnp.round(K_START + (K - K_START) * jnp.minimum(progress / ANNEALED, 1)).astype(jnp.int32)
        rate = RATE * jnp.where(self.decayed, (1 + jnp.cos(jnp.pi * progress)) / 2, 1)

        x = clean = images[jnp.maximum(rows, 0)].astype(jnp.float32) / 255  # (runs, BATCH, PIXELS)
        if self.dropped.any():
            draws = jax.random.bits(jax.random.fold_in(jax.random.key(1), number), x.shape, jnp.uint8)
            x = jnp.where(draws < np.round(256 * self.dropped), 0, x * self.scale)
        x, target = x - self.mean, clean - self.mean
        mask, h, output = self._forward(weights, x, k)
        share = (rows >= 0) / jnp.sum(rows >= 0, axis=1, keepdims=True)  # of the mean over the batch
        error = (output - target) * share[..., None]
        dz = jnp.where(mask, jnp.einsum("rbi,riu->rbu", error, weights["kernel"]), 0)
        # The encoder and the decoder share the kernel: one product has both gradients.
        left, right = jnp.concatenate([x, error], axis=1), jnp.concatenate([dz, h], axis=1)
        gradient = {
            "kernel": jnp.einsum("rni,rnu->riu", left, right),
            "bias": dz.sum(axis=1, keepdims=True),
            "output_bias": error.sum(axis=1, keepdims=True),
        }
        velocity = {name: MOMENTUM * velocity[name] - rate * gradient[name] for name in weights}
        return {"weights": {name: weights[name] + velocity[name] for name in weights}, "velocity": velocity}, None

    def _forward(self, weights, x, k):
        z = jnp.einsum("rbi,riu->rbu", x, weights["kernel"]) + weights["bias"]
        mask = self.select(z, k)
        h = jnp.where(mask, z, 0)
        return mask, h, jnp.einsum("rbu,riu->rbi", h, weights["kernel"]) + weights["output_bias"]

    def _errors(self, weights, images):
        def of_part(part):
            x = part.astype(jnp.float32) / 255 - self.mean
            output = self._forward(weights, x, jnp.asarray(K, jnp.int32))[-1]
            return jnp.mean((output - x) ** 2, axis=(1, 2))

        size = min(self.count, 500)
        parts = images[: min(self.count // size * size, 10_000)].reshape(-1, size, PIXELS)
        return jax.lax.map(of_part, parts).mean(axis=0)


def fastest_selection():
    """On a GPU the kernel, if it gives the same as `largest`; elsewhere `largest`."""
    if jax.default_backend() != "gpu":
        return largest
    z = np.random.default_rng(0).normal(size=(2, BATCH, UNITS)).astype("float32")
    z[0] = np.round(z[0], 1)  # ties
    k = jnp.asarray(K, jnp.int32)
    expected = jax.jit(largest)(z, k)
    try:
        if bool((jax.jit(largest_in_registers)(z, k) == expected).all()):
            return largest_in_registers
        print("The selection kernel gives another result: not used.", flush=True)
    except Exception as error:  # whatever stops the kernel, the slower way works
        print(f"The selection kernel does not run: {error!r:.500}", flush=True)
    return largest


def load_images(path):
    if path:
        return np.load(path)["x"]
    from keras_sae.datasets import load_arrays

    return load_arrays("mnist", "train")[0].reshape(-1, PIXELS)


def seconds_per_epoch(training):
    training.train(1)  # compiles
    began = time.perf_counter()
    training.train(3)
    return (time.perf_counter() - began) / 2


def started(images, options, select, deadline):
    """The training of as many seeds as asked for, or, with `--shrink`, as finish in time."""
    seeds = options.seeds
    while True:
        runs = [(variant, seed) for seed in range(seeds) for variant in options.variants]
        training = Training(images, runs, options.epochs, select)
        each = seconds_per_epoch(training) if options.shrink else None
        if each is None:
            return training
        left = deadline - time.perf_counter()
        print(f"{len(runs)} runs: {each:.4f} s an epoch, {each * options.epochs:.0f} s in all; {left:.0f} s left", flush=True)
        fitting = int(seeds * left / (each * options.epochs))
        if fitting >= seeds or seeds == 1:
            return training
        seeds = max(1, fitting)


def record(training, out):
    """Saves the weights of all runs, and adds their reconstruction errors to errors.json."""
    path = out / f"weights_{training.epoch}.npz"
    np.savez(path, runs=json.dumps(training.runs), epochs=training.epoch, **training.weights())
    log = out / "errors.json"
    rows = json.loads(log.read_text()) if log.exists() else []
    for (variant, seed), error in zip(training.runs, training.errors(), strict=True):
        rows.append({"variant": variant, "seed": seed, "epoch": training.epoch, "mse": error})
    log.write_text(json.dumps(rows, indent=1))


def save_state(training, path):
    arrays, _ = jax.tree.flatten(training.state)
    progress = {"epoch": training.epoch, "epochs": training.epochs, "runs": json.dumps(training.runs)}
    np.savez(path.with_suffix(".new.npz"), *map(np.asarray, arrays), **progress)
    path.with_suffix(".new.npz").replace(path)


def restored(images, options, select, path):
    with np.load(path) as saved:
        if int(saved["epochs"]) != options.epochs:
            raise SystemExit(f"{path} belongs to a training of {saved['epochs']} epochs. Received: --epochs {options.epochs}.")
        runs = [tuple(run) for run in json.loads(str(saved["runs"]))]
        training = Training(images, runs, options.epochs, select)
        leaves, structure = jax.tree.flatten(training.state)
        training.state = jax.device_put(jax.tree.unflatten(structure, [saved[f"arr_{i}"] for i in range(len(leaves))]))
        training.epoch = int(saved["epoch"])
    print(f"Continues {len(runs)} runs after epoch {training.epoch}.", flush=True)
    return training


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=1000, help="length of training (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds of each variant (default: %(default)s)")
    parser.add_argument(
        "--variants",
        nargs="+",
        choices=VARIANTS,
        default=list(VARIANTS),
        metavar="VARIANT",
        help=f"of {', '.join(VARIANTS)} (default: all)",
    )
    parser.add_argument("--images", help="npz file with the training images as `x` (default: load them with keras_sae)")
    parser.add_argument("--count", type=int, help="train on the first COUNT images only")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for weights, state and errors.json")
    parser.add_argument("--time-limit", type=float, default=float("inf"), help="seconds after which training stops and saves")
    parser.add_argument("--shrink", action="store_true", help="train fewer seeds if all would not finish in time")
    options = parser.parse_args()
    deadline = time.perf_counter() + options.time_limit
    options.out.mkdir(parents=True, exist_ok=True)
    images = load_images(options.images)[: options.count]
    select = fastest_selection()
    print(f"{jax.devices()[0].device_kind}, {select.__name__}, {len(images)} images", flush=True)

    state = options.out / "state.npz"
    training = restored(images, options, select, state) if state.exists() else started(images, options, select, deadline)
    run(training, options, deadline, state)


def run(training, options, deadline, state):
    """Trains to the end or to the deadline, and saves what the docstring of this file says."""
    stops = sorted({epoch for epoch in SAVED_AFTER if epoch < options.epochs} | {options.epochs})
    each = compiled = over = False  # `each`: seconds an epoch takes, once it is known
    printed = saved = time.perf_counter()
    while training.epoch < options.epochs and not over:
        began, before = time.perf_counter(), training.epoch
        some = max(1, int(2 / each)) if each else 1
        training.train(min(next(stop for stop in stops if stop > before), before + some))
        now = time.perf_counter()
        each = compiled and (now - began) / (training.epoch - before)
        compiled = True  # the first call may have compiled: its time says nothing about the others
        over = now + 3 * each * some + 5 > deadline
        if training.epoch in stops or over:
            record(training, options.out)
        if now - printed > 10 or training.epoch in stops or over:
            errors = training.errors()
            print(f"epoch {training.epoch}: {each:.4f} s an epoch, mse {min(errors):.5f} to {max(errors):.5f}", flush=True)
            printed = now
        if now - saved > 60 or training.epoch == options.epochs or over:
            save_state(training, state)
            saved = now
    print(f"Ended after epoch {training.epoch} of {options.epochs}.", flush=True)


if __name__ == "__main__":
    main()
