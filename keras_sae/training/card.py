def render(metadata):
    """The card of a preset, in Markdown, from its metadata alone.

    Args:
        metadata: What `publish` records: `name`, `title`, `recipe`, `data`, `metrics`, `hardware`, `seconds`;
            and what `presets.save` adds to these.
    """
    name, recipe, metrics, data = (metadata[key] for key in ("name", "recipe", "metrics", "data"))
    active = "not zero" if metrics["active_above"] == 0 else f"above {metrics['active_above']}"
    rows = [
        ("Reconstruction error (mean squared, per pixel)", f"{metrics['reconstruction_error']:.5f}"),
        (f"L0: active units per image ({active})", f"{metrics['l0']:.1f} of {metrics['units']}"),
        ("Mean rate", f"{metrics['mean_rate']:.4f}"),
        ("Dead units", f"{metrics['dead_units']} of {metrics['units']}"),
        ("Probe error, codes", f"{metrics['probe_error']:.2f} % (C = {metrics['probe_C']:g})"),
        (
            "Probe error, raw pixels",
            f"{metrics['probe_error_raw_pixels']:.2f} % (C = {metrics['probe_C_raw_pixels']:g})",
        ),
    ]
    lines = [
        f"# {name}",
        "",
        f"{metadata['title']}.",
        "",
        "```python",
        "from keras_sae.models import SparseAutoencoder",
        "",
        f'encoder = SparseAutoencoder.from_preset("{name}").encoder',
        f"codes = encoder.predict(images)  # {_shape(metadata['input_shape'])} in [0, 1] to {_shape(metadata['code_shape'])}",
        "```",
        "",
        "## Measured",
        "",
        f"On the {data['test_examples']:,} test images (`{data['name']}`, split `{data['test']}`).",
        "",
        "| | |",
        "|---|---|",
        *(f"| {what} | {value} |" for what, value in rows),
        "",
        "The probe is a multinomial logistic regression on frozen codes, its penalty chosen on "
        f"{recipe['probe'].get('validation', 10_000):,} held-out training images, then fitted to all "
        f"{data['train_examples']:,}. Measured again by:",
        "",
        "```",
        f"keras-sae evaluate {name}",
        "```",
        "",
    ]
    if recipe.get("published"):
        lines += ["Published:", "", "| | | source |", "|---|---|---|"]
        lines += [f"| {row['what']} | {row['value']:.2f} % | {row['source']} |" for row in recipe["published"]]
        lines += [""]
    if recipe.get("notes"):
        lines += ["## Use and limits", "", recipe["notes"].strip(), ""]
    lines += [
        "## How it was made",
        "",
        f"- Data: `{data['name']}` through TensorFlow Datasets, {data['train_examples']:,} images of split "
        f"`{data['train']}`. Licence: {data['licence']}.",
        f"- Model: {metadata['class_name']}, {metadata['parameters']:,} parameters.",
        f"- Source: {recipe['source']}." if recipe.get("source") else "- Source: none.",
        f"- Training: {recipe['epochs']} epochs, batches of {recipe['batch_size']}, "
        f"{recipe['optimizer']['class']}; {metadata['seconds'] / 60:.0f} minutes on {metadata['hardware']}.",
        f"- Versions: {', '.join(f'{package} {version}' for package, version in sorted(metadata['packages'].items()))}.",
        "",
        "Made again by:",
        "",
        "```",
        f"keras-sae train {name}",
        "```",
    ]
    return "\n".join(lines) + "\n"


def table(metadata):
    """A table of presets, in Markdown, from the metadata of each."""
    lines = [
        "| preset | what it is | code | active | probe error | raw pixels |",
        "|---|---|---|---|---|---|",
    ]
    for each in metadata:
        name, metrics = each["name"], each["metrics"]
        lines.append(
            f"| [{name}](pretrained/{name}/README.md) | {each['title']} | {metrics['units']} | {metrics['l0']:.0f} | "
            f"{metrics['probe_error']:.2f} % | {metrics['probe_error_raw_pixels']:.2f} % |"
        )
    return "\n".join(lines)


def _shape(shape):
    return "(" + ", ".join(map(str, ["n", *shape])) + ")"
