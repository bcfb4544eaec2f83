"""Measures steps, encoding and memory of k-sparse autoencoders:
`python benchmarks/speed.py [--peers | --peers-python PYTHON]`.

Every way of computing runs in a process of its own, which holds one model and waits. The script lets them take one step after
the other, in rounds, so that other work on the machine slows down all of them. It prints a Markdown table for each size and
writes all figures to a JSON file. Ratios are medians over rounds of a way's seconds divided by those of the encode product in
the same round; seconds of the processor, summed over threads, are less disturbed by other work. Memory is the peak of the
process less what it held before it made the model. The ways are

    product    the encode product alone, the floor
    sparse     keras_sae, by the entries of the code
    batch      keras_sae, BatchKSparse by the entries of the codes
    served     an export: the endpoint reconstruct in place of a step, and encode_top_k
    dense      keras_sae, by dense codes
    relu_l1    plain Keras, ReLU and an L1 penalty, with Keras' Adam
    bfloat16   as sparse, with dtype="mixed_bfloat16"
    rescored   no model, and encoding in place of a step: the best 2 k by a product in bfloat16, with exact scores in float32

and with --peers, which makes an environment for them, or --peers-python, which names one,

    torch                plain PyTorch, top-k and fused Adam
    sae_lens             SAELens, TopKTrainingSAE with Adam
    dictionary_learning  its TopKTrainer
    overcomplete         its TopKSAE with Adam

A peer that does not install or run is left out, with a message. `--vectors N` also times `evaluation.encode(..., sparse=True)`
of N vectors, against the product in batches of 1,000. `--penalty` adds `SeveralK(4 * k)`,
`NestedPrefixes([units / 16, units / 4])`, or `AuxiliaryK()` with a quarter of the units dead. `--one-at-a-time` holds one way
in memory besides the product. `--missed` prints how many of the winners are not among the best by a product in bfloat16, and
measures nothing else. `--plot FILE --json FILES` draws time against width from files that earlier runs wrote.
"""

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BATCH = 1024
SIZES = ["784x1000x25", "384x4096x32", "768x16384x32"]
OURS = ("product", "sparse", "batch", "served", "dense", "relu_l1", "bfloat16", "rescored")
TORCH = "torch==2.13.0"  # a build for CPUs
PEERS = {"torch": "numpy", "sae_lens": "sae-lens", "dictionary_learning": "dictionary-learning", "overcomplete": "overcomplete"}


