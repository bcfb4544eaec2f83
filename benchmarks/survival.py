"""Kills training runs, resumes them, and compares them with runs that were not killed.

    python benchmarks/survival.py kills [--kills 20] [--seed 0]
    python benchmarks/survival.py workers

`kills` kills a run at random moments (SIGKILL) and resumes it each time. It compares the final state byte by byte with that of
a run that was never killed: weights, optimizer, schedules, running means and random state. The recipe uses all of them.
`workers` kills one of two workers. It measures how long the other one takes to stop and prints its message. Then it resumes
both and compares.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from replicas import free_ports

from keras_sae.training import read_run

RECIPE = """
title = "A recipe with every kind of state"
epochs = 8
batch_size = 16
seed = 3
[data]
name = "fashion_mnist_sample"
train = "train[:600]"
validation = "train[600:700]"
test = "test"
[model]
class = "DenseAutoencoder"
code_units = 40
corruption = { class = "MaskingNoise", rate = 0.2 }
sparsity = [{ class = "BatchKSparse", k = 5 }, { class = "ActivityTargetL1", target = 0.1, momentum = 0.9 }]
[k_schedule]
start = 20
epochs = 4
[penalty_schedule]
start = 0.0
epochs = 4
[dead_units]
resample = true
images = 200
every = 2
[early_stopping]
patience = 50
[optimizer]
class = "Adam"
use_ema = true
learning_rate = { class = "ExponentialDecay", initial_learning_rate = 0.003, decay_steps = 20, decay_rate = 0.9 }
"""
# A process that trains deterministically. It pauses after each step, so that a kill can hit it anywhere.
TRAIN = """
import sys, time
import keras, tensorflow as tf
tf.config.experimental.enable_op_determinism()
from keras_sae.training import load_recipe, make_strategy, train
class Pause(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        time.sleep(float(sys.argv[3]))
recipe, output, _, strategy, every = sys.argv[1:]
options = {"strategy": make_strategy(strategy), "checkpoint_seconds": float(every), "callbacks": [Pause()]}
try:
    train(load_recipe(recipe), output, resume=True, verbose=0, **options)
except ConnectionError as error:
    print(error, flush=True)
    import os
    os._exit(3)
"""


def start(recipe, output, pause=0.0, strategy="default", every=0.2, **environment):
    command = [sys.executable, "-c", TRAIN, recipe, output, pause, strategy, every]
    return subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
    )


def finish(process):
    printed, _ = process.communicate(timeout=600)
    if process.returncode:
        raise SystemExit(printed[-3000:])


def where(output):
    """The epoch and step of the last saved state."""
    if not (output / "checkpoint.npz").exists():
        return 0, 0
    run = read_run(output)
    return run["epoch"], run["step"]


def arrays_of(path):
    """The values of all variables in a saved state."""
    with np.load(path, allow_pickle=False) as content:
        return [content[key] for key in content.files if key != "progress"]


def kills(recipe, folder, count, seed):
    """Whether the final states of killed runs are byte-equal to that of the run that was never killed."""
    random.seed(seed)
    finish(start(recipe, folder / "whole"))
    struck, finished, arrays, equal = 0, 0, 0, 0
    while True:
        before = where(folder / "killed")
        process = start(recipe, folder / "killed", pause=0.03 if struck < count else 0.0)
        # One in five is killed while it starts or loads its state, the others some steps after the last saved state.
        early = random.random() < 0.2
        while struck < count and process.poll() is None and not early and where(folder / "killed") == before:
            time.sleep(0.02)
        time.sleep(random.uniform(0, 6 if early else 1) if struck < count else 0)
        if struck < count and process.poll() is None:
            process.kill()
            process.wait()
            struck += 1
            print("kill {}: last saved state at epoch {}, step {}".format(struck, *where(folder / "killed")), flush=True)
            continue
        finish(process)
        finished += 1
        equal, arrays = (total + now for total, now in zip((equal, arrays), compare(folder), strict=True))
        if struck == count:
            break
        for path in (folder / "killed").iterdir():
            path.unlink()
    print(f"{struck} kills in {finished} runs, all finished: {equal} of {arrays} arrays and all histories are byte-equal.")
    return equal == arrays


def compare(folder):
    """How many arrays of the two final states are byte-equal, and how many there are."""
    one, other = (arrays_of(folder / run / "checkpoint.npz") for run in ("whole", "killed"))
    if (folder / "whole" / "history.csv").read_text() != (folder / "killed" / "history.csv").read_text():
        raise SystemExit("The histories differ.")
    return sum(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True)), len(one)


def workers(recipe, folder):
    """Whether the surviving worker stops in time, and the resumed run ends like one that was not killed."""

    def pair(output, **options):
        ports = free_ports(2)
        cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        return [
            start(
                recipe,
                folder / f"{output}{'' if index == 0 else ' of the second'}",
                strategy="multi-worker",
                TF_CONFIG=json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}),
                **options,
            )
            for index in (0, 1)
        ]

    for process in pair("whole"):
        finish(process)
    first, second = pair("killed", pause=0.02)
    while where(folder / "killed") < (1, 0) and first.poll() is None:
        time.sleep(0.1)
    second.kill()
    began = time.monotonic()
    printed, _ = first.communicate(timeout=300)
    seconds = time.monotonic() - began
    message = "".join(line for line in printed.splitlines() if "Another worker was lost" in line)
    print(f"The other worker ended {seconds:.1f} s after the kill, with status {first.returncode}, and said:\n  {message}")
    print(f"Last saved state: epoch {where(folder / 'killed')[0]}. Both workers start again ...", flush=True)
    for process in pair("killed"):
        finish(process)
    one, other = (arrays_of(folder / run / "checkpoint.npz") for run in ("whole", "killed"))
    largest = max(float(np.abs(a - b).max()) for a, b in zip(one, other, strict=True) if a.size)
    files = ", ".join(path.name for path in folder.glob("* of the second/*")) or "none"
    print(f"Largest difference from the run without a kill: {largest:.1e}. Files of the second worker: {files}")
    return bool(message) and first.returncode == 3 and seconds < 120 and largest < 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", choices=["kills", "workers"])
    parser.add_argument("--kills", type=int, default=20, help="number of kills (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        recipe = Path(name) / "everything.toml"
        recipe.write_text(RECIPE)
        if options.experiment == "kills":
            return 0 if kills(recipe, Path(name), options.kills, options.seed) else 1
        return 0 if workers(recipe, Path(name)) else 1


if __name__ == "__main__":
    sys.exit(main())
