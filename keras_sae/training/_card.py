import math
import shlex

from keras_sae._markdown import table as markdown_table
from keras_sae._nouns import noun_of
from keras_sae.evaluation import SUITES
from keras_sae.training._recipe_file import KEYS, read_recipe, recipe_names
from keras_sae.training._toml import toml

PICTURE = "features.png"
# The caption of a picture where the features of a model cannot be drawn.
OF_WINDOWS = "What the most active units respond to"
# Keys of a recipe that the card shows outside the recipe.
_SHOWN_ELSEWHERE = {"name", "title", "use", "notes", "caption", "published", "source"}


def render(metadata):
    """The card of a preset in Markdown, from its metadata alone.

    Args:
        metadata: What `publish` records: `name`, `title`, `recipe`, `data`, `metrics`, `has_picture`, `caption`, `hardware`,
            `seconds`; and what `presets.save` adds.
    """
    name, recipe = metadata["name"], metadata["recipe"]
    noun = noun_of(metadata["input_shape"], metadata["data"])
    preset = name if _is_shipped(metadata) else f"path/to/{name}"
    lines = [f"# {name}", "", f"{metadata['title']}.", ""]
    if metadata.get("has_picture"):
        shown = metadata["data"].get("shown", "test images")
        caption = metadata.get("caption", f"Features, and reconstructions of {shown}")
        text = " ".join([f"{caption}.", *recipe.get("caption", "").split()])
        lines += [f"![{caption}]({PICTURE})", "", *([text, ""] if "caption" in {*metadata, *recipe} else [])]
    lines += _text("Intended use", recipe.get("use", ""))
    lines += [
        "```python",
        "from keras_sae.models import SparseAutoencoder",
        "",
        *_usage(metadata, preset, noun),
        "```",
        "",
        *_browse(preset, metadata),
        *_figures(metadata),
        *_text("Limits", recipe.get("notes", "")),
        *_origin(metadata),
    ]
    return "\n".join(lines) + "\n"


def _usage(metadata, preset, noun):
    """Lines of Python that load the preset and encode with it."""
    given = f"{_shape(metadata['input_shape'])}{_range(metadata['data'])}"
    if "features_shape" not in metadata:
        return [
            f'encoder = SparseAutoencoder.from_preset("{preset}").encoder',
            f"codes = encoder.predict({noun}s)  # {given} to {_shape(metadata['code_shape'])}",
        ]
    return [
        f'model = SparseAutoencoder.from_preset("{preset}")',
        f"features = model.features.predict({noun}s)  # for classifiers: {given} to {_shape(metadata['features_shape'])}",
        f"codes = model.encoder.predict({noun}s)  # {_shape(metadata['code_shape'])}",
    ]


def _browse(preset, metadata):
    """The commands that write a page to look through the units."""
    if not is_browsable(metadata):
        return []
    data = metadata["data"]["name"]
    command = f"keras-sae browse {shlex.quote(preset)}"
    every = f"{command} {shlex.quote(data)}"
    lines = [command] if data == "fashion_mnist" else [f"{command:{len(every)}}  # on the examples in the preset", every]
    if len(lines) == 2:
        lines[1] += "  # on the test data"
    return ["To look through its units in a browser:", "", "```", *lines, "```", ""]


def is_browsable(metadata):
    """Whether pictures can be drawn of what the units of a preset add to a reconstruction."""
    of_windows = metadata.get("caption", "").startswith(OF_WINDOWS)
    return len(metadata["input_shape"]) < 3 or (metadata.get("has_picture", False) and not of_windows)


def _figures(metadata):
    """The sections of the suites, and the table of published figures."""
    name, recipe, metrics, data = (metadata[key] for key in ("name", "recipe", "metrics", "data"))
    noun = noun_of(metadata["input_shape"], data)
    where = "" if _is_shipped(metadata) else ", run in the directory of this preset,"
    lines = [
        "## Measured",
        "",
        f"On the {data['test_examples']:,} test {noun}s (`{data['name']}`, split `{data['test']}`). Brackets hold 95 % "
        f"percentile bootstrap confidence intervals over test {noun}s. "
        f"This command{where} reproduces every number:",
        "",
        "```",
        f"keras-sae evaluate {'.' if where else name}",
        "```",
        "",
    ]
    for suite in SUITES:
        if suite in metrics:
            lines += SUITES[suite].section(metrics[suite], recipe.get(suite, {}), metadata)
    if recipe.get("published"):
        rows = [_published(each, metrics) for each in recipe["published"]]
        lines += ["## Compared with published figures", "", *markdown_table(("", "published", "here", "", "source"), rows), ""]
    return lines


