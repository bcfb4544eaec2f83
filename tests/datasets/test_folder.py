import numpy as np
import pytest

from keras_sae import datasets
from keras_sae.datasets import _folder, _image_files, _load
from keras_sae.datasets._folder import Folder

pytest.importorskip("tensorflow", reason="folders are read by TensorFlow")
Image = pytest.importorskip("PIL.Image")
RANDOM = np.random.default_rng(0)


def picture(path, size=(6, 5), mode="RGB", **options):
    """Writes a picture of random pixels, and returns them."""
    channels = {"L": (), "LA": (2,), "RGB": (3,), "RGBA": (4,)}[mode]
    pixels = RANDOM.integers(0, 256, (*size, *channels), dtype="uint8")
    if mode in ("LA", "RGBA"):
        pixels[..., -1] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels, mode=None).save(path, **options)
    return pixels


def pictures(folder, count, **options):
    return [picture(folder / f"{index:02}.png", **options) for index in range(count)]


def test_a_flat_folder_is_one_split_without_labels(tmp_path):
    written = pictures(tmp_path, 4)
    (tmp_path / "notes.txt").write_text("not an image")
    images, labels = datasets.load_folder(tmp_path)
    assert images.dtype == np.uint8
    assert labels is None
    np.testing.assert_array_equal(images, written)


def test_folders_of_classes_give_labels(tmp_path):
    good, bad = pictures(tmp_path / "good", 2), pictures(tmp_path / "bad" / "deeper", 1)
    images, labels = datasets.load_folder(tmp_path)
    np.testing.assert_array_equal(images, [*bad, *good])
    assert labels.tolist() == [0, 1, 1]


def test_splits_by_name_share_the_numbers_of_classes(tmp_path):
    pictures(tmp_path / "train" / "good", 3)
    pictures(tmp_path / "test" / "crack", 1)
    pictures(tmp_path / "test" / "good", 2)
    pictures(tmp_path / "ground_truth", 1)  # as in MVTec AD: masks, which are no split
    folder = Folder(tmp_path)
    assert folder.counts == {"train": 3, "test": 3}
    assert folder.class_names == ["crack", "good"]
    assert datasets.load_folder(tmp_path, "train")[1].tolist() == [1, 1, 1]
    assert datasets.load_folder(tmp_path, "test")[1].tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match=r"no split 'validation'. Its splits are \['train', 'test'\]"):
        folder.files("validation")


def test_shares_are_disjoint_mixed_and_the_same_everywhere(tmp_path):
    for name in ("a", "b"):
        pictures(tmp_path / "one" / name, 20, size=(2, 2))
        pictures(tmp_path / "two" / name, 20, size=(2, 2))
    one, two = Folder(tmp_path / "one"), Folder(tmp_path / "two")
    (train, labels), (test, _) = one.files("train[:75%]"), one.files("train[75%:]")
    assert (len(train), len(test)) == (30, 10)
    assert sorted(train + test) == one.files("train")[0]
    assert train == sorted(train)
    assert 12 <= sum(labels) <= 18  # not the first class and then the second
    assert two.files("train[:75%]") == (train, labels)  # only names within the folder count
    picture(tmp_path / "two" / "a" / "new.png", size=(2, 2))
    assert len(set(Folder(tmp_path / "two").files("train[:75%]")[0]) & set(train)) >= 28


@pytest.mark.parametrize(
    ("suffix", "color_mode"), [("JPEG", "rgb"), ("jpg", "grayscale"), ("bmp", "grayscale"), ("gif", "grayscale")]
)
def test_other_formats(tmp_path, suffix, color_mode):
    picture(tmp_path / f"one.{suffix}", size=(8, 8))
    images, _ = datasets.load_folder(tmp_path, color_mode=color_mode)
    assert images.shape == (1, 8, 8, 3 if color_mode == "rgb" else 1)
    assert images.std() > 10


