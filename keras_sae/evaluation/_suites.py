from keras_sae.evaluation._anomaly import anomaly
from keras_sae.evaluation._denoise import denoise
from keras_sae.evaluation._features import features
from keras_sae.evaluation._finetune import finetune
from keras_sae.evaluation._probe_encoder import probe_encoder

# The suites of a card, in its order. Their keyword arguments, but for `report` and `cache`, are keys of a recipe's section.
SUITES = {
    "probe": probe_encoder,
    "finetune": finetune,
    "anomaly": anomaly,
    "denoise": denoise,
    "features": features,
}


def evaluate(model, train, test, suites=None, build=None, report=None, cache=None):
    """Measures a model as the cards do.

    Args:
        model: A `SparseAutoencoder`.
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255. Labels may be None, for suites that
            do without.
        suites: Dictionary from the names of suites to their options, such as `{"probe": {"C": [0.1]}, "features": {}}`. By
            default the probe, where there are labels, and features.
        build: Function that returns a compiled model to be trained, for `anomaly`, which trains anew.
        report: Called with a sentence before each step that takes long, such as `print`.
        cache: Dictionary in which figures that depend on the data alone are kept for a later call.

    Returns:
        Dictionary of dictionaries of plain data, one for each suite.

    Raises:
        ValueError: There is no such suite, or it lacks what it measures by.
    """
    if suites is None:
        suites = {"probe": {}, "features": {}} if train[1] is not None else {"features": {}}
    arguments = {
        "probe": ((model, train, test), {"cache": cache}),
        "finetune": ((model, train, test), {}),
        "anomaly": ((build, train, test), {}),
        "denoise": ((model, train, test), {}),
        "features": ((model, *test), {}),
    }
    unknown = set(suites) - set(SUITES)
    if unknown:
        raise ValueError(f"The suites are {', '.join(SUITES)}. Received: {', '.join(map(repr, sorted(unknown)))}.")
    if "anomaly" in suites and build is None:
        raise ValueError("The suite 'anomaly' trains models anew. Give `build`, a function that returns a compiled one.")
    result = {}
    for name, options in suites.items():
        positional, named = arguments[name]
        result[name] = SUITES[name](*positional, report=report, **named, **options)
    return result
