"""Measures the speed and size of exported models: `python benchmarks/serving.py`.

The endpoint `encode` of a k-sparse encoder is compared with a bare tf.function of the same matmul and top-k, which returns
the same codes. Both are loaded from a SavedModel without Keras and called in turn in one process, so that other work on the
machine slows down both. For each number of threads, in a process of its own, the script prints p50 and p99 of a call at batch
1, samples per second at batch 256, and the ratios of medians. Then it prints the size and error of every preset with weights
in float32 and bfloat16. With `--detector`, it prints the times of the endpoints `detect` and `anomaly_map` of the preset
`mnist_dense_detector` instead. It exits with status 1 if `encode` takes more than 1.15 times as long as the bare function.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BOUND = 1.15


def write_bare(model, path):
    """Saves the same arithmetic with the fewest TensorFlow operations."""
    import tensorflow as tf

    dense, select = model.encoder.get_layer("encode"), model.encoder.get_layer("k_sparse")
    module = tf.Module()
    module.kernel, module.bias = tf.Variable(dense.kernel.numpy()), tf.Variable(dense.bias.numpy())
    units, kept = dense.units, select.kept

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="inputs")])
    def encode(inputs):
        flat = tf.reshape(inputs, (-1, module.kernel.shape[0]))
        values, indices = tf.math.top_k(tf.matmul(flat, module.kernel) + module.bias, kept, sorted=False)
        rows = tf.shape(flat)[0]
        places = indices + units * tf.range(rows)[:, None]
        codes = tf.math.unsorted_segment_sum(tf.reshape(values, (-1,)), tf.reshape(places, (-1,)), rows * units)
        return {"codes": tf.reshape(codes, (rows, units))}

    tf.saved_model.save(module, str(path), {"encode": encode})


def measure(folder, calls, batches):
    """Times both functions in turn. Returns seconds per call, by batch size and name."""
    import tensorflow as tf

    threads = int(os.environ["THREADS"])
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    functions = {name: tf.saved_model.load(str(folder / name)).signatures["encode"] for name in ("bare", "export/1")}
    seconds = {}
    for size, count in ((1, calls), (256, batches)):
        inputs = tf.constant(np.random.default_rng(0).uniform(size=(size, *IMAGE)).astype("float32"))
        codes = [function(inputs=inputs)["codes"].numpy() for function in functions.values()]
        np.testing.assert_allclose(*codes, atol=1e-5)
        times = {name: [] for name in functions}
        for index in range(count + count // 10):
            order = list(functions.items())[:: 1 if index % 2 else -1]
            for name, function in order:
                start = time.perf_counter()
                function(inputs=inputs)["codes"].numpy()
                times[name].append(time.perf_counter() - start)
        seconds[size] = {name: each[count // 10 :] for name, each in times.items()}
    return seconds


IMAGE = (28, 28, 1)


def report(threads, seconds):
    """Prints the figures for a number of threads. Returns the larger ratio."""
    single, many = seconds["1"], seconds["256"]
    for name, title in (("bare", "bare"), ("export/1", "encode")):
        p50, p99 = np.percentile(single[name], (50, 99)) * 1e3
        throughput = 256 / np.median(many[name])
        print(f"{threads:7}  {title:6}  {p50:8.3f}  {p99:8.3f}  {throughput:12,.0f}")
    ratios = [np.median(times["export/1"]) / np.median(times["bare"]) for times in (single, many)]
    print(f"{'':7}  {'ratio':6}  {ratios[0]:8.2f}  {'':8}  {ratios[1]:12.2f}  (time, at batch 1 and at batch 256)", flush=True)
    return max(ratios)


def report_weights():
    """Prints the size of the weights and the error on the golden examples, for each preset and type of weights."""
    from keras_sae import presets
    from keras_sae.serving import export, read_description

    width = max(map(len, presets.names()))
    print(f"\n{'':{width}}  {'weights':8}  {'MB':>6}  {'codes: maximum':>14}  {'relative':>11}  {'reconstructions':>15}")
    for name in presets.names():
        for weights in ("float32", "bfloat16"):
            with tempfile.TemporaryDirectory() as folder:
                version = export(name, folder, weights=weights)
                size = sum(path.stat().st_size for path in version.glob("variables/*")) / 1e6
                codes, reconstructions = read_description(version)["difference"].values()
            figures = f"{codes['maximum']:14.1e}  {codes['relative']:11.1e}  {reconstructions['relative']:15.1e}"
            print(f"{name:{width}}  {weights:8}  {size:6.2f}  {figures}", flush=True)


def report_detector(calls, batches):
    """Prints the time of `detect`, with the score "combined", and of `anomaly_map` of an exported detector."""
    import tensorflow as tf

    from keras_sae.anomaly import AnomalyDetector
    from keras_sae.serving import export

    model = AnomalyDetector.from_preset("mnist_dense_detector").model
    normal = np.random.default_rng(0).uniform(size=(400, *IMAGE)).astype("float32")
    detector = AnomalyDetector(model, score="combined").calibrate(normal, 0.05)
    print(f"\n{'endpoint':12}  {'p50 ms':>8}  {'p99 ms':>8}  {'samples/s':>12}")
    with tempfile.TemporaryDirectory() as folder:
        served = tf.saved_model.load(str(export(detector, folder))).signatures
        for name in ("encode", "detect", "anomaly_map"):
            times = {}
            for size, count in ((1, calls), (256, batches)):
                inputs = tf.constant(normal[:size])
                times[size] = []
                for _ in range(count + count // 10):
                    start = time.perf_counter()
                    next(iter(served[name](inputs=inputs).values())).numpy()
                    times[size].append(time.perf_counter() - start)
            p50, p99 = np.percentile(times[1][calls // 10 :], (50, 99)) * 1e3
            print(f"{name:12}  {p50:8.3f}  {p99:8.3f}  {256 / np.median(times[256][batches // 10 :]):12,.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=1000, help="width of the code (default: %(default)s)")
    parser.add_argument("--k", type=int, default=25, help="active units (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=3000, help="timed calls at batch 1 (default: %(default)s)")
    parser.add_argument("--batches", type=int, default=300, help="timed calls at batch 256 (default: %(default)s)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (default: 1 2)")
    parser.add_argument(
        "--presets", action=argparse.BooleanOptionalAction, default=True, help="measure size and error of each preset"
    )
    parser.add_argument("--detector", action="store_true", help="only measure the endpoints of a detector")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.calls, options.batches)))
        return 0
    if options.detector:
        report_detector(options.calls, options.batches)
        return 0
    from keras_sae.layers import KSparse
    from keras_sae.models import DenseAutoencoder
    from keras_sae.serving import export

    model = DenseAutoencoder(IMAGE, options.units, sparsity=KSparse(options.k, name="k_sparse"), tied=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_bare(model, folder / "bare")
        export(model, folder / "export")
        print(f"{options.units} units, {options.k} active, images of shape {IMAGE}.\n")
        print(f"{'threads':>7}  {'':6}  {'p50 ms':>8}  {'p99 ms':>8}  {'samples/s':>12}")
        worst = 0
        for threads in options.threads:
            arguments = ["--measure", folder, "--calls", options.calls, "--batches", options.batches]
            printed = subprocess.run(
                [sys.executable, __file__, *map(str, arguments)],
                env={**os.environ, "THREADS": str(threads), "TF_CPP_MIN_LOG_LEVEL": "3"},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            ).stdout
            worst = max(worst, report(threads, json.loads(printed.splitlines()[-1])))
    if options.presets:
        report_weights()
    return 0 if worst <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
