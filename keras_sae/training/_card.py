import math

from keras_sae.training._toml import toml

PICTURE = "features.png"

# What stands beside the figures of a model, and is none of them.
BASELINES = {"random": "random features", "pca": "PCA", "raw_pixels": "raw pixels", "noisy": "noisy", "median": "median filter"}
# Published figures are rates in percent, which are to be low, but for these, which are to be high.
_TO_BE_HIGH = {"auroc": "", "psnr": " dB"}


def render(metadata):
    """The card of a preset, in Markdown, from its metadata alone.

    Args:
        metadata: What `publish` records: `name`, `title`, `recipe`, `data`, `metrics`, `has_picture`, `hardware`, `seconds`;
            and what `presets.save` adds to these.
    """
    name, recipe, metrics, data = (metadata[key] for key in ("name", "recipe", "metrics", "data"))
    images = _shape(metadata["input_shape"]) + ("" if data["name"].endswith("patches") else " in [0, 1]")
    lines = [f"# {name}", "", f"{metadata['title']}.", ""]
    if metadata.get("has_picture"):
        lines += [f"![Features, and reconstructions of test images]({PICTURE})", ""]
    lines += _section("Intended use", recipe.get("use", ""))
    lines += [
        "```python",
        "from keras_sae.models import SparseAutoencoder",
        "",
        f'encoder = SparseAutoencoder.from_preset("{name}").encoder',
        f"codes = encoder.predict(images)  # {images} to {_shape(metadata['code_shape'])}",
        "```",
        "",
        "## Measured",
        "",
        f"On the {data['test_examples']:,} test images (`{data['name']}`, split `{data['test']}`); in brackets, the 95 % "
        "interval of a bootstrap over them. Measured again, and compared, by:",
        "",
        "```",
        f"keras-sae evaluate {name}",
        "```",
        "",
    ]
    for suite, section in _SUITES.items():
        lines += section(metrics[suite], metadata) if suite in metrics else []
    if recipe.get("published"):
        lines += ["## Beside published figures", "", "| | published | here | | source |", "|---|---|---|---|---|"]
        lines += [_published(row, metrics) for row in recipe["published"]]
        lines += [""]
    lines += _section("Limits", recipe.get("notes", ""))
    lines += [
        "## How it was made",
        "",
        f"- Data: `{data['name']}` of `keras_sae.datasets`, {data['train_examples']:,} images of split `{data['train']}`. "
        f"Licence: {data['licence']}.",
        f"- Model: {metadata['class_name']}, {metadata['parameters']:,} parameters.",
    ]
    if recipe.get("source"):
        lines.append(f"- After: {recipe['source']}.")
    if "seconds" in metadata:
        lines.append(f"- Time: {_duration(metadata['seconds'])} on {metadata['hardware']}.")
    lines += [
        f"- Versions: {', '.join(f'{package} {version}' for package, version in sorted(metadata['packages'].items()))}.",
        "",
        "Made again by",
        "",
        "```",
        f"keras-sae train {name}",
        "```",
        "",
        "with this recipe:",
        "",
        "```toml",
        *toml({key: value for key, value in recipe.items() if key not in _TOLD}).splitlines(),
        "```",
    ]
    return "\n".join(lines) + "\n"


# Keys of a recipe that the card tells in another place.
_TOLD = {"name", "title", "use", "notes", "published", "source"}


def _section(title, text):
    return [f"## {title}", "", text.strip(), ""] if text else []


def _features(figures, metadata):
    positions = math.prod(metadata["code_shape"][:-1])
    active = "not zero" if figures["active_above"] == 0 else f"above {figures['active_above']:g}"
    of_all = f"{figures['units']}" if positions == 1 else f"{figures['units'] * positions}"
    rows = [
        ("Reconstruction error (mean squared, per pixel)", f"{figures['reconstruction_error']:.5f}"),
        (f"L0: entries of a code that are active ({active})", f"{figures['l0'] * positions:.1f} of {of_all}"),
        ("Mean rate", f"{figures['mean_rate']:.4f}"),
        ("Dead units: active for no test image", f"{figures['dead_units']} of {figures['units']}"),
        ("Coherence: largest \\|cos\\| between two features", f"{figures['coherence']:.3f}"),
    ]
    if "gabor" in figures:
        shares = figures["gabor"]
        well = f"{100 * shares['well_fitted']:.0f} % (of noise {100 * shares['noise']:.0f} %)"
        rows.append(("Features that are edges or bars: well fitted by a Gabor function", well))
    if "overlap" in figures:
        overlap = figures["overlap"]
        both = f"{overlap['within']:.3f} within a class, {overlap['between']:.3f} between classes"
        rows.append(("Active units that two images share (Jaccard)", both))
    return ["### Code and features", "", *_table(("", ""), rows), ""]


def _probe(figures, metadata):
    options = metadata["recipe"]["probe"]
    few = sorted((key for key in figures if key.startswith("labels_")), key=lambda key: int(key.split("_")[1]))
    names = [f"{int(key.split('_')[1]):,} labels" for key in few]
    rows = [_probe_row(f"codes, {figures['features']} features", figures, few)]
    for name in ("random", "pca", "raw_pixels"):
        components = f", {figures[name]['components']} components" if "components" in figures[name] else ""
        rows.append(_probe_row(BASELINES[name] + components, figures[name], few))
    tried = len(options.get("encodings", [{}]))
    chosen = f", chosen on them from {tried} encodings" if tried > 1 else ""
    text = (
        "Multinomial logistic regression on what is frozen, its penalty chosen on "
        f"{options.get('validation', 10_000):,} held-out training images, then fitted to all. It reads "
        f"{_encoding(figures['encoding'])}{chosen}. Random features are the same encoder before training. "
        "With few labels, an equal number of each class, the error is a mean over draws of them."
    )
    every = f"all {metadata['data']['train_examples']:,} labels"
    return ["### Probe: test error", "", *_table(("read", every, *names[::-1]), rows), "", text, ""]


