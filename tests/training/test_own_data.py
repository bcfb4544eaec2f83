"""Recipes on a user's own data: folders of images, tables, series."""

import keras
import numpy as np
import pytest

from keras_sae import presets
from keras_sae.datasets import load_table
from keras_sae.training import _publish, evaluate_preset, load_recipe, publish, train

pytest.importorskip("tensorflow", reason="own data is read by TensorFlow")


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "Nice parts").mkdir()
    for index in range(20):
        keras.utils.save_img(tmp_path / "Nice parts" / f"{index}.png", random.uniform(size=(6, 5, 3)))
    return tmp_path / "Nice parts"


@pytest.mark.slow
def test_a_folder_alone_is_a_recipe(folder, monkeypatch):
    recipe = load_recipe(folder, ["epochs=1", "model.code_units=12", "data.resize=pad"])
    assert recipe.name == "nice_parts"
    assert recipe.data == {"name": str(folder), "train": "train[:80%]", "test": "train[80%:]", "resize": "pad"}
    assert recipe.model["class"] == "DenseAutoencoder"
    assert recipe.model["code_units"] == 12
    assert recipe.model["center"] is True
    assert recipe.epochs == 1

    monkeypatch.setattr(_publish, "features_picture", lambda model, images: None)  # takes longer than the rest
    train(recipe, folder.parent / "run", verbose=0)
    preset = publish(folder.parent / "run")
    metadata = presets.read_metadata(preset)
    assert metadata["input_shape"] == [6, 5, 3]
    assert (metadata["data"]["train_examples"], metadata["data"]["test_examples"]) == (16, 4)
    assert metadata["data"]["resize"] == "pad"
    assert metadata["parts"]["data"] == "Nice parts"
    monkeypatch.chdir(preset)  # as its card says
    assert evaluate_preset(".")[1]


def test_the_recipe_of_a_folder_follows_its_splits_and_sizes(folder):
    (folder.parent / "split").mkdir()
    folder.rename(folder.parent / "split" / "test")
    with pytest.raises(ValueError, match=r"has the splits \['test'\], and none to train on. Add a folder 'train'"):
        load_recipe(folder.parent / "split")
    (folder.parent / "split" / "train").mkdir()
    for index in range(2):
        keras.utils.save_img(folder.parent / "split" / "train" / f"{index}.jpg", np.zeros((200, 400, 3)))
    with pytest.raises(ValueError, match=r"2 different sizes .*image_size"):
        load_recipe(folder.parent / "split")
    data = load_recipe(folder.parent / "split", ["data.image_size=[8, 9]"]).data
    assert (data["train"], data["test"], data["image_size"]) == ("train", "test", [8, 9])
    for file in (folder.parent / "split" / "test").iterdir():
        file.unlink()
    assert load_recipe(folder.parent / "split").data["image_size"] == [64, 128]  # large images are shrunk, in their shape


def test_recipes_refuse_ways_to_read_that_do_not_apply(folder):
    with pytest.raises(ValueError, match=r"no key 'image_sise'. Did you mean 'image_size'"):
        load_recipe("mnist_dense_kl", ["data.image_sise=[8, 8]"])
    with pytest.raises(ValueError, match="'window' does not apply to a folder of images"):
        load_recipe(folder, ["data.window=3"])
    with pytest.raises(ValueError, match="'windw'"):
        load_recipe(folder, ["data.windw=3"])
    with pytest.raises(ValueError, match=r"There is no file .*missing.csv"):
        load_recipe(folder / "missing.csv")


def test_cards_of_tables_speak_of_rows(tmp_path):
    random = np.random.default_rng(0)
    hidden = random.normal(size=(60, 1))
    rows = np.hstack([100 + 5 * hidden, 0.01 * hidden, random.normal(size=(60, 1))])
    text = "\n".join(",".join(f"{value:.6g}" for value in row) for row in rows)
    (tmp_path / "pumps.csv").write_text(f"pressure,flow,noise\n{text}\n")
    recipe = load_recipe(tmp_path / "pumps.csv", ["epochs=1"])
    assert recipe.title == "Autoencoder of the rows in pumps.csv"
    model = train(recipe, tmp_path / "run", verbose=0)
    scaled = model.preprocessing.predict(load_table(tmp_path / "pumps.csv")[0], verbose=0)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=0.3)  # inside the model
    preset = publish(tmp_path / "run")
    assert presets.read_metadata(preset)["data"]["columns"] == ["pressure", "flow", "noise"]
    card = (preset / "README.md").read_text()
    for part in ("On the 12 test rows", "48 rows, split", "encoder.predict(rows)", "active for no test row"):
        assert part in card
    assert "image" not in card.replace("`image", "")


@pytest.mark.slow
def test_windows_of_a_series_train(tmp_path):
    np.save(tmp_path / "x.npy", np.sin(np.arange(200) / 5))
    recipe = load_recipe(tmp_path / "x.npy", ["epochs=1", "data.window=16", "data.stride=4"])
    model = train(recipe, tmp_path / "run", verbose=0)
    assert model.input_shape == (None, 16, 1)
    with pytest.raises(ValueError, match="Give `window`"):
        load_recipe(tmp_path / "x.npy")


def test_vectors_that_another_processor_computed_are_measured(tmp_path):
    """Their last digits differ. Other numbers of vectors, and other integers, are other data."""
    rng = np.random.default_rng(0)
    vectors, pixels = rng.normal(size=(90, 6)).astype("float32"), rng.integers(256, size=(90, 6), dtype="uint8")

    def save(vectors, pixels):
        np.savez(tmp_path / "vectors.npz", train_image=vectors[:60], test_image=vectors[60:])
        np.savez(tmp_path / "pixels.npz", train_image=pixels[:60], test_image=pixels[60:])

    def published(name):
        recipe = load_recipe(tmp_path / f"{name}.npz", ["epochs=1", "model.code_units=12"])
        train(recipe, tmp_path / name, verbose=0)
        return publish(tmp_path / name)

    save(vectors, pixels)
    of_vectors, of_pixels = published("vectors"), published("pixels")
    save(np.nextafter(vectors, np.float32(9)), pixels + np.uint8(1))
    with pytest.warns(UserWarning, match="'train' and 'test', .*another processor"):
        assert evaluate_preset(of_vectors)[1]
    with pytest.raises(ValueError, match="Check the data directory"):
        evaluate_preset(of_pixels)
    save(2 * vectors, pixels)
    with pytest.warns(UserWarning, match="check the data directory"):
        assert not evaluate_preset(of_vectors)[1]
    save(vectors[:-1], pixels)
    with pytest.raises(ValueError, match=r"Expected: 30 examples, .* Found: 29"):
        evaluate_preset(of_vectors)
