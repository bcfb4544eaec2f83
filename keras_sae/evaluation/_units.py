from pathlib import Path

import numpy as np

from keras_sae._checks import check_integer, nearest
from keras_sae._markdown import table
from keras_sae._nouns import noun_of
from keras_sae.evaluation._encode import as_input, encode
from keras_sae.evaluation._suite import Suite, within
from keras_sae.evaluation._top_inputs import read_examples, top_inputs

_UNITS_OF_A_CODE = 8  # shown for each described input


def units(model, test, *, examples="", count=10, shown=20, described="", seed=0, report=None):
    """Measures whether units stand for something: the inputs that excite each unit most, and what they have in common.

    Args:
        model: A `SparseAutoencoder`.
        test: Pair `(inputs, labels)` of arrays. Purity is measured if there are labels.
        examples: The path of a `.npz` file to take in place of the test data: `inputs`, `(n, ...)`; and if you like `names`,
            texts such as words; `vectors`, `(n, d)`, another embedding of the same inputs, which the model was not trained on;
            and `labels`. Or a dictionary of these arrays.
        count: Integer, at least 2. Inputs per unit.
        shown: Integer. The card shows this many units and their inputs: coherent ones, of evenly spaced rates.
        described: Names, separated by commas, of inputs whose code the card shows as a list of units.
        seed: Integer. Fixes the random sets that units are compared with.
        report: Function called with a sentence before each step that takes long, such as `print`.

    Returns:
        Dictionary of plain data: what `top_inputs` returns, but of `units` their number; `inputs`, the number of inputs;
        `shown`, a list of units as there; and `described`, a dictionary from names to their strongest units.
    """
    content = {"inputs": test[0], "labels": test[1]}
    if not isinstance(examples, str | Path):
        content = dict(examples)
    elif str(examples):
        content = read_examples(Path(examples).expanduser())
    x, names = as_input(content["inputs"]), content.get("names")
    (report or (lambda sentence: None))(f"The inputs that excite each unit most, among {len(x):,} ...")
    found = top_inputs(model, x, count, content.get("labels"), content.get("vectors"), names, seed)
    every = found.pop("units")
    best = sorted((each for each in every if each.get("coherent", True) and each["inputs"]), key=lambda each: -each["rate"])
    chosen = np.unique(
        np.linspace(0, len(best) - 1, min(check_integer("shown", shown, "counts units", 0), len(best))).astype(int)
    )
    result = {"inputs": len(x), "units": len(every), **found, "shown": [best[index] for index in chosen]}
    wanted = [name.strip() for name in described.split(",") if name.strip()]
    return result | ({"described": _codes_of(wanted, model, x, names, every)} if wanted else {})


def _codes_of(wanted, model, x, names, every):
    """For each name, the strongest units of its code, with their first inputs."""
    rows = {} if names is None else {str(name): row for row, name in enumerate(names)}
    result = {}
    for name in wanted:
        if name not in rows:
            raise ValueError(f"`described` has names of inputs. {nearest(name, rows)}Received: {name!r}.")
        code = encode(model, x[rows[name]][None]).reshape(-1, len(every)).max(axis=0)
        strongest = np.argsort(-code, kind="stable")[:_UNITS_OF_A_CODE]
        result[name] = [
            {"unit": int(unit), "value": float(code[unit]), "inputs": every[unit]["inputs"]}
            for unit in strongest
            if code[unit] > 0
        ]
    return result


def _section(figures, options, metadata):
    noun = noun_of(metadata["input_shape"], metadata["data"])
    lines = [f"### Units: the {noun}s that excite them most", ""]
    kinds = {"similarity": "mean cosine, in another embedding,", "purity": "share of the most frequent label"}
    for kind, words in kinds.items():
        if kind in figures:
            lines += [
                f"Of {figures['units']:,} units, {100 * figures['coherent']:.0f} % are coherent: what their top "
                f"{options.get('count', 10)} {noun}s of {figures['inputs']:,} have in common exceeds 95 % of random sets, so "
                f"chance gives 5 %. The {words} of their top {noun}s is {figures[kind]:.2f} on average, and "
                f"{figures[f'chance_{kind}']:.2f} by chance.",
                "",
            ]
    if any(isinstance(each["inputs"][0], str) for each in figures["shown"]):
        rows = [(str(each["unit"]), f"{100 * each['rate']:.2f} %", _listed(each["inputs"])) for each in figures["shown"]]
        lines += [*table(("unit", "rate", f"top {noun}s"), rows), ""]
    elif figures["shown"] and "label" in figures["shown"][0]:
        rows = [
            (str(each["unit"]), f"{100 * each['rate']:.2f} %", str(each["label"]), f"{each['purity']:.2f}")
            for each in figures["shown"]
        ]
        lines += [*table(("unit", "rate", "label", "purity"), rows), ""]
    for name, code in figures.get("described", {}).items():
        others = [[text for text in each["inputs"] if text != name][:6] for each in code]
        rows = [(str(each["unit"]), f"{each['value']:.2f}", _listed(texts)) for each, texts in zip(code, others, strict=True)]
        lines += [f"The code of *{name}*:", "", *table(("unit", "value", f"other {noun}s of the unit"), rows), ""]
    return lines


def _listed(texts):
    """Words separated by commas; longer texts on lines of their own."""
    separator = "<br>" if any(" " in text for text in texts) else ", "
    return separator.join(texts).replace("|", "\\|")


SUITE = Suite(
    units,
    _section,
    unit="",
    higher_is_better=True,
    choices=frozenset({"shown", "described"}),  # equal ranks may change places
    agrees=within({"coherent": 0.01, "active": 0.01, "similarity": 0.01, "purity": 0.01}),
    figures=lambda options: ("coherent", "active", "similarity", "purity", "chance_similarity", "chance_purity"),
)
