"""Trains a preset of embeddings from several seeds, and prints the figures of each and their means.

    python benchmarks/embedding_seeds.py DIR minilm_dense_ksparse --seeds 0 1 2

DIR is a folder that `benchmarks/embeddings.py` has filled. Each seed is a run in DIR/NAME/seed_N, with a preset and its card in
`preset`; runs that were interrupted continue, and finished ones are read. Where the data has a split "validation", the seed
that explains most of its variance is named: it is the one to publish. `--set epochs=1` changes the recipe.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
from scipy import sparse

from keras_sae.datasets import load_vectors
from keras_sae.evaluation import code_statistics, encode
from keras_sae.models import SparseAutoencoder
from keras_sae.training import load_recipe, publish, train

OF_A_CODE = {
    "explained variance": "reconstruction.explained_variance",
    "recall@10 by reconstructions": "reconstruction.recall_10",
    "recall@10 by codes": "code.recall_10",
    "recall@10 of PCA, float16": "pca_float16.recall_10",
    "1-NN accuracy by codes": "code.accuracy",
    "1-NN accuracy by reconstructions": "reconstruction.accuracy",
    "NDCG@10 by codes": "code.ndcg_10",
    "NDCG@10 by reconstructions": "reconstruction.ndcg_10",
}
OF_A_MODEL = {
    "1-NN accuracy of the vectors": "retrieval.dense.accuracy",
    "NDCG@10 of the vectors": "retrieval.dense.ndcg_10",
    "explained variance of all test data": "features.explained_variance",
    "dead units": "features.dead_units",
    "coherent units": "units.coherent",
}
# The suite's accuracies are those of 2,000 queries. These are of all test data, and vary less.
OF_ALL = "1-NN accuracy of all test data by "
CHOSEN_BY = "explained variance of validation data"


def figures_of(metrics, ks):
    """The figures of a card that are compared, from their names."""
    paths = {}
    for k in sorted({*ks, 0}):
        # The code as it is comes without a name.
        of_k, words = (f"retrieval.k_{k}.", f"k = {k}: ") if k else ("retrieval.", "")
        paths |= {f"{words}{name}": of_k + path for name, path in OF_A_CODE.items()}
    found = {}
    for name, path in {**paths, **OF_A_MODEL}.items():
        value = metrics
        for key in path.split("."):
            value = value.get(key) if isinstance(value, dict) else None
        if value is not None:
            found[name] = value
    return found


def nearest_label(rows, labels):
    """How often the nearest other row, by cosine, has the same label. Rows without a label, below 0, are left out."""
    labelled = np.flatnonzero(labels >= 0)
    rows, labels = rows[labelled], labels[labelled]
    norms = sparse.linalg.norm(rows, axis=1) if sparse.issparse(rows) else np.linalg.norm(rows, axis=1)
    scale = 1 / np.maximum(norms, 1e-12)
    rows = sparse.diags_array(scale) @ rows if sparse.issparse(rows) else rows * scale[:, None]
    right = []
    for start in range(0, len(labels), 1000):
        scores = rows[start : start + 1000] @ rows.T
        scores = scores.toarray() if sparse.issparse(scores) else scores
        scores[np.arange(len(scores)), start + np.arange(len(scores))] = -np.inf
        right.append(labels[scores.argmax(axis=1)] == labels[start : start + 1000])
    return float(np.concatenate(right).mean())


def run(recipe, seed, overrides):
    """Trains and measures one seed: its figures."""
    recipe = load_recipe(recipe, [*overrides, f"seed={seed}"])
    directory = Path(recipe.name) / f"seed_{seed}"
    preset = directory / "preset"
    if not (preset / "metadata.json").is_file():
        train(recipe, directory, ".", resume=True, verbose=2)
        preset = publish(directory, ".", report=print)
    metrics = json.loads((preset / "metadata.json").read_text())["metrics"]
    figures = figures_of(metrics, recipe.suites().get("retrieval", {}).get("k", ()))
    data = f"{recipe.data['name']}.npz"
    model = SparseAutoencoder.from_preset(preset)
    x, labels = map(np.array, load_vectors(data, "test"))
    if labels.shape == x.shape[:1]:
        figures[f"{OF_ALL}vectors"] = nearest_label(x, labels)
        figures[f"{OF_ALL}codes"] = nearest_label(encode(model, x, sparse=True), labels)
    with np.load(data) as file:
        validated = "validation_image" in file.files
    if validated:
        held_out = np.array(load_vectors(data, "validation")[0])
        figures[CHOSEN_BY] = code_statistics(model, held_out)["explained_variance"]
    return figures


def compare(directory, recipe, seeds, overrides=()):
    """Trains and measures every seed, and prints a table."""
    os.chdir(directory)  # recipes name files in it
    results = {seed: run(recipe, seed, overrides) for seed in seeds}
    names = [name for name in results[seeds[0]] if all(name in each for each in results.values())]
    rows = []
    for name in names:
        values = [results[seed][name] for seed in seeds]
        rows.append((name, f"{np.mean(values):.3f}", *(f"{value:.3f}" for value in values)))
    print("| figure | mean |", " | ".join(f"seed {seed}" for seed in seeds), "|")
    print("|---" * (2 + len(seeds)) + "|")
    for cells in rows:
        print("|", " | ".join(cells), "|")
    if CHOSEN_BY in names:
        print(f"Chosen by the {CHOSEN_BY}: seed {max(results, key=lambda seed: results[seed][CHOSEN_BY])}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("recipe")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    compare(options.directory, options.recipe, options.seeds, options.set)


if __name__ == "__main__":
    main()