def _probe_row(name, figures, few):
    return name, _rate(figures), *(_rate(figures[key]) for key in few[::-1])


def _encoding(encoding):
    """In words, what is read."""
    layer = encoding.get("layer", "code")
    words = ["the code" if layer == "code" else f"what the layer `{layer}` leaves"]
    if encoding.get("rectify"):
        words.append("rectified")
    if "keep" in encoding:
        words.append(f"its {encoding['keep']} largest entries{' less the next' if encoding.get('subtract') else ''}")
    if "pool" in encoding:
        pool = encoding["pool"]
        words.append(f"the maximum over {pool['size']} x {pool['size']}, every {pool.get('strides', pool['size'])}")
    return ", ".join(words)


def _finetune(figures, metadata):
    options = metadata["recipe"]["finetune"]
    rows = [("encoder and softmax layer, trained together", _rate(figures))]
    if "frozen" in figures:
        rows.insert(0, ("softmax layer on the frozen encoder", _rate(figures["frozen"])))
    text = (
        f"A softmax layer on {_encoding(options.get('encoding', {}))}, trained with the labels of all "
        f"{metadata['data']['train_examples']:,} training images, from the weights of this preset on. A network that is "
        "trained again ends a little elsewhere: `keras-sae evaluate` asks that its error lie in the interval."
    )
    return ["### Fine-tuned: test error", "", *_table(("", ""), rows), "", text, ""]


def _anomaly(figures, metadata):
    low, high = figures["interval"]
    names = [str(name) for name in sorted(figures["classes"], key=lambda name: (len(name), name))]
    row = ("AUROC", *(f"{figures['classes'][name]:.1f}" for name in names), f"{figures['auroc']:.2f}")
    text = (
        "In percent. For each class, a model of this recipe is trained anew on its images alone, for "
        f"{metadata['recipe']['anomaly'].get('epochs', 20)} epochs; the reconstruction error of the test images is to tell "
        f"the others. So this measures the recipe, not these weights. Interval of the mean: {low:.2f} to {high:.2f}. "
        "`keras-sae evaluate` asks for the mean within 1 and each class within 3."
    )
    return ["### Anomaly detection: area under the curve", "", *_table(("class", *names, "mean"), [row]), "", text, ""]


def _denoise(figures, metadata):
    options = metadata["recipe"]["denoise"]
    images = {
        "noisy images": figures["noisy"],
        "median filter, 3 x 3": figures["median"],
        f"PCA, {figures['pca']['components']} components": figures["pca"],
        "this model": figures,
    }
    rows = [(name, f"{each['psnr']:.2f} dB") for name, each in images.items()]
    title = f"### Denoising: PSNR, {options.get('noise', 'masking')} noise of {options.get('amount', 0.3):g}"
    text = "PCA is fitted to clean training images, with as many components as do best on noisy ones."
    return [title, "", *_table(("", ""), rows), "", text, ""]


# A section of the card for each suite, in this order.
_SUITES = {"probe": _probe, "finetune": _finetune, "anomaly": _anomaly, "denoise": _denoise, "features": _features}


def _rate(figures):
    low, high = figures["interval"]
    return f"{figures['error']:.2f} % ({low:.2f} to {high:.2f})"


def _table(header, rows):
    return [_row(header), _row(["---"] * len(header), ""), *map(_row, rows)]


def _row(cells, space=" "):
    return "|" + "|".join(f"{space}{cell}{space}" if cell else space for cell in cells) + "|"


def _published(row, metrics):
    """A row of the table of published figures: with the measured one beside it, and whether that is as good."""
    *path, figure = row.get("metric", "").split(".")
    unit = _TO_BE_HIGH.get(figure, " %")
    here = verdict = ""
    if path:
        value = metrics
        for key in (*path, figure):
            if not isinstance(value, dict) or key not in value:
                raise ValueError(f"A published figure stands beside {row['metric']!r}, and no such figure was measured.")
            value = value[key]
        here = f"{value:.2f}{unit}"
        reached = value >= row["value"] if figure in _TO_BE_HIGH else value <= row["value"]
        verdict = "" if set(path) & set(BASELINES) else "reached" if reached else "not reached"
    return _row((row["what"], f"{row['value']:.2f}{unit}", here, verdict, row["source"]))


def table(metadata):
    """A table of presets, in Markdown, from the metadata of each."""
    return "\n".join(
        _table(("preset", "what it is", *COLUMNS), [(_link(each), each["title"], *columns(each)) for each in metadata])
    )


COLUMNS = ("code", "active", "probe error", "raw pixels", "100 labels", "raw pixels", "fine-tuned")


def columns(metadata):
    """What the table says of a preset besides its name and title, as `COLUMNS`; what was not measured is a dash."""
    metrics, shape = metadata["metrics"], metadata["code_shape"]
    paths = ("probe", "probe.raw_pixels", "probe.labels_100", "probe.raw_pixels.labels_100", "finetune")
    active = metrics["features"]["l0"] * math.prod(shape[:-1])
    return " x ".join(map(str, shape)), f"{active:.0f}", *(_error(metrics, path.split(".")) for path in paths)


def _error(metrics, path):
    for key in path:
        metrics = metrics.get(key, {})
    return f"{metrics['error']:.2f} %" if "error" in metrics else "-"


def _link(metadata):
    return f"[{metadata['name']}](pretrained/{metadata['name']}/README.md)"


def _duration(seconds):
    return f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{seconds / 60:.0f} minutes"


def _shape(shape):
    return "(" + ", ".join(map(str, ["n", *shape])) + ")"
