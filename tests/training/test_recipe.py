"""What a recipe says: overrides, refusals, and what it builds."""

import json

import keras
import numpy as np
import pytest

from keras_sae import models, presets
from keras_sae.training import load_recipe, recipe_names
from keras_sae.training._recipe import from_data


def test_every_shipped_recipe_is_whole_and_has_its_preset():
    for name in recipe_names():
        recipe = load_recipe(name)
        assert recipe.name == name
        assert recipe.build((28, 28, 1)).optimizer is not None
        recorded = presets.read_metadata(presets.find(name))["recipe"]
        assert from_data(recorded).as_data() == json.loads(json.dumps(recipe.as_data())), (
            "train the preset again: its recipe has changed"
        )


def test_the_recipe_says_what_is_built(recipe_file):
    model = load_recipe(recipe_file).build((28, 28, 1))
    assert model.name == "small_dense_ksparse"
    assert (model.encoder.layers[-2].k, model.encoder.layers[-2].alpha) == (4, 2.0)
    assert model.penalties[0].l1 == 0.001
    assert float(model.optimizer.learning_rate) == 0.5


def test_overrides(recipe_file):
    recipe = load_recipe(recipe_file, ["epochs=9", "model.code_units=7", "optimizer.learning_rate=0.25", "title=Other"])
    assert (recipe.epochs, recipe.model["code_units"], recipe.optimizer["learning_rate"]) == (9, 7, 0.25)
    assert recipe.title == "Other"
    made = load_recipe(recipe_file, ["early_stopping.patience=3", "early_stopping.min_delta=0.1", "model.tied=False"])
    assert made.early_stopping == {"patience": 3, "min_delta": 0.1}
    assert made.model["tied"] is False


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "'epochs'"),
        ("epochs=0", "epochs"),
        ("epochs=many", "epochs"),
        ("optimiser.learning_rate=1", "'optimizer'"),
        ("epochs", "key=value"),
        ("data.trian='test'", "'train'"),
        ("k_schedule.stop=3", "stop"),
        ("early_stoping.patience=3", "'early_stopping'"),
        ("epochs.many=3", "'epochs'"),
        ("keep_best=perhaps", "true or false"),
        ("early_stopping={patience=2, restore_best_weights=true}", "keep_best"),
    ],
)
def test_bad_overrides_are_refused_with_near_matches(recipe_file, override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(recipe_file, [override])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.class=DenseAutoencodr", "'DenseAutoencoder'"),
        ("model.code_unit=3", "'code_units'"),
        ("optimizer.class=SDG", "'SGD'"),
        ("optimizer.learning_rte=1", "'learning_rate'"),
        ("optimizer.learning_rate=-1", "`learning_rate` is the size"),
        ("model.sparsity={class='KSpars', k=3}", "'KSparse'"),
        ("model.sparsity={k=3}", "class"),
    ],
)
def test_mistyped_classes_and_arguments_are_refused_with_near_matches(recipe_file, override, message):
    with pytest.raises(ValueError, match=message):
        load_recipe(recipe_file, [override]).build((28, 28, 1))


def test_unknown_recipes_get_near_matches():
    with pytest.raises(ValueError, match="'mnist_dense_ksparse'"):
        load_recipe("mnist_dense_kparse")


def test_weight_decay_excludes_the_variables_that_a_recipe_names(recipe_file):
    adam = "optimizer={class='Adam', learning_rate=0.1, weight_decay=0.5, exclude_from_weight_decay=['bias']}"
    model = load_recipe(recipe_file, [adam]).build((28, 28, 1))
    for variable in model.trainable_variables:
        variable.assign(np.ones(variable.shape))
    variables = model.trainable_variables
    model.optimizer.apply([keras.ops.zeros(variable.shape) for variable in variables], variables)
    # Without gradients, a step multiplies what decays by 1 - 0.1 * 0.5.
    values = {variable.path: np.unique(variable.numpy()).tolist() for variable in model.trainable_variables}
    assert len(values) == 3
    for path, (value,) in values.items():
        assert value == (1 if "bias" in path else pytest.approx(0.95))


def test_a_recipe_describes_the_mechanisms_of_several_levels_and_noise(recipe_file, tmp_path):
    path = tmp_path / "small_deep_ksparse.toml"
    deep = """
[model]
class = "DeepAutoencoder"
hidden_units = [12]
code_units = 8
corruption = { class = "MaskingNoise", rate = 0.2 }
sparsity = { level_1 = { class = "ActivityKL", target = 0.2 }, code = [{ class = "KSparse", k = 2 }] }
"""
    text = recipe_file.read_text()
    before, rest = text.split("[model]")[0], text[text.index("[optimizer]") :]
    path.write_text(before + deep + rest)
    model = load_recipe(path).build((28, 28, 1))
    assert [type(penalty).__name__ for penalty in model.penalties_by_code["level_1"]] == ["ActivityKL"]
    assert type(model.corruption).__name__ == "MaskingNoise"
    assert model.encoder.layers[-2].k == 2
    with pytest.raises(ValueError, match="must name its `class`"):
        load_recipe(path, ["model.sparsity={ k = 2 }"]).build((28, 28, 1))


def test_a_recipe_centres_as_its_model_does_by_default_and_records_it(recipe_file):
    recipe = load_recipe(recipe_file)
    assert recipe.as_data()["model"]["center"] is True
    assert recipe.build((28, 28, 1)).centers
    assert not load_recipe(recipe_file, ["model.center=false"]).build((28, 28, 1)).centers
    assert load_recipe(recipe_file, ["model.sparsity={class='L1', l1=0.1}"]).as_data()["model"]["center"] is False
    by_level = "model.sparsity={level_1={class='L1'}, code=[{class='L1'}, {class='WinnerTakeAll', lifetime=0.1}]}"
    assert load_recipe(recipe_file, [by_level]).as_data()["model"]["center"] is True


def test_data_from_before_the_argument_does_not_centre(recipe_file):
    data = load_recipe(recipe_file).as_data()
    del data["model"]["center"]
    assert not from_data(data).build((28, 28, 1)).centers


class Narrow(models.DenseAutoencoder):
    """An architecture of a user that hands on what it does not know."""

    def __init__(self, width=3, **kwargs):
        kwargs.pop("code_units", None)
        super().__init__(code_units=width, **kwargs)


def test_an_architecture_may_hand_on_arguments(recipe_file, monkeypatch):
    monkeypatch.setattr(models, "Narrow", Narrow, raising=False)
    arguments = "{class='Narrow', width=5, tied=true, sparsity={class='KSparse', k=4}}"
    model = load_recipe(recipe_file, [f"model={arguments}"]).build((28, 28, 1))
    assert (type(model), model.encoder.output_shape) == (Narrow, (None, 5))
    with pytest.raises(TypeError, match="Did you mean 'tied'"):
        load_recipe(recipe_file, ["model={class='Narrow', tie=true}", "k_schedule={start=4, epochs=1}"]).build((28, 28, 1))
    with pytest.raises(ValueError, match=r"no argument 'code_unit'. Did you mean 'code_units'"):
        load_recipe(recipe_file, ["model.code_unit=3"]).build((28, 28, 1))
