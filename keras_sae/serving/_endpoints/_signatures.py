"""The signatures of an exported model: its endpoints and their inputs."""

import dataclasses
import functools
from collections.abc import Callable

from keras_sae.serving._endpoints._endpoint import Endpoint
from keras_sae.serving._endpoints._inputs import Input, codes_of, entries_of, image_bytes_of, images_of, inputs_of


@dataclasses.dataclass(frozen=True)
class Signature:
    """An endpoint of one model. `function` takes a tensor of each of the `inputs` and returns a dictionary of tensors."""

    endpoint: Endpoint
    inputs: tuple[Input, ...]
    function: Callable
    indices_of: str | None


def signatures_of(endpoints, model, options, image_inputs=False):
    """The signatures of a model by name. `options` are arguments of `export`; endpoints whose option is None are left out."""
    readers = {"inputs": (inputs_of(model),), "codes": (codes_of(model),), "entries": entries_of(model)}
    endpoints = [
        endpoint
        for endpoint in endpoints
        if endpoint.fits(model) and all(options.get(name) is not None for name in endpoint.options)
    ]

    def signature(endpoint, inputs, suffix=""):
        bound = functools.partial(endpoint.function, model, **{name: options[name] for name in endpoint.options})
        indices_of = endpoint.indices_of and endpoint.indices_of + suffix

        def function(*tensors):
            return bound(*(each.read(tensor) for each, tensor in zip(inputs, tensors, strict=True)))

        return Signature(endpoint, inputs, function, indices_of)

    signatures = {endpoint.name: signature(endpoint, readers[endpoint.reads]) for endpoint in endpoints}
    # TF Serving uses this name for requests that name no signature.
    signatures = {"serving_default": signatures["encode"], **signatures}
    for reader in (images_of(model), image_bytes_of(model)) if image_inputs else ():
        suffix = f"_{reader.name}"
        of_images = [endpoint for endpoint in endpoints if endpoint.reads == "inputs"]
        signatures.update({endpoint.name + suffix: signature(endpoint, (reader,), suffix) for endpoint in of_images})
    return signatures
