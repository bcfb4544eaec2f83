import keras
from keras import ops

from keras_sae.distributed._collectives import replica_context


class SeedGenerator(keras.random.SeedGenerator):
    """Keras' generator of seeds, but for replicas, each of which draws numbers of its own.

    Under Keras' own, all replicas draw the same, so that the first sample of each would be given the same noise.
    """

    def next(self, ordered=True):
        seed = super().next(ordered)  # of two integers; the second counts draws
        context = replica_context()
        if context is None:
            return seed
        return seed + ops.stack([ops.cast(context.replica_id_in_sync_group, seed.dtype), ops.zeros((), seed.dtype)])
