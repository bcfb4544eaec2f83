"""What is in the wheel, which is what users install."""

import os
import subprocess
import sys
import zipfile

import pytest

from keras_sae import presets


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    return next(target.glob("*.whl"))


def test_carries_presets_recipes_sample_and_licences(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for preset in presets.names():
        for file in ("config.json", "metadata.json", "model.weights.h5", "reference.npz", "README.md"):
            assert f"keras_sae/pretrained/{preset}/{file}" in names
    assert "keras_sae/recipes/mnist_dense_ksparse.toml" in names
    assert {f"keras_sae/datasets/{name}_sample.npz" for name in ("fashion_mnist", "wordnet_glosses")} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    for sample in ("fashion_mnist_sample", "wordnet_glosses_sample"):
        assert any(f"licenses/keras_sae/datasets/{sample}.LICENSE" in name for name in names)
    assert not [name for name in names if name.startswith(("tests", "notebooks", "benchmarks"))]
    assert wheel.stat().st_size < 60e6


@pytest.mark.slow
def test_works_where_it_is_installed(wheel, tmp_path):
    installed, elsewhere = tmp_path / "installed", tmp_path / "elsewhere"
    elsewhere.mkdir()

    def run(*command):
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        return subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=True).stdout

    run(sys.executable, "-m", "pip", "install", "--no-deps", "--target", installed, wheel)
    code = (
        "import keras_sae, numpy as np; from keras_sae.models import SparseAutoencoder; "
        "print(keras_sae.__file__); "
        "print(SparseAutoencoder.from_preset('mnist_dense_ksparse').encoder(np.zeros((2, 28, 28, 1))).shape); "
        "print(keras_sae.serving.export('mnist_dense_ksparse', 'served'))"
    )
    printed = run(sys.executable, "-c", code)
    assert str(installed) in printed
    assert "(2, 1000)" in printed
    assert (elsewhere / "served" / "1" / "saved_model.pb").is_file()
    assert (elsewhere / "served" / "client.py").is_file()
    assert "pretrained codes" in run(installed / "bin" / "keras-sae", "quickstart", "--output", "quickstart")
    assert (elsewhere / "quickstart" / "preset" / "metadata.json").is_file()
