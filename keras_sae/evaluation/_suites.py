import importlib
from collections.abc import Mapping

# The suites in the order of a card: name and module. The module defines `SUITE`, a `keras_sae.evaluation._suite.Suite`.
# This file loads no Keras, so that the command line can list the names.
_MODULES = {
    "probe": "_probe_encoder",
    "finetune": "_finetune",
    "anomaly": "_anomaly",
    "denoise": "_denoise",
    "retrieval": "_retrieval",
    "features": "_features",
    "units": "_units",
}


class _Suites(Mapping):
    """Suites by name. A suite's module is imported when the suite is looked up."""

    def __getitem__(self, name):
        return importlib.import_module(f"keras_sae.evaluation.{_MODULES[name]}").SUITE

    def __iter__(self):
        return iter(_MODULES)

    def __len__(self):
        return len(_MODULES)


SUITES = _Suites()


def evaluate(model, train, test, suites=None, build=None, report=None, cache=None):
    """Measures a model with the suites that fill a card.

    Args:
        model: A `SparseAutoencoder`.
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255. Labels may be None for suites that
            need none.
        suites: Dictionary from names of suites to their options, such as `{"probe": {"C": [0.1]}, "features": {}}`. By
            default features, and the probe where there are labels.
        build: Function that returns a compiled, untrained model. Needed by `anomaly`, which trains one for each class.
        report: Function called with a sentence before each step that takes long, such as `print`.
        cache: Dictionary that keeps figures of the data alone for later calls.

    Returns:
        Dictionary of dictionaries of plain data, one for each suite.

    Raises:
        ValueError: A suite is unknown, or lacks something that it needs.
    """
    if suites is None:
        suites = {"probe": {}, "features": {}} if train[1] is not None else {"features": {}}
    unknown = set(suites) - set(SUITES)
    if unknown:
        raise ValueError(f"The suites are {', '.join(SUITES)}. Received: {', '.join(map(repr, sorted(unknown)))}.")
    for name in suites:
        if "build" in SUITES[name].needs and build is None:
            raise ValueError(f"The suite {name!r} trains new models: pass `build`, a function that returns a compiled model.")
    x, labels = test
    given = {"model": model, "train": train, "test": test, "x": x, "labels": labels}
    given |= {"build": build, "report": report, "cache": cache}
    return {
        name: SUITES[name].measure(**{key: given[key] for key in SUITES[name].needs}, **options)
        for name, options in suites.items()
    }
