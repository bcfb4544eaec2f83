import re

import pytest

from keras_sae import models, presets
from keras_sae.presets import _catalog
from keras_sae.presets._manifest import write_metadata
from keras_sae.training import read_recipe

# The name of a preset does not always show its parts.
ZOO = {
    "mnist_dense_ksparse": ("mnist", "dense", "ksparse"),
    "mnist_deep_ksparse": ("mnist", "stacked", "ksparse"),
    "fashion_mnist_dense_kl": ("fashion_mnist", "dense", "kl"),
    "fashion_mnist_conv_ksparse": ("fashion_mnist", "conv", "ksparse"),
    "mnist_dense_l1": ("mnist", "dense", "l1"),
    "deep_weeds_dense_kl": ("deep_weeds", "dense", "kl"),
    "patches_sparse_coding": ("patches", "sparse_coding", ""),
    "mine": None,
}


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    for name, parts in ZOO.items():
        (tmp_path / name).mkdir()
        known = {"parts": dict(zip(("data", "architecture", "mechanism"), parts, strict=True))} if parts else {}
        write_metadata(tmp_path / name, known)
    monkeypatch.setattr(_catalog, "root", lambda: tmp_path)


def test_presets_are_found_by_the_parts_in_their_metadata(zoo):
    assert presets.names() == sorted(ZOO)
    assert presets.names(data="fashion_mnist") == ["fashion_mnist_conv_ksparse", "fashion_mnist_dense_kl"]
    assert presets.names(mechanism="kl") == ["deep_weeds_dense_kl", "fashion_mnist_dense_kl"]
    assert presets.names(data="fashion_mnist", mechanism="kl") == ["fashion_mnist_dense_kl"]
    assert presets.names(architecture="sparse_coding") == ["patches_sparse_coding"]
    assert presets.names(architecture="stacked") == ["mnist_deep_ksparse"]
    assert presets.names(mechanism="l1") == ["mnist_dense_l1"]
    assert presets.names("mnist", "conv") == []  # each part is known, but no preset has both


def test_an_unknown_part_gets_near_matches(zoo):
    with pytest.raises(ValueError, match=r"mechanism='k_sparse'. Did you mean 'ksparse'.* Known for `mechanism`: kl, "):
        presets.names(mechanism="k_sparse")
    with pytest.raises(ValueError, match=r"data='fashion'. Did you mean 'fashion_mnist'"):
        presets.names(data="fashion")
    with pytest.raises(ValueError, match="Known for `architecture`: conv, dense, sparse_coding, stacked"):
        presets.names(architecture="deep")


def test_retired_presets_say_what_replaces_them():
    for name, sentence in _catalog.RETIRED.items():
        with pytest.raises(ValueError, match=f"'{name}' is no longer in the package") as error:
            presets.find(name)
        assert sentence in str(error.value)
        replacements = re.findall(r"'(\w+)'", sentence)
        assert replacements
        assert set(replacements) <= set(presets.names())


def test_the_parts_of_shipped_presets_are_those_of_their_model_and_recipe():
    for name in presets.names():
        metadata = presets.read_metadata(presets.find(name))
        parts = {
            "data": metadata["recipe"]["data"]["name"],
            "architecture": getattr(models, metadata["class_name"]).architecture,
            "mechanism": read_recipe(name)["mechanism"],
        }
        assert metadata["parts"] == parts
        assert name in presets.names(**parts)
    assert presets.names("mnist", "stacked", "ksparse") == ["mnist_deep_ksparse"]


def test_each_architecture_has_a_word_of_its_own():
    words = [getattr(models, name).architecture for name in models.__all__ if name[0].isupper()]
    assert len(set(words)) == len(words)
