"""Synchronous training on several devices and machines, with the strategies of `tf.distribute`."""

from keras_sae.distributed._collectives import SeedGenerator, gather_over_replicas, replica_count, sum_over_replicas
from keras_sae.distributed._distributed_model import DistributedModel
from keras_sae.distributed._workers import Workers, make_strategy

__all__ = [
    "DistributedModel",
    "SeedGenerator",
    "Workers",
    "gather_over_replicas",
    "make_strategy",
    "replica_count",
    "sum_over_replicas",
]