def tensorflow_way(way, x, units, k, many):
    """Functions that take a step and that encode a batch, and one that encodes many vectors, or None."""
    import keras
    import tensorflow as tf

    from keras_sae import evaluation
    from keras_sae.layers import BatchKSparse, KSparse
    from keras_sae.models import DenseAutoencoder
    from keras_sae.regularizers import AuxiliaryK, NestedPrefixes, SeveralK
    from keras_sae.serving import export

    batch, inputs = x, x.shape[1]
    x = tf.constant(x)
    way, _, penalty = way.partition("+")
    if way == "product":
        kernel = tf.Variable(tf.random.normal((inputs, units)))
        product = tf.function(lambda: tf.matmul(x, kernel))
        of_batch = tf.function(lambda batch: tf.matmul(batch, kernel))

        def of_many():
            for start in range(0, len(many), 1000):
                of_batch(tf.constant(many[start : start + 1000]))

        return product, product, of_many
    if way == "rescored":
        encode = rescored(x, tf.Variable(tf.random.normal((inputs, units))), k)
        return encode, encode, None
    if way == "relu_l1":
        penalty = keras.regularizers.L1(1e-5)
        encoder = keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(units, "relu", activity_regularizer=penalty)])
        model = keras.Sequential([encoder, keras.layers.Dense(inputs)])
        model.compile("adam", "mse", jit_compile=False)
        encode, encode_many = tf.function(lambda: encoder(x)), None
    else:
        selection = (BatchKSparse if way == "batch" else KSparse)(k)
        dtype = "mixed_bfloat16" if way == "bfloat16" else "float32"
        penalties = {
            "": list,
            "several_k": lambda: [SeveralK(4 * k)],
            "nested_prefixes": lambda: [NestedPrefixes([units // 16, units // 4])],
            "auxiliary_k": lambda: [AuxiliaryK(dead_after=1)],
        }
        model = DenseAutoencoder(inputs, units, sparsity=[selection, *penalties[penalty]()], dtype=dtype)
        model.sparse_path = False if way == "dense" else None if penalty else True
        model.compile("adam", "mse", jit_compile=False)
        model.adapt(batch)
        if penalty == "auxiliary_k":  # a quarter of the units are dead
            model.encoder.get_layer("encode").bias.assign(np.where(np.arange(units) % 4, 0.0, -10.0))
        if way == "served":
            with tempfile.TemporaryDirectory() as folder:
                endpoints = tf.saved_model.load(export(model, f"{folder}/model", examples=batch[:2])).signatures
            return lambda: endpoints["reconstruct"](inputs=x), lambda: endpoints["encode_top_k"](inputs=x), None
        encode = tf.function(lambda: model.encoder(x) if way == "dense" else model.encode_entries(x)[:2])
        encode_many = lambda: evaluation.encode(model, many, sparse=True)  # noqa: E731
    model.train_on_batch(x, x)
    data = iter(tf.data.Dataset.from_tensors((x, x)).repeat())
    return lambda: model.train_function(data), encode, encode_many


def rescored(x, kernel, k):
    """A function that finds the entries of a batch: candidates by a product in bfloat16, exact scores by rows of the kernel."""
    import tensorflow as tf

    from keras_sae.ops import largest_in_order

    @tf.function
    def encode():
        product = tf.matmul(tf.cast(x, "bfloat16"), tf.cast(kernel, "bfloat16"))
        candidates = largest_in_order(tf.cast(product, "float32"), 2 * k)[1]
        rows = tf.gather(tf.transpose(kernel), candidates)  # of the kernel that Keras keeps as (inputs, units)
        values, places = tf.math.top_k(tf.squeeze(rows @ x[:, :, None], -1), k)
        return values, tf.gather(candidates, places, batch_dims=1)

    return encode


def missed_winners(inputs, units, k):
    """The share of the `k` largest of `units` random units that is not among the best of a product in bfloat16."""
    import tensorflow as tf

    x, kernel = tf.random.stateless_normal((BATCH, inputs), (0, 0)), tf.random.stateless_normal((inputs, units), (0, 1))
    winners = tf.sort(tf.math.top_k(x @ kernel, k).indices)
    found = tf.math.top_k(tf.cast(tf.cast(x, "bfloat16") @ tf.cast(kernel, "bfloat16"), "float32"), 4 * k).indices
    found = winners[:, :, None] == found[:, None]
    places = tf.where(tf.reduce_any(found, axis=-1), tf.argmax(found, axis=-1), found.shape[-1])
    return {str(best): float(np.mean(places >= best)) for best in (k, 3 * k // 2, 2 * k, 4 * k)}


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


def sae_lens_way(x, units, k):
    import torch
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.saes.sae import TrainStepInput

    x = torch.from_numpy(x)
    model = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=x.shape[1], d_sae=units, k=k))
    batch = TrainStepInput(sae_in=x, coefficients={}, dead_neuron_mask=None, n_training_steps=1, is_logging_step=False)
    optimizer = torch.optim.Adam(model.parameters())
    return torch_step(optimizer, lambda: model.training_forward_pass(batch).loss), torch.no_grad()(lambda: model.encode(x))


def dictionary_learning_way(x, units, k):
    import torch
    from dictionary_learning.trainers.top_k import TopKTrainer

    x = torch.from_numpy(x)
    trainer = TopKTrainer(10**6, x.shape[1], units, k, layer=0, lm_name="none", device="cpu")
    encode = torch.no_grad()(lambda: trainer.ae.encode(x, use_threshold=False))
    return lambda: trainer.update(1, x), encode  # its step 0 takes a median first


def overcomplete_way(x, units, k):
    import torch
    from overcomplete.sae import TopKSAE

    x = torch.from_numpy(x)
    model = TopKSAE(x.shape[1], nb_concepts=units, top_k=k)
    optimizer = torch.optim.Adam(model.parameters())
    return torch_step(optimizer, lambda: (x - model(x)[2]).square().mean()), torch.no_grad()(lambda: model.encode(x))


def torch_step(optimizer, loss_of):
    def step():
        optimizer.zero_grad()
        loss_of().backward()
        optimizer.step()

    return step


def serve(way, inputs, units, k, vectors):
    """Runs what lines of standard input name, and answers with the seconds."""
    x = np.random.default_rng(0).normal(size=(BATCH, inputs)).astype("float32")
    many = np.random.default_rng(1).normal(size=(vectors, inputs)).astype("float32")
    importlib.import_module("torch" if way in PEERS else "keras_sae.models")
    before = memory("VmRSS")
    made = (*globals()[f"{way}_way"](x, units, k), None) if way in PEERS else tensorflow_way(way, x, units, k, many)
    functions = dict(zip(("step", "encode", "vectors"), made, strict=True))
    for line in sys.stdin:
        function = functions[line.strip()]
        cpu, wall = time.process_time(), time.perf_counter()
        result = None if function is None else function()
        if hasattr(result, "items"):
            [np.asarray(value) for value in result.values()]  # waits
        seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps(function and {**seconds, "peak_mb": memory("VmHWM") - before}), flush=True)


def memory(which):
    """The memory of this process in MB, now (`VmRSS`) or at most so far (`VmHWM`). Linux only."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(which))
    return int(line.split()[1]) / 1024


class Way:
    """A process that runs one way of computing."""

    def __init__(self, way, size, python, vectors):
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "OMP_WAIT_POLICY": "PASSIVE"}
        self.process = subprocess.Popen(
            [python, __file__, "--serve", way, "--sizes", size, "--vectors", str(vectors)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )

    def run(self, what):
        """The seconds that it took, or None where this way cannot do that or has ended."""
        if self.process.poll() is not None:
            return None
        print(what, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        return json.loads(answer) if answer else None

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(size, rounds, pythons, vectors=0):
    """The figures of each way, by name."""
    ways = {name: Way(name, size, python, vectors) for name, python in pythons.items()}
    for name, way in list(ways.items()):
        if way.run("step") is None:
            print(f"{name} does not run, and is left out: {' '.join(way.process.args)}", file=sys.stderr)
            del ways[name]
    whats = ("step", "encode", "vectors") if vectors else ("step", "encode")
    taken = {name: {what: [] for what in whats} for name in ways}
    for number in range(rounds + 1):
        for what in whats:
            for name, way in ways.items():
                answer = way.run(what)
                if number and answer:  # the first round warms up
                    taken[name][what].append(answer)
    figures = {}
    for name, way in ways.items():
        way.close()
        figures[name] = {"peak_mb": taken[name]["encode"][-1]["peak_mb"]}
        for what in whats:
            for clock in ("wall", "cpu") if taken[name][what] else ():
                seconds, floor = ([answer[clock] for answer in each[what]] for each in (taken[name], taken["product"]))
                figures[name][f"{what}_{clock}_ms"] = 1000 * float(np.median(seconds))
                figures[name][f"{what}_{clock}_ratio"] = float(np.median(np.divide(seconds, floor)))
    return figures


def measure_one_at_a_time(size, rounds, pythons, vectors=0):
    """The same, with one way at a time in memory next to a product of its own."""
    figures = {}
    for name, python in pythons.items():
        if name != "product":
            pair = measure(size, rounds, {"product": pythons["product"], name: python}, vectors)
            figures = {"product": pair.pop("product"), **figures, **pair}
    return figures


def table(size, figures, vectors=0):
    inputs, units, k = size.split("x")
    title = f"\n{inputs} inputs, {int(units):,} units, k = {k}"
    print(f"{title}, batch {BATCH}\n")
    columns = "/ product | processor, ms | / product"
    print(f"| way | step, ms | {columns} | encode, ms | {columns} | peak, MB |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, row in figures.items():
        print(f"| {name} | {cells(row, 'step')} | {cells(row, 'encode')} | {row['peak_mb']:.0f} |", flush=True)
    if vectors:
        print(f"{title}, {vectors:,} vectors\n")
        print(f"| way | encode, ms | {columns} |")
        print("|---|---|---|---|---|")
        for name, row in figures.items():
            if "vectors_wall_ms" in row:
                print(f"| {name} | {cells(row, 'vectors')} |", flush=True)


def cells(row, what):
    clocks = ("wall", "cpu")
    return " | ".join(f"{row[f'{what}_{clock}_ms']:.0f} | {row[f'{what}_{clock}_ratio']:.2f}" for clock in clocks)


def make_environment(folder):
    """Makes an environment with PyTorch and the peers that install. Returns its Python and the names of these."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(Path(folder) / "bin" / "python")
    installed = []
    for name, package in PEERS.items():
        if subprocess.run([python, "-m", "pip", "install", "-q", TORCH, package]).returncode:
            print(f"{package} does not install, and is left out.", file=sys.stderr)
        else:
            installed.append(name)
    # A torchvision that needs CUDA breaks libraries that import it where it is there.
    if subprocess.run([python, "-c", "import torchvision"], stderr=subprocess.DEVNULL).returncode:
        subprocess.run([python, "-m", "pip", "uninstall", "-q", "-y", "torchvision"])
    return python, installed


def plot(files, picture):
    """Draws the processor's time of a step against the width of the code, for each way. All sizes must have one k."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    points = {}
    for file in files:
        for size, figures in json.loads(Path(file).read_text())["sizes"].items():
            inputs, units, k = map(int, size.split("x"))
            for name, row in figures.items():
                points.setdefault((inputs, k), {}).setdefault(name, {})[units] = row["step_cpu_ms"]
    (inputs, k), lines = max(points.items(), key=lambda each: max(map(len, each[1].values())))
    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    lines = {name: line for name, line in lines.items() if len(line) > 1}
    for name, line in lines.items():
        axes.loglog(*zip(*sorted(line.items()), strict=True), "o-", label=name)
    widths = sorted({units for line in lines.values() for units in line})
    axes.set_xticks(widths, [f"{units:,}" for units in widths])
    axes.minorticks_off()
    axes.set(
        xlabel="units", ylabel="processor time of a step, ms", title=f"{inputs} inputs, k = {k}, batch {BATCH}, float32, CPU"
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.savefig(picture, dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=SIZES, help="INPUTSxUNITSxK (default: %(default)s)")
    parser.add_argument("--ways", nargs="+", choices=[*OURS, *PEERS], help="ways to time (default: all)")
    parser.add_argument(
        "--penalty",
        choices=["several_k", "nested_prefixes", "auxiliary_k"],
        help="train sparse, batch and dense with this penalty of reconstructions, and leave the other ways out",
    )
    parser.add_argument("--rounds", type=int, default=7, help="default: %(default)s")
    parser.add_argument("--peers", action="store_true", help="install the PyTorch libraries, and compare with them")
    parser.add_argument("--peers-python", help="a Python with the PyTorch libraries, to compare with them")
    parser.add_argument(
        "--json", nargs="+", default=["speed.json"], help="file to write, or files to plot (default: speed.json)"
    )
    parser.add_argument("--vectors", type=int, default=0, help="also time encoding of this many vectors (default: 0)")
    parser.add_argument("--one-at-a-time", action="store_true", help="hold one way in memory besides the product")
    parser.add_argument("--missed", action="store_true", help="only count the winners that a product in bfloat16 misses")
    parser.add_argument("--plot", help="picture to draw from the files, without measuring")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, *map(int, options.sizes[0].split("x")), options.vectors)
        return
    if options.missed:
        for size in options.sizes:
            print(
                size, {best: f"{share:.3%}" for best, share in missed_winners(*map(int, size.split("x"))).items()}, flush=True
            )
        return
    if options.plot:
        plot(options.json, options.plot)
        return
    with tempfile.TemporaryDirectory() as folder:
        pythons = dict.fromkeys(OURS, sys.executable)
        if options.peers or options.peers_python:
            python, names = (options.peers_python, PEERS) if options.peers_python else make_environment(folder)
            pythons.update(dict.fromkeys(names, python))
        if options.ways:
            pythons = {name: python for name, python in pythons.items() if name in ("product", *options.ways)}
        if options.penalty:
            pythons = {name: python for name, python in pythons.items() if name in ("product", "sparse", "batch", "dense")}
            pythons = {name if name == "product" else f"{name}+{options.penalty}": each for name, each in pythons.items()}
        results = {}
        for size in options.sizes:
            measured = measure_one_at_a_time if options.one_at_a_time else measure
            results[size] = measured(size, options.rounds, pythons, options.vectors)
            table(size, results[size], options.vectors)
            Path(options.json[0]).write_text(json.dumps({"batch": BATCH, "sizes": results}, indent=1))


if __name__ == "__main__":
    main()
