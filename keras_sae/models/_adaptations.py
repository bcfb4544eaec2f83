import types

import keras


class Adaptations(keras.layers.Layer):
    """The weights of layers with LoRA, as they are.

    Keras merges LoRA into the kernel when it saves a layer, and then loads factors of zero, which cannot train. A model that
    has this among its attributes saves and loads the weights after its layers.

    Args:
        layers: The layers.
    """

    def __init__(self, layers):
        super().__init__(name="adaptations")
        self._untracked = types.SimpleNamespace(layers=list(layers))
        self.built = True

    @property
    def of(self):
        """The layers."""
        return self._untracked.layers

    def save_own_variables(self, store):
        for name, weight in self._named():
            store[name] = weight

    def load_own_variables(self, store):
        for name, weight in self._named():
            if name in store.keys():  # noqa: SIM118 - a store of Keras. Files from before have none.
                weight.assign(store[name])

    def _named(self):
        for number, layer in enumerate(self.of):
            for weight in layer.weights:
                yield f"{number}_{weight.name}", weight
