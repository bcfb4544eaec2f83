import base64
import gzip
import json
import re

import numpy as np
import pytest

from keras_sae import presets
from keras_sae.cli import main
from keras_sae.layers import KSparse, WinnerTakeAll
from keras_sae.models import ConvolutionalAutoencoder, DenseAutoencoder
from keras_sae.visualization import _browse, _page_data, browse


@pytest.fixture(scope="module")
def tiny():
    model = DenseAutoencoder((6, 6, 1), 20, sparsity=KSparse(3), output_activation="sigmoid")
    return model, np.random.default_rng(0).uniform(size=(30, 6, 6, 1)).astype("float32")


def read(path):
    """The settings and arrays of a page."""
    page = path.read_text()
    settings = json.loads(re.search(r'<script type="application/json" id="settings">(.*?)</script>', page, re.S)[1])
    block = gzip.decompress(base64.b64decode(re.search(r'id="arrays">(.*?)</script>', page, re.S)[1]))
    arrays = {}
    for each in settings["arrays"]:
        count = int(np.prod(each["shape"]))
        arrays[each["name"]] = np.frombuffer(block, each["dtype"], count, each["offset"]).reshape(each["shape"])
    return settings, arrays


def reconstructions(arrays, units=None):
    """What the script of the page adds up: all pictures, or those of the first units."""
    added = arrays["added"][:, :units].astype("float32")
    scale = arrays["addedScale"][:, :units]
    return arrays["nothing"] + (added * scale.reshape(*scale.shape, *[1] * (added.ndim - 2))).sum(axis=1)