def test_modes_that_have_one_meaning(tmp_path):
    grey = picture(tmp_path / "grey" / "0.png", mode="L")
    veiled = picture(tmp_path / "grey" / "1.png", mode="LA")
    picture(tmp_path / "grey" / "2.jpg", mode="L")
    images, _ = datasets.load_folder(tmp_path / "grey")
    assert images.shape == (3, 6, 5, 1)
    np.testing.assert_array_equal(images[0, ..., 0], grey)
    np.testing.assert_array_equal(images[1, ..., 0], veiled[..., 0])

    colours = Image.fromarray(picture(tmp_path / "colour" / "0.png"))
    opaque = picture(tmp_path / "colour" / "1.png", mode="RGBA")
    palette = colours.quantize(4)
    palette.save(tmp_path / "colour" / "2.png")
    Image.fromarray(grey).save(tmp_path / "colour" / "3.png")
    images, _ = datasets.load_folder(tmp_path / "colour")
    np.testing.assert_array_equal(images[1], opaque[..., :3])
    np.testing.assert_array_equal(images[2], np.asarray(palette.convert("RGB")))
    np.testing.assert_array_equal(images[3], np.stack([grey] * 3, axis=-1))


def test_modes_that_have_none_are_refused_by_name(tmp_path):
    pictures(tmp_path / "deep", 1)
    Image.fromarray(np.full((6, 5), 4000, "uint16")).save(tmp_path / "deep" / "camera.png")
    with pytest.raises(ValueError, match=r"1 of 2 images in .*deep' have 16 bits per channel.*camera.png.*8 bits"):
        datasets.load_folder(tmp_path / "deep")

    pictures(tmp_path / "clear", 1)
    pixels = np.full((6, 5, 4), 255, "uint8")
    pixels[0, 0, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "clear" / "hole.png")
    Image.fromarray(pixels[..., :3]).quantize(2).save(tmp_path / "clear" / "key.png", transparency=0)
    with pytest.raises(ValueError, match=r"2 of 3 images in .*clear' have transparent pixels.*hole.png, key.png.*background"):
        datasets.load_folder(tmp_path / "clear")


def test_all_broken_files_are_named_at_once(tmp_path):
    pictures(tmp_path, 3)
    whole = tmp_path / "whole.jpg"
    picture(whole, size=(40, 40))
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:-300])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("This is a text, and not an image at all.")
    picture(tmp_path / "torn.png", size=(40, 40))
    (tmp_path / "torn.png").write_bytes((tmp_path / "torn.png").read_bytes()[:900])
    with pytest.raises(ValueError, match=r"4 of 8 images in .* cannot be read") as refused:
        datasets.load_folder(tmp_path)
    for part in ("cut.jpg (", "empty.png (it is empty)", "text.png (it is no image)", "torn.png (", "Remove these files"):
        assert part in str(refused.value)


def test_folders_without_images(tmp_path):
    with pytest.raises(ValueError, match=r"has no images: no PNG, JPEG, BMP or GIF files. It is empty"):
        datasets.load_folder(tmp_path)
    (tmp_path / "table.txt").write_text("1")
    with pytest.raises(ValueError, match=r"has no images.* It has table.txt"):
        datasets.load_folder(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match=r"has no images"):
        datasets.load_folder(tmp_path)
    with pytest.raises(ValueError, match=r"missing' is no folder"):
        datasets.load_folder(tmp_path / "missing")
    picture(tmp_path / "other" / "one.png")
    with pytest.raises(ValueError, match=r"The folders train of .* have no images"):
        datasets.load_folder(tmp_path)
    (tmp_path / "scan.tiff").write_bytes(b"II*\0")
    with pytest.raises(ValueError, match=r"1 pictures in .* have another format: scan.tiff. Convert them to PNG"):
        datasets.load_folder(tmp_path)


def test_what_may_not_be_read_is_named(tmp_path, monkeypatch):
    pictures(tmp_path, 1)
    (tmp_path / "gone.png").symlink_to(tmp_path / "moved.png")
    with pytest.raises(ValueError, match=r"1 of 2 images .* cannot be read: gone.png \(No such file"):
        datasets.load_folder(tmp_path)
    (tmp_path / "gone.png").unlink()

    def walk(root, onerror):  # tests may run as root, who may read everything
        onerror(PermissionError(13, "Permission denied", f"{root}/private"))
        return []

    with monkeypatch.context() as denied:
        denied.setattr(_folder.os, "walk", walk)
        with pytest.raises(PermissionError, match=r"1 folders cannot be read: .*private \(Permission denied\). Change"):
            datasets.load_folder(tmp_path)


