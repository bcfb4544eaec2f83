"""What the documents say can be done: commands that the command line takes, a recipe that builds, a manifest that works."""

import json
import os
import re
import shlex
import subprocess

import keras
import numpy as np
import pytest

from keras_sae.cli._parser import make_parser
from keras_sae.distributed._workers import check_cluster
from keras_sae.models import DenseAutoencoder
from keras_sae.training import load_recipe

DOCUMENTS = ("README.md", "CONTRIBUTING.md", "docs/*.md", "notebooks/*.ipynb", "keras_sae/recipes/*.toml")


def commands(root):
    for pattern in DOCUMENTS:
        for path in sorted(root.glob(pattern)):
            for match in re.finditer(r"(?:^|&& |=jax |`|#   )keras-sae ([^`\n#\\\"]+)", path.read_text(encoding="utf-8"), re.M):
                command = re.split(" && |  | > ", match[1])[0]
                if path.suffix != ".md" or len(command.split()) > 1 or f"keras-sae {command}\n" in path.read_text():
                    yield path.name, command  # a name alone is a word of a sentence, unless it stands on a line of its own


def test_every_command_in_the_documents_is_one_that_the_command_line_takes(root):
    found = list(commands(root))
    assert len(found) > 20
    for name, command in found:
        try:
            make_parser().parse_args(shlex.split(command))
        except SystemExit as refused:
            pytest.fail(f"{name}: keras-sae {command} is refused ({refused}).")


def test_the_recipe_in_the_guide_can_be_trained(root, tmp_path):
    recipe, of_a_folder, *_ = re.findall(
        r"```toml\n(.*?)```", (root / "docs" / "training.md").read_text(encoding="utf-8"), re.S
    )
    (tmp_path / "guide.toml").write_text(recipe)
    load_recipe(tmp_path / "guide.toml").check()
    (tmp_path / "folder.toml").write_text(re.sub(r"\[data\]\n([^\[].*\n)+", of_a_folder, recipe, count=1))
    assert load_recipe(tmp_path / "folder.toml").data["image_size"] == [64, 48]


def _example(root, heading, start):
    """The code block of the guide, in the section of this heading, that begins with `start`."""
    section = (root / "docs" / "training.md").read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (code,) = [block for block in re.findall(r"```python\n(.*?)```", section, re.S) if block.startswith(start)]
    return code


def _data():
    x = np.random.default_rng(0).uniform(size=(60, 12)).astype("float32")
    return {"x": x, "labels": (x.sum(axis=1) > 6).astype(int)}


@pytest.mark.slow
def test_the_transformer_of_the_guide_is_searched_by_scikit_learn(root):
    names = _data()
    exec(_example(root, "scikit-learn and KerasTuner", "from sklearn"), names)
    codes = names["search"].best_estimator_[0].transform(names["x"])
    assert ((codes != 0).sum(axis=1) == names["search"].best_params_["sparsecodes__k"]).all()


def test_a_wrapper_of_keras_says_why_it_cannot_train_an_autoencoder():
    model = DenseAutoencoder(12, 8)
    model.compile("adam", "mse")
    data = _data()
    with pytest.raises(ValueError, match="drop the label"):
        keras.wrappers.SKLearnTransformer(lambda X, y: model).fit(data["x"], data["labels"])
    with pytest.raises(ValueError, match="from_config"):
        keras.wrappers.SKLearnTransformer(model).fit(data["x"], data["labels"])


@pytest.mark.filterwarnings("default")  # KerasTuner's own
def test_the_search_of_the_guide_runs_with_keras_tuner(root, tmp_path):
    pytest.importorskip("keras_tuner", reason="the example needs KerasTuner: pip install keras-tuner")
    names = {**_data(), "folder": tmp_path}
    exec(_example(root, "scikit-learn and KerasTuner", "import keras_tuner"), names)
    assert isinstance(names["best"], DenseAutoencoder)


def test_the_pods_of_the_manifest_find_each_other(root, tmp_path):
    yaml = pytest.importorskip("yaml", reason="reading the manifest takes PyYAML")
    service, job = yaml.safe_load_all((root / "docs" / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert job["spec"]["completionMode"] == "Indexed"
    (tmp_path / "keras-sae").write_text('#!/bin/sh\necho "$TF_CONFIG"\necho "$@"\n')
    (tmp_path / "keras-sae").chmod(0o755)
    environment = {each["name"]: each["value"] for each in container["env"]}
    workers = int(environment["WORKERS"])
    assert workers == job["spec"]["completions"] == job["spec"]["parallelism"]
    for index in range(workers):
        printed = subprocess.run(
            [*container["command"], *container["args"]],
            env={**environment, "JOB_COMPLETION_INDEX": str(index), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        config, arguments = printed.splitlines()
        check_cluster(config)
        content = json.loads(config)
        assert content["task"] == {"type": "worker", "index": index}
        port = service["spec"]["ports"][0]["port"]
        names = [f"{job['metadata']['name']}-{number}.{pod['subdomain']}:{port}" for number in range(workers)]
        assert content["cluster"]["worker"] == names
        options = make_parser().parse_args(shlex.split(arguments))
        assert (options.strategy, options.resume, options.recipe) == ("multi-worker", True, environment["RECIPE"])
