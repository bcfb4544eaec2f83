import keras
import numpy as np
import pytest

from keras_sae.layers import KSparse
from keras_sae.models import DenseAutoencoder
from keras_sae.regularizers import ActivityKL
from keras_sae.serving import export

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")

LOAD = """
import sys
sys.modules["keras"] = sys.modules["keras_sae"] = None   # as on a server: neither can be imported
import numpy as np, tensorflow as tf
stored = np.load(sys.argv[2])
endpoints = tf.saved_model.load(sys.argv[1]).signatures
assert sorted(endpoints) == ["decode", "encode", "reconstruct", "serving_default"], sorted(endpoints)
inputs, codes, reconstructions = (tf.constant(stored[name]) for name in ("inputs", "codes", "reconstructions"))
for count in (0, 1, 3, len(inputs)):
    for name, given, output, expected in (
        ("serving_default", {"inputs": inputs}, "codes", codes),
        ("encode", {"inputs": inputs}, "codes", codes),
        ("decode", {"codes": codes}, "reconstructions", reconstructions),
        ("reconstruct", {"inputs": inputs}, "reconstructions", reconstructions),
    ):
        result = endpoints[name](**{key: value[:count] for key, value in given.items()})
        assert list(result) == [output]
        np.testing.assert_allclose(result[output], expected[:count], atol=1e-5)
"""


@pytest.mark.parametrize("sparsity", [None, KSparse(3, alpha=2), ActivityKL(0.1)])
@pytest.mark.parametrize("input_shape", [(12,), (5, 4, 1)])
def test_every_endpoint_gives_the_models_values_where_keras_cannot_be_imported(
    sparsity, input_shape, tmp_path, in_fresh_process
):
    model = DenseAutoencoder(input_shape, 9, sparsity=sparsity)
    inputs = np.random.default_rng(0).uniform(size=(7, *input_shape)).astype("float32")
    path = export(model, tmp_path / "served")
    codes = model.encoder(inputs, training=False)
    np.savez(tmp_path / "io.npz", inputs=inputs, codes=codes, reconstructions=model.decoder(codes))
    in_fresh_process(LOAD, path, tmp_path / "io.npz")


def test_a_version_is_never_overwritten_and_nothing_is_left_beside(tmp_path):
    model = DenseAutoencoder(12, 9)
    assert export(model, tmp_path / "served", version=3) == tmp_path / "served" / "3"
    with pytest.raises(FileExistsError, match="never overwritten"):
        export(model, tmp_path / "served", version=3)
    export(model, tmp_path / "served", version=4)
    assert sorted(path.name for path in (tmp_path / "served").iterdir()) == ["3", "4"]


@pytest.mark.parametrize("version", [-1, "1", 1.5, True])
def test_bad_versions_are_refused(version, tmp_path):
    with pytest.raises(ValueError, match="version"):
        export(DenseAutoencoder(12, 9), tmp_path, version=version)


def test_other_models_are_refused(tmp_path):
    with pytest.raises(TypeError, match="SparseAutoencoder"):
        export(DenseAutoencoder(12, 9).encoder, tmp_path)


def test_a_preset_is_exported_by_its_name_or_directory(tmp_path):
    DenseAutoencoder(12, 9).save_to_preset(tmp_path / "preset")
    assert export(tmp_path / "preset", tmp_path / "served").is_dir()
    with pytest.raises(ValueError, match="no preset named"):
        export("nothing_of_the_kind", tmp_path / "served", version=2)
