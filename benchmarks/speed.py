"""Measures steps, encoding and memory of k-sparse autoencoders: `python benchmarks/speed.py [--peers | --peers-python PYTHON]`.

Every way of computing runs in a process of its own, which holds one model and waits. The script lets them take one step after
the other, in rounds, so that other work on the machine slows down all of them. It prints a Markdown table for each size and
writes all figures to a JSON file. Ratios are medians over rounds of a way's seconds divided by those of the encode product in
the same round; seconds of the processor, summed over threads, are less disturbed by other work. The ways are

    product    the encode product alone, the floor
    sparse     keras_sae, by the entries of the code
    dense      keras_sae, by dense codes
    relu_l1    plain Keras, ReLU and an L1 penalty, with Keras' Adam
    torch      plain PyTorch, top-k and fused Adam; with --peers, which makes an environment for it, or --peers-python
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BATCH = 1024
SIZES = ["784x1000x25", "384x4096x32", "768x16384x32"]
OURS = ("product", "sparse", "dense", "relu_l1")
TORCH = "torch==2.13.0"  # a build for CPUs


def tensorflow_way(way, x, units, k):
    """Functions that take a step and that encode a batch."""
    import keras
    import tensorflow as tf

    from keras_sae.layers import KSparse
    from keras_sae.models import DenseAutoencoder

    x = tf.constant(x)
    if way == "product":
        kernel = tf.Variable(tf.random.normal((x.shape[1], units)))
        product = tf.function(lambda: tf.matmul(x, kernel))
        return product, product
    if way == "relu_l1":
        penalty = keras.regularizers.L1(1e-5)
        encoder = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(units, "relu", activity_regularizer=penalty)])
        model = keras.Sequential([encoder, keras.layers.Dense(x.shape[1])])
        model.compile("adam", "mse", jit_compile=False)
        encode = tf.function(lambda: encoder(x))
    else:
        model = DenseAutoencoder(x.shape[1], units, sparsity=KSparse(k))
        model.sparse_path = way == "sparse"
        model.compile("adam", "mse", jit_compile=False)
        model.adapt(x.numpy())
        encode = tf.function(lambda: model.encode_entries(x)[:2] if way == "sparse" else model.encoder(x))
    model.train_on_batch(x, x)
    data = iter(tf.data.Dataset.from_tensors((x, x)).repeat())
    return lambda: model.train_function(data), encode


def torch_way(x, units, k):
    import torch

    x = torch.from_numpy(x)
    inputs = x.shape[1]
    shapes = ((inputs, units), (units,), (units, inputs), (inputs,))
    weights = [torch.nn.Parameter(torch.randn(shape) / inputs**0.5) for shape in shapes]
    optimizer = torch.optim.Adam(weights, fused=True)

    def entries():
        return torch.topk(torch.addmm(weights[1], x, weights[0]), k, dim=-1)

    def step():
        values, indices = entries()
        code = torch.zeros(len(x), units).scatter(1, indices, values)
        loss = torch.nn.functional.mse_loss(torch.addmm(weights[3], code, weights[2]), x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return step, torch.no_grad()(entries)


def serve(way, inputs, units, k):
    """Runs what lines of standard input name, and answers with the seconds."""
    x = np.random.default_rng(0).normal(size=(BATCH, inputs)).astype("float32")
    step, encode = torch_way(x, units, k) if way == "torch" else tensorflow_way(way, x, units, k)
    functions = {"step": step, "encode": encode}
    for line in sys.stdin:
        function = functions[line.strip()]
        cpu, wall = time.process_time(), time.perf_counter()
        result = function()
        if hasattr(result, "items"):
            [np.asarray(value) for value in result.values()]  # waits
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**seconds, "peak_mb": peak}), flush=True)


class Way:
    """A process that runs one way of computing."""

    def __init__(self, way, size, python):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            [python, __file__, "--serve", way, "--sizes", size],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def run(self, what):
        print(what, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"A way of computing ended: {' '.join(self.process.args)}")
        return json.loads(answer)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(size, rounds, pythons):
    """The figures of each way, by name."""
    ways = {name: Way(name, size, python) for name, python in pythons.items()}
    taken = {name: {"step": [], "encode": []} for name in ways}
    for number in range(rounds + 1):
        for what in ("step", "encode"):
            for name, way in ways.items():
                answer = way.run(what)
                if number:  # the first round warms up
                    taken[name][what].append(answer)
    figures = {}
    for name, way in ways.items():
        way.close()
        figures[name] = {"peak_mb": taken[name]["encode"][-1]["peak_mb"]}
        for what in ("step", "encode"):
            for clock in ("wall", "cpu"):
                seconds, floor = ([answer[clock] for answer in each[what]] for each in (taken[name], taken["product"]))
                figures[name][f"{what}_{clock}_ms"] = 1000 * float(np.median(seconds))
                figures[name][f"{what}_{clock}_ratio"] = float(np.median(np.divide(seconds, floor)))
    return figures


def table(size, figures):
    inputs, units, k = size.split("x")
    print(f"\n{inputs} inputs, {int(units):,} units, k = {k}, batch {BATCH}\n")
    print("| way | step, ms | / product | processor, ms | / product | encode, ms | processor, ms | peak, MB |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in figures.items():
        step = (
            f"{row['step_wall_ms']:.0f} | {row['step_wall_ratio']:.2f} | {row['step_cpu_ms']:.0f} | {row['step_cpu_ratio']:.2f}"
        )
        encode = f"{row['encode_wall_ms']:.0f} | {row['encode_cpu_ms']:.0f} | {row['peak_mb']:.0f}"
        print(f"| {name} | {step} | {encode} |", flush=True)


def make_environment(folder):
    """Makes an environment with PyTorch, and returns its Python."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(Path(folder) / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", TORCH, "numpy"], check=True)
    return python


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="INPUTSxUNITSxK (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--peers", action="store_true", help="compare with PyTorch, in an environment made for it")
    parser.add_argument("--peers-python", help="compare with PyTorch, by this Python, which has torch and NumPy")
    parser.add_argument("--json", default="speed.json", help="file to write (default: %(default)s)")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, *map(int, options.sizes[0].split("x")))
        return
    with tempfile.TemporaryDirectory() as folder:
        pythons = dict.fromkeys(OURS, sys.executable)
        if options.peers or options.peers_python:
            pythons["torch"] = options.peers_python or make_environment(folder)
        results = {}
        for size in options.sizes:
            results[size] = measure(size, options.rounds, pythons)
            table(size, results[size])
            Path(options.json).write_text(json.dumps({"batch": BATCH, "sizes": results}, indent=1))


if __name__ == "__main__":
    main()
