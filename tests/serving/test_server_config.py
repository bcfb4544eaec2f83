"""`models.config` is read as TF Serving reads it."""

import shutil

import keras
import pytest

from keras_sae.serving._server_config import check_server_config
from keras_sae.serving._versions import folders_in, versions_in

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a SavedModel is TensorFlow's")


@pytest.fixture
def served(copied):
    """The folder of a model with the versions 1 and 2."""
    shutil.copytree(copied / "1", copied / "2")
    return copied


def change(directory, before, after):
    config = directory / "models.config"
    text = config.read_text()
    assert before in text
    config.write_text(text.replace(before, after))


POLICY = "specific {\n        versions: 1\n      }"
WRONG = {
    "syntax": ("model_config_list {", "model_config_list {{", r"TF Serving can read: 3:\d+"),
    "unclosed": ('"tensorflow"', '"tensorflow', "read: "),
    "misspelled": ("base_path", "base_pat", "base_pat"),
    "two policies": (POLICY, POLICY + " latest { }", "read: .*latest"),
    "name": ('name: "small"', 'name: "other"', "serves 'other', but requests to the exported versions name 'small'"),
    "no name": ('name: "small"', "", "serves '', but"),
    "base path": ("/models/small", "/models/other", "base_path '/models/other'"),
    "no base path": ('base_path: "/models/small"', "", "base_path ''"),
    "platform": ('"tensorflow"', '"torch"', "model_platform"),
    "label": ("value: 1", "value: 7", "label 'stable' to version 7, which is not served. Served: 1"),
    "label of a version that is not served": ("value: 1", "value: 2", "label 'stable' to version 2, which is not served"),
    "label of an old version": (
        POLICY,
        "latest { }",
        "label 'stable' to version 1, which is not served. Served: 2",
    ),
    "version": ("versions: 1", "versions: [1, 7]", "serves version 7, but there is no folder"),
    "no version": ("versions: 1", "", "names none"),
    "twice": (
        "  }\n}",
        '  }\n  config { name: "small" base_path: "/models/small" model_platform: "tensorflow" }\n}',
        "lists a model twice",
    ),
    "nothing": ("model_config_list", "# model_config_list", "read: |no model"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_server_would_not_serve_is_an_error(served, name):
    before, after, message = WRONG[name]
    change(served, before, after)
    with pytest.raises(RuntimeError, match=message):
        check_server_config(served)


RIGHT = {
    "as exported": ("", ""),
    "all": (POLICY, "all { }"),
    "two latest": (POLICY, "latest { num_versions: 2 }"),
    "this folder": ("/models/small", "{folder}"),
    "another model too": (
        "  }\n}",
        '  }\n  config { name: "other" base_path: "/models/other" model_platform: "tensorflow" }\n}',
    ),
    "logging": ('name: "small"', 'name: "small" logging_config { sampling_config { sampling_rate: 0.1 } }'),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_a_server_serves_is_right(served, name):
    before, after = RIGHT[name]
    change(served, before, after.replace("{folder}", str(served)))
    check_server_config(served)


def test_the_names_of_versions_are_read_as_numbers(copied):
    (copied / "1").rename(copied / "001")
    assert versions_in(copied) == [1]
    check_server_config(copied)
    shutil.copytree(copied / "001", copied / "1")
    for name in ("two", "٣", "3.5", ".4"):
        (copied / name).mkdir()
    assert folders_in(copied) == {1: copied / "1"}  # as TF Serving, which warns that it ignores 001