def test_flat_and_nested_images_are_not_mixed(tmp_path):
    pictures(tmp_path, 2)
    pictures(tmp_path / "bad", 1)
    with pytest.raises(ValueError, match=r"'00.png' lies flat and 'bad/00.png' in a folder. Move the 2 flat images"):
        datasets.load_folder(tmp_path)


def test_sizes_are_resized_only_as_said(tmp_path):
    picture(tmp_path / "a.png", size=(4, 8))
    Image.fromarray(np.full((8, 8), 200, "uint8")).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"2 different sizes .*4 x 8 \(a.png\), 8 x 8 \(b.png\). Give the size.*image_size"):
        datasets.load_folder(tmp_path)
    stretched, cropped = (datasets.load_folder(tmp_path, image_size=[4, 4], resize=each)[0] for each in ("stretch", "crop"))
    padded, _ = datasets.load_folder(tmp_path, image_size=[8, 8], resize="pad")
    whole = np.asarray(Image.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(cropped[0], whole[:, 2:6])
    np.testing.assert_array_equal(padded[0][2:6], whole)
    assert not padded[0][[0, 1, 6, 7]].any()  # bars above and below
    assert stretched.dtype == np.uint8
    np.testing.assert_allclose(stretched[0].mean(), whole.mean(), atol=8)
    assert (stretched[1] == 200).all()
    for wrong in ({"image_size": 4}, {"image_size": [4, 0]}, {"image_size": [4.0, 4]}):
        with pytest.raises(ValueError, match=r"`image_size` .*two integers"):
            datasets.load_folder(tmp_path, **wrong)
    with pytest.raises(ValueError, match=r"`resize` must be one of 'stretch', 'crop', 'pad'. Received: resize='zoom'"):
        datasets.load_folder(tmp_path, image_size=[4, 4], resize="zoom")
    with pytest.raises(ValueError, match="`color_mode` must be one of"):
        datasets.load_folder(tmp_path, color_mode="cmyk")


def test_a_folder_is_loaded_by_its_path_as_other_data_is(tmp_path, monkeypatch):
    written = pictures(tmp_path / "parts", 4, size=(4, 4))
    for name, directory in ((str(tmp_path / "parts"), None), ("parts", tmp_path), ("./parts", tmp_path)):
        np.testing.assert_array_equal(datasets.load_arrays(name, "train", directory)[0], written)
    monkeypatch.chdir(tmp_path)
    batch = next(iter(datasets.load("./parts", "train", batch_size=4, shuffle=False)))
    np.testing.assert_allclose(batch, np.stack(written) / np.float32(255), rtol=1e-6)
    assert datasets.load_training("./parts", "train", image_size=[2, 2])[0].shape == (4, 2, 2, 3)
    with pytest.raises(FileNotFoundError, match=r"There is no folder './part'"):
        datasets.load("./part", "train")
    with pytest.raises(ValueError, match=r"'window' does not apply to a folder of images.*image_size"):
        datasets.load("./parts", "train", window=3)
    with pytest.raises(ValueError, match=r"'image_size' says how to read a folder.*'fashion_mnist_sample' is none"):
        datasets.load("fashion_mnist_sample", "train", image_size=[2, 2])
    assert datasets.save_arrays("./parts", tmp_path / "arrays").name == "parts.npz"


def test_large_folders_stay_on_disk(tmp_path, monkeypatch):
    written = pictures(tmp_path, 6, size=(4, 4))
    monkeypatch.setattr(_load, "_MEMORY", 100)  # two pictures
    images, _ = datasets.load_folder(tmp_path)
    assert isinstance(images, np.memmap)
    np.testing.assert_array_equal(images, written)
    streamed, labels = datasets.load_training(str(tmp_path), "train")
    assert isinstance(streamed, datasets.OnDisk)
    assert labels is None
    np.testing.assert_array_equal(streamed[:6], written)


def test_files_are_decoded_again_only_when_they_change(tmp_path):
    pictures(tmp_path, 2)
    _image_files._checked.cache_clear()
    for _ in range(3):
        Folder(tmp_path)
    assert _image_files._checked.cache_info().misses == 1
    (tmp_path / "01.png").write_bytes(b"broken now")
    with pytest.raises(ValueError, match=r"01.png \("):
        Folder(tmp_path)
