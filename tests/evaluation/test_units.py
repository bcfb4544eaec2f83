import itertools

import keras
import numpy as np
import pytest

from keras_sae.evaluation import SUITES, top_inputs, units
from keras_sae.models import DenseAutoencoder
from keras_sae.visualization import plot_top_inputs


def reads(count):
    """An encoder whose code is its input: unit j is active where column j is above 0."""
    inputs = keras.Input((count,))
    return keras.Model(inputs, keras.layers.ReLU()(inputs))


def test_the_strongest_inputs_by_hand_over_several_batches(monkeypatch):
    x = np.array([[0, 5, -1], [3, 0, 0], [1, 0, 0], [2, 6, 0], [0, 0, 0]], "float32")
    monkeypatch.setattr("keras_sae.evaluation._encode._MOST_ENTRIES", 6)  # two inputs per batch
    result = top_inputs(reads(3), x, count=2, names=list("abcde"))
    assert [each["inputs"] for each in result["units"]] == [["b", "d"], ["d", "a"], []]
    assert [each["values"] for each in result["units"]] == [[3, 2], [6, 5], []]
    assert [each["rate"] for each in result["units"]] == pytest.approx([3 / 5, 2 / 5, 0])
    assert result["active"] == pytest.approx(2 / 3)
    assert "coherent" not in result


def test_a_unit_of_a_map_is_as_active_as_its_strongest_position():
    inputs = keras.Input((2, 2))
    x = np.array([[[1, 0], [4, 0]], [[3, 9], [0, 0]]], "float32")
    result = top_inputs(keras.Model(inputs, keras.layers.ReLU()(inputs)), x, count=2)
    assert [each["inputs"] for each in result["units"]] == [[0, 1], [1]]
    assert result["units"][0]["values"] == [4, 3]


def groups():
    """100 inputs: unit 0 is active for ten of one group, unit 1 for one of each of ten groups."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 10)
    vectors = np.eye(10)[labels] + 0.01 * random.normal(size=(100, 10))
    x = np.zeros((100, 3), "float32")
    x[labels == 4, 0] = 1
    x[::10, 1] = 1
    return x, labels, vectors


def test_purity_and_similarity_by_hand():
    x, labels, vectors = groups()
    result = top_inputs(reads(3), x, labels=labels, vectors=vectors)
    pure, mixed, dead = result["units"]
    assert (pure["purity"], pure["label"], pure["coherent"]) == (1.0, 4, True)
    assert (mixed["purity"], mixed["coherent"]) == (0.1, False)
    assert (dead["purity"], dead["similarity"], dead["label"], dead["coherent"]) == (None, None, None, False)
    assert (pure["similarity"], mixed["similarity"]) == pytest.approx((1, 0), abs=0.01)
    rows = vectors[pure["inputs"]] / np.linalg.norm(vectors[pure["inputs"]], axis=1, keepdims=True)
    pairs = [one @ other for one, other in itertools.combinations(rows, 2)]
    assert pure["similarity"] == pytest.approx(np.mean(pairs))
    assert result["coherent"] == pytest.approx(1 / 3)
    # Of two random inputs, 9 of the other 99 are of the same group.
    assert result["chance_similarity"] == pytest.approx(9 / 99, abs=0.01)


def test_units_that_mean_nothing_are_coherent_in_about_5_percent():
    random = np.random.default_rng(1)
    x = random.normal(size=(300, 400)).astype("float32")
    result = top_inputs(reads(400), x, count=5, vectors=random.normal(size=(300, 4)))
    assert 0.02 < result["coherent"] < 0.09


def test_a_card_shows_units_by_their_words_and_words_by_their_units(tmp_path):
    x, labels, vectors = groups()
    names = np.array([f"word{row}" for row in range(100)])
    np.savez(tmp_path / "words.npz", inputs=x, names=names, vectors=vectors)
    model = reads(3)
    test = np.zeros((5, 3), "float32"), None
    figures = units(model, test, examples=str(tmp_path / "words.npz"), described="word40, word10")
    assert [each["unit"] for each in figures["shown"]] == [0]
    assert [each["unit"] for each in figures["described"]["word40"]] == [0, 1]
    text = "\n".join(SUITES["units"].section(figures, {}, {"input_shape": (3,), "data": {}}))
    assert "Of 3 units, 33 % are coherent" in text
    assert "| 0 | 10.00 % | word40, word41," in text
    assert "The code of *word10*:" in text
    with pytest.raises(ValueError, match="Did you mean 'word50'"):
        units(model, test, examples=str(tmp_path / "words.npz"), described="wrd50")
    labelled = units(model, (x, labels))
    text = "\n".join(SUITES["units"].section(labelled, {}, {"input_shape": (3,), "data": {}}))
    assert "| 0 | 10.00 % | 4 | 1.00 |" in text
    assert all(row[-1] for row in SUITES["units"].compare(labelled, {**labelled, "shown": []}))


def test_bad_arguments_are_refused(tmp_path):
    x, labels, _ = groups()
    for options, message in (({"count": 1}, "`count`"), ({"labels": labels[:5]}, "`labels`"), ({"names": ["a"]}, "`names`")):
        with pytest.raises(ValueError, match=message):
            top_inputs(reads(3), x, **options)
    np.savez(tmp_path / "words.npz", input=x)
    with pytest.raises(ValueError, match="Did you mean 'inputs'"):
        units(DenseAutoencoder(3, 2), (x, None), examples=str(tmp_path / "words.npz"))
    with pytest.raises(ValueError, match=r"path of a \.npz file"):
        units(DenseAutoencoder(3, 2), (x, None), examples=str(tmp_path / "none.npz"))


def test_a_picture_shows_the_inputs_of_each_unit():
    x = np.random.default_rng(0).uniform(size=(6, 4, 4, 1)).astype("float32")
    inputs = keras.Input((4, 4, 1))
    result = top_inputs(keras.Model(inputs, keras.layers.Flatten()(inputs)), x, count=3)
    figure = plot_top_inputs(x, result["units"][:2], count=3)
    assert len(figure.axes) == 6
    assert figure.axes[3].texts[0].get_text().startswith(f"unit {result['units'][1]['unit']}")
    np.testing.assert_array_equal(figure.axes[4].images[0].get_array(), x[result["units"][1]["inputs"][1], ..., 0])
    for some in ([], [{"unit": 0, "inputs": ["word"]}]):
        with pytest.raises(ValueError, match="`units`"):
            plot_top_inputs(x, some)


def test_longer_texts_have_a_line_each():
    figures = {"units": 2, "inputs": 9, "shown": [{"unit": 0, "rate": 0.5, "inputs": ["a red, a blue", "white | black"]}]}
    metadata = {"input_shape": [4], "data": {"name": "texts"}}
    section = SUITES["units"].section(figures, {}, metadata)
    assert "| 0 | 50.00 % | a red, a blue<br>white \\| black |" in section