def _published(figure, metrics):
    """Cells of the table of published figures: the measured one, and whether it is as good."""
    if "metric" not in figure:
        return figure["what"], f"{figure['value']:.2f} %", "", "", figure["source"]
    name, *path = figure["metric"].split(".")
    suite, value = SUITES[name], metrics.get(name)
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, int | float):
        raise ValueError(
            f"The published figure {figure['what']!r} is compared with {figure['metric']!r}, which was not measured. "
            f"Correct its `metric` in the recipe, or measure the suite {name!r}."
        )
    reached = value >= figure["value"] if suite.higher_is_better else value <= figure["value"]
    verdict = "" if set(path) & set(suite.baselines) else "reached" if reached else "not reached"
    return figure["what"], f"{figure['value']:.2f}{suite.unit}", f"{value:.2f}{suite.unit}", verdict, figure["source"]


def _origin(metadata):
    name, recipe, data = (metadata[key] for key in ("name", "recipe", "data"))
    shipped = _is_shipped(metadata)
    noun = noun_of(metadata["input_shape"], data)
    hidden = _SHOWN_ELSEWHERE if shipped else {"name"}
    lines = [
        "## How it was made",
        "",
        f"- Data: {data['train_examples']:,} {noun}s, split `{data['train']}` of `{data['name']}` (`keras_sae.datasets`). "
        f"Licence: {data['licence']}.",
        *(_of_patches(**data["patches"]) if "patches" in data else []),
        f"- Model: {metadata['class_name']}, {metadata['parameters']:,} parameters.",
    ]
    if recipe.get("source"):
        lines.append(f"- Method: {recipe['source']}.")
    if "seconds" in metadata:
        lines.append(f"- Training time: {_duration(metadata['seconds'])} on {metadata['hardware']}.")
    return [
        *lines,
        f"- Versions: {', '.join(f'{package} {version}' for package, version in sorted(metadata['packages'].items()))}.",
        "",
        "This command trains it again:" if shipped else f"To train it again, save this recipe as `{name}.toml` and run:",
        "",
        "```",
        f"keras-sae train {name if shipped else f'{name}.toml'}",
        "```",
        "",
        "It uses this recipe:" if shipped else "The recipe:",
        "",
        "```toml",
        *toml({key: value for key, value in recipe.items() if key not in hidden}).splitlines(),
        "```",
    ]


def _of_patches(size, count):
    return [f"- Trained on {count:,} patches of {size} x {size} pixels from random places of these images, without labels."]


def _is_shipped(metadata):
    """Whether the package has a recipe of this name that trains the same model. Its preset is then found by name."""
    name, recorded = metadata["name"], metadata["recipe"]
    if name not in recipe_names():
        return False
    keys = set(KEYS) - _SHOWN_ELSEWHERE - {"mechanism"}
    now = {"loss": "mse", **read_recipe(name)}
    center = recorded["model"].get("center", False)
    recorded = {**recorded, "model": {**recorded["model"], "center": center}}
    now["model"] = {"center": center, **now["model"]}  # a file that does not say takes the default, which is recorded
    return {key: recorded.get(key) for key in keys} == {key: now.get(key) for key in keys}


def _range(data):
    """Where inputs lie, if it is known: uint8 pixels are divided by 255. Metadata of earlier releases has no dtype."""
    is_pixels = data["dtype"] == "uint8" if "dtype" in data else not data["name"].endswith("patches")
    return " in [0, 1]" if is_pixels else ""


def _text(title, text):
    return [f"## {title}", "", text.strip(), ""] if text else []


def table(metadata):
    """A table of presets in Markdown, from the metadata of each. Its links start from the folder of the presets."""
    return "\n".join(
        markdown_table(("preset", "what it is", *COLUMNS), [(_link(each), each["title"], *columns(each)) for each in metadata])
    )


COLUMNS = ("code", "active", "probe error", "raw pixels", "100 labels", "raw pixels", "fine-tuned")


def columns(metadata):
    """The cells of a preset under `COLUMNS`; a dash where nothing was measured."""
    metrics, shape = metadata["metrics"], metadata["code_shape"]
    paths = ("probe", "probe.raw_pixels", "probe.labels_100", "probe.raw_pixels.labels_100", "finetune")
    active = metrics["features"]["l0"] * math.prod(shape[:-1] if None not in shape else ())
    return " x ".join(map(_size, shape)), f"{active:.0f}", *(_error(metrics, path.split(".")) for path in paths)


def _error(metrics, path):
    for key in path:
        metrics = metrics.get(key, {})
    return f"{metrics['error']:.2f} %" if "error" in metrics else "-"


def _link(metadata):
    return f"[{metadata['name']}]({metadata['name']}/README.md)"


def _duration(seconds):
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} hours"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} minute{'s' if minutes > 1 else ''}"


def _shape(shape):
    return "(" + ", ".join(["n", *map(_size, shape)]) + ")"


def _size(size):
    return "any" if size is None else str(size)
