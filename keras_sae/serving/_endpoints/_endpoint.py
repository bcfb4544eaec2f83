"""What an endpoint is: a function of its inputs, and the facts that an export, its README and its verification need."""

import dataclasses
from collections.abc import Callable

import keras


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """An endpoint that `keras_sae.serving.export` can add to a SavedModel.

    Attributes:
        name: Name in requests. Clients rely on it.
        reads: `"inputs"`, the input of the encoder, `"codes"`, the input of the decoder, or `"entries"`, the two inputs
            `indices` and `values`. Endpoints that read `"inputs"` get variants for images with `export(image_inputs=True)`.
        outputs: Names of the outputs.
        meaning: What the outputs are, for README and docstring.
        function: `(model, *tensors, **options)`, returns a dictionary of tensors.
        options: Names of the arguments of `export` that `function` takes. Without one of them there is no such endpoint.
        fits: Of a model, whether it can have this endpoint.
        tolerance: How far an output may be from its golden value, relative to the largest golden value or 1.
        indices_of: Only with the outputs `indices` and `values`: the endpoint whose `codes` the indices point into.
            Verification then compares the entries that the indices point to, since equal entries may come in any order.
    """

    name: str
    reads: str
    outputs: tuple
    meaning: str
    function: Callable
    options: tuple = ()
    fits: Callable = lambda model: True
    tolerance: float = 1e-5
    indices_of: str | None = None

    def row(self):
        """A row of a Markdown table: name, input, outputs, meaning."""
        outputs = ", ".join(f"`{name}`" for name in self.outputs)
        reads = "`indices`, `values`" if self.reads == "entries" else f"`{self.reads}`"
        return f"| `{self.name}` | {reads} | {outputs} | {self.meaning} |"


def as_float32(tensor):
    """Clients get at least float32, also from a model that computes in half precision."""
    return keras.ops.cast(tensor, "float32") if tensor.dtype in ("float16", "bfloat16") else tensor
