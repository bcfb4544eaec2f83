import json

import pytest

from keras_sae import presets
from keras_sae.presets import _catalog


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    names = (
        "mnist_dense_ksparse",
        "fashion_mnist_dense_kl",
        "fashion_mnist_conv_wta",
        "mnist_group_l21",
        "patches_sparse_coding",
        "color_patches_dense_kl",
        "mnist_dense_kl_denoising",
        "deep_weeds_deep_l1",
        "mnist_newarchitecture_l1",
    )
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "metadata.json").write_text(json.dumps({}))
    monkeypatch.setattr(_catalog, "root", lambda: tmp_path)
    return sorted(names)


def test_names_come_apart_where_the_architecture_stands(zoo):
    assert [_catalog.parts_of(name) for name in zoo] == [
        ("color_patches", "dense", "kl"),
        ("deep_weeds", "deep", "l1"),
        ("fashion_mnist", "conv", "wta"),
        ("fashion_mnist", "dense", "kl"),
        ("mnist", "dense", "kl_denoising"),
        ("mnist", "dense", "ksparse"),
        ("mnist", "group", "l21"),
        ("mnist", "newarchitecture", "l1"),
        ("patches", "sparse_coding", ""),
    ]


def test_names_are_kept_by_their_parts(zoo):
    assert presets.names() == zoo
    assert presets.names(data="fashion_mnist") == ["fashion_mnist_conv_wta", "fashion_mnist_dense_kl"]
    assert presets.names(mechanism="kl") == ["color_patches_dense_kl", "fashion_mnist_dense_kl"]
    assert presets.names(data="fashion_mnist", mechanism="kl") == ["fashion_mnist_dense_kl"]
    assert presets.names(architecture="sparse_coding") == ["patches_sparse_coding"]
    assert presets.names("mnist", "conv") == []  # each is known, and no preset is both


def test_an_unknown_part_gets_near_matches(zoo):
    with pytest.raises(ValueError, match=r"mechanism='k_sparse'. Did you mean 'ksparse'.* Known for `mechanism`: kl, "):
        presets.names(mechanism="k_sparse")
    with pytest.raises(ValueError, match=r"data='fashion'. Did you mean 'fashion_mnist'"):
        presets.names(data="fashion")


def test_a_directory_under_a_strange_name_is_listed(zoo, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metadata.json").write_text("{}")
    assert "mine" in presets.names()
    assert presets.names(data="mine") == ["mine"]