def test_a_page_has_the_codes_and_its_pictures_add_up_to_the_reconstructions(tiny, tmp_path):
    model, images = tiny
    settings, arrays = read(browse(model, images, tmp_path / "page.html"))
    codes = np.asarray(model.encoder(images))
    np.testing.assert_allclose(arrays["codes"], codes, atol=1e-6)
    np.testing.assert_allclose(reconstructions(arrays), np.asarray(model(images)), atol=0.02)
    # After three units, all that are active, the reconstruction of this decoder, which is not linear, is whole.
    np.testing.assert_allclose(reconstructions(arrays, 3), np.asarray(model(images)), atol=0.02)
    np.testing.assert_array_equal(arrays["strongest"][:, 0], np.abs(codes).argmax(axis=1))
    np.testing.assert_allclose(arrays["rate"], codes.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(arrays["targets"] / 255, images, atol=1 / 255)
    np.testing.assert_allclose(
        arrays["error"][:, -1], np.square(np.asarray(model(images)) - images).mean(axis=(1, 2, 3)), atol=1e-5
    )
    assert settings["kind"] == "image"
    assert settings["threshold"] == 0


def test_units_after_the_strongest_add_up_in_one_picture(tmp_path):
    model = DenseAutoencoder(6, 30, activation="sigmoid")  # all of its 30 units are active
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    _, arrays = read(browse(model, x, tmp_path / "page.html"))
    outputs = np.asarray(model(x))
    np.testing.assert_allclose(reconstructions(arrays), outputs, atol=0.05)
    assert np.abs(reconstructions(arrays, _page_data.STEPS) - outputs).max() > 0.1


def test_a_unit_of_maps_has_its_strongest_activation(tmp_path):
    model = ConvolutionalAutoencoder((8, 8, 1), [4], kernel_size=3, sparsity=WinnerTakeAll(spatial=True, lifetime=None))
    images = np.random.default_rng(0).uniform(size=(5, 8, 8, 1)).astype("float32")
    _, arrays = read(browse(model, images, tmp_path / "page.html"))
    np.testing.assert_allclose(arrays["codes"], np.asarray(model.encoder(images)).max(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(reconstructions(arrays), np.asarray(model(images)), atol=0.05)


def test_figures_of_units_by_hand():
    peaks = np.array([[3.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0], [-1.0, 1.0, 0.0]])
    figures = _page_data.unit_figures(peaks, np.array([0, 0, 1, 1]))
    np.testing.assert_allclose(figures["active"], [0.5, 1, 0])
    np.testing.assert_allclose(figures["largest"], [3, 1, 0])
    np.testing.assert_allclose(figures["sparsity"], [2 - 4 / np.sqrt(10), 0, np.nan])  # (sqrt 4 - l1 / l2) / (sqrt 4 - 1)
    np.testing.assert_allclose(figures["purity"], [0.75, 0.5, np.nan])
    np.testing.assert_array_equal(figures["label"], [0, 0, -1])


def test_a_page_loads_nothing_and_no_text_ends_its_elements(tiny, tmp_path):
    model, images = tiny
    title = "</script><b>{{script}}"
    path = browse(model, images[:2], tmp_path / "page.html", title=title, names=["<!--", "</script>"])
    page = path.read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)|https?:|@import|url\(""", page.split('id="arrays"')[0])
    assert page.count("</script>") == 3
    assert read(path)[0]["title"] == title
    assert read(path)[0]["names"] == ["<!--", "</script>"]


def test_a_page_is_smaller_than_its_limit(tiny, tmp_path, monkeypatch):
    model, images = tiny
    whole = browse(model, images, tmp_path / "page.html").stat().st_size
    monkeypatch.setattr(_browse, "MOST_BYTES", whole - 1)
    settings, arrays = read(browse(model, images, tmp_path / "page.html"))  # replaces its own page
    assert (tmp_path / "page.html").stat().st_size < whole
    assert len(arrays["codes"]) == 15
    assert settings["measured"] == 30


def test_large_pictures_are_made_smaller_by_means():
    pictures = np.arange(2 * 129 * 130 * 1, dtype="float32").reshape(2, 129, 130, 1)
    small = _page_data._small(pictures, "image")
    assert small.shape == (2, 43, 43, 1)
    np.testing.assert_allclose(small[1, 2, 3, 0], pictures[1, 6:9, 9:12, 0].mean())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"data": np.zeros((3, 5, 6, 1))}, "inputs of the model"),
        ({"data": np.full((3, 6, 6, 1), np.nan)}, "input 0"),
        ({"data": (np.zeros((3, 6, 6, 1)), [0, 1])}, "one entry for each input"),
        ({"data": (np.zeros((3, 6, 6, 1)), [0.0, 1.0, 2.0])}, "integers from 0 on"),
        ({"data": (np.zeros((3, 6, 6, 1)), [0, 1, 2]), "label_names": ["a", "b"]}, "the label 2"),
        ({"data": np.zeros((3, 6, 6, 1)), "names": ["a"]}, "one entry for each input"),
        ({"data": np.zeros((3, 6, 6, 1)), "count": 0}, "at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(tiny, tmp_path, arguments, match):
    with pytest.raises(ValueError, match=match):
        browse(tiny[0], path=tmp_path / "page.html", **arguments)
    assert not list(tmp_path.iterdir())


def test_no_other_file_is_replaced(tiny, tmp_path):
    (tmp_path / "page.html").write_text("<p>mine")
    with pytest.raises(FileExistsError, match="not a page of `browse`"):
        browse(*tiny, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == "<p>mine"


def test_the_command_shows_reference_inputs_and_the_licence(tmp_path, capsys):
    name = next(name for name in presets.names() if not name.startswith("fashion") and "dense_kl" in name)
    assert main(["browse", name, "--output", str(tmp_path / "page.html")]) == 0
    assert "Open it in a browser" in capsys.readouterr().out
    settings, arrays = read(tmp_path / "page.html")
    assert presets.read_metadata(presets.find(name))["data"]["licence"] in settings["source"]
    assert len(arrays["targets"]) == len(presets.load_reference(name)["inputs"])
    assert settings["threshold"] == 0.1  # sigmoid units are never exactly zero


def test_the_command_shows_vectors_of_a_run_by_their_names(tmp_path):
    model = DenseAutoencoder(6, 9, sparsity=KSparse(2))
    model.save_to_preset(tmp_path / "run" / "preset")
    (tmp_path / "run" / "run.json").write_text("{}")
    np.save(tmp_path / "vectors.npy", np.random.default_rng(0).normal(size=(4, 6)).astype("float32"))
    (tmp_path / "words.txt").write_text("cat\ndog\nwürm\nsea lion\n", encoding="utf-8")
    command = ["browse", "run", "vectors.npy", "--names", "words.txt", "--output", "page.html"]
    assert main([str(tmp_path / each) if (tmp_path / each).exists() or "." in each else each for each in command]) == 0
    settings, arrays = read(tmp_path / "page.html")
    assert settings["names"] == ["cat", "dog", "würm", "sea lion"]
    assert arrays["codes"].shape == (4, 9)
