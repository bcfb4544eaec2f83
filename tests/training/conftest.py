import shutil
from pathlib import Path

import pytest

RECIPE = """
title = "A small recipe"
mechanism = "ksparse"
epochs = 4
batch_size = 64
seed = 3

[data]
name = "fashion_mnist_sample"
train = "train[:300]"
test = "test[:200]"
licence = "MIT"

[model]
class = "DenseAutoencoder"
code_units = 30
tied = true
sparsity = [{ class = "KSparse", k = 4, alpha = 2 }, { class = "L1", l1 = 0.001 }]
kernel_initializer = { class = "RandomNormal", stddev = 0.05 }

[k_schedule]
start = 12
epochs = 2

[optimizer]
class = "SGD"
momentum = 0.9
learning_rate = { class = "ExponentialDecay", initial_learning_rate = 0.5, decay_steps = 5, decay_rate = 0.9 }

[probe]
validation = 100
C = [0.1, 1.0]
few_labels = [20]
"""


@pytest.fixture(scope="session")
def recipe_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "small_dense_ksparse.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def _trained(recipe_file, tmp_path_factory):
    from keras_sae.training import load_recipe, train

    output = tmp_path_factory.mktemp("trained") / "run"
    train(load_recipe(recipe_file, ["epochs=1"]), output, verbose=0)
    return output


@pytest.fixture
def trained(_trained, tmp_path):
    """The directory of a run of one epoch of the recipe in `recipe_file`: a copy for each test."""
    return Path(shutil.copytree(_trained, tmp_path / "trained"))


@pytest.fixture(scope="session")
def _published(_trained, tmp_path_factory):
    from keras_sae.training import publish

    return publish(shutil.copytree(_trained, tmp_path_factory.mktemp("published") / "run"))


@pytest.fixture
def published(_published, tmp_path):
    """The preset that was made of that run: a copy for each test."""
    return Path(shutil.copytree(_published, tmp_path / "small_dense_ksparse"))
