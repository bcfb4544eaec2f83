"""The trainer of Keras, repaired for data sets of unknown size and for `tf.distribute`."""

import contextlib
import functools

import keras

from keras_sae.distributed._workers import Workers, refuse_parameter_servers


class DistributedModel(keras.Model):
    """A Keras model that trains, evaluates and predicts under every synchronous strategy of `tf.distribute`.

    Keras' own trainer fails under `tf.distribute.MultiWorkerMirroredStrategy`. Under `MirroredStrategy` it fails if the first
    batch does not divide evenly, or if `steps_per_execution` does not divide the steps of an epoch. These things differ here:

    - A step waits for its data. In Keras, the end of a data set of unknown size may be counted as one more step, by
      `optimizer.iterations`, so that Adam and schedules go on differently from run to run and from replica to replica, and by
      metrics if the size of a batch is fixed: four batches of mean loss 1 then have the mean 0.8.

    And only under a strategy:

    - A model is built from the batch of one replica, not from a mean over the batches of all replicas.
    - The arrays that a generator or `PyDataset` gives stay as they are. TensorFlow uses their memory, and would write into it.
    - The logs of a step are those of the first replica of this worker. The logs of an epoch cover all replicas, as in Keras.
    - If a `tf.data.Dataset` does not say how to shard it among workers, it is sharded by elements, because by files some
      workers would get none of a small data set. For many files, `AutoShardPolicy.FILE` reads less.
    - Workers that shuffle arrays without a common seed use the seed of the first.

    The batch size is global: each replica trains on its part of a batch.

    Raises:
        ValueError: In the scope of a `ParameterServerStrategy`, which is not synchronous.
    """

    def __init__(self, *args, **kwargs):
        refuse_parameter_servers()
        super().__init__(*args, **kwargs)

    @functools.wraps(keras.Model.fit)
    def fit(self, x=None, *args, **kwargs):
        workers = self._workers()
        if workers:
            x, kwargs["validation_data"] = workers.share(x), workers.share(kwargs.get("validation_data"))
            workers.agree_on_shuffling()
        return super().fit(x, *args, **kwargs)

    @functools.wraps(keras.Model.evaluate)
    def evaluate(self, x=None, *args, **kwargs):
        workers = self._workers()
        return super().evaluate(workers.share(x) if workers else x, *args, **kwargs)

    @functools.wraps(keras.Model.predict)
    def predict(self, x, *args, **kwargs):
        workers = self._workers()
        return super().predict(workers.share(x) if workers else x, *args, **kwargs)

    def check_metrics(self, metrics):
        """Raises ValueError for metrics that were created outside the scope of a strategy with several workers.

        Args:
            metrics: Metrics, and names of metrics, in lists and dictionaries.
        """
        if not self._workers():
            return
        import tensorflow as tf

        for metric in keras.tree.flatten(metrics):
            variables = metric.variables if isinstance(metric, keras.metrics.Metric) else []
            if not all(isinstance(variable.value, tf.distribute.DistributedValues) for variable in variables):
                raise ValueError(
                    f"The metric {metric.name!r} was created outside the strategy's scope, so each worker would count only its "
                    "own samples. Create it inside `with strategy.scope():`, like the model."
                )

    @functools.wraps(keras.Model.train_step)
    def train_step(self, *args, **kwargs):
        with _waiting_for(args, kwargs):
            return super().train_step(*args, **kwargs)

    @functools.wraps(keras.Model.test_step)
    def test_step(self, *args, **kwargs):
        with _waiting_for(args, kwargs):
            return super().test_step(*args, **kwargs)

    def make_train_function(self, force=False):
        if not self._has_replicas():
            return super().make_train_function(force)
        if self.train_function is None or force:
            self.train_function = _steps(self, self.train_step)
        return self.train_function

    def make_test_function(self, force=False):
        if not self._has_replicas():
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = _steps(self, self.test_step)
        return self.test_function

    def _has_replicas(self):
        strategy = getattr(self, "distribute_strategy", None)  # other backends have none
        return strategy is not None and strategy.num_replicas_in_sync > 1

    def _workers(self):
        """The workers that train this model together, or None if there is one process."""
        return Workers.of(getattr(self, "distribute_strategy", None))

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Replaces Keras' private method, which averages the batches of all replicas and fails if they differ in size."""
        if iterator is None or not self._has_replicas():
            return super()._maybe_symbolic_build(iterator=iterator, data_batch=data_batch)
        replicas_of = self.distribute_strategy.experimental_local_results
        for _, _, batches in iterator:
            data_batch = keras.tree.map_structure(lambda value: replicas_of(value)[0], next(batches))
            break
        return super()._maybe_symbolic_build(data_batch=data_batch)


@contextlib.contextmanager
def _waiting_for(*data):
    """Lets operations that do not read the data of a step run after the data is there, and not where there is no more."""
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    def create(next_creator, **arguments):
        with tf.control_dependencies(None):  # variables of optimizers and metrics are made before all steps, or XLA refuses
            return next_creator(**arguments)

    tensors = [tensor for tensor in tf.nest.flatten(data, expand_composites=True) if tf.is_tensor(tensor)]
    with tf.control_dependencies(tensors), tf.variable_creator_scope(create):
        yield


def _steps(model, step):
    """A function that takes an iterator over distributed batches and runs `steps_per_execution` steps."""
    import tensorflow as tf

    strategy = model.distribute_strategy

    def copied(tensor):
        return tf.raw_ops.DeepCopy(x=tensor) if tf.is_tensor(tensor) else tensor

    def step_on_copies(data):
        return step(tf.nest.map_structure(copied, data, expand_composites=True))

    # TensorFlow uses the memory of arrays that a generator or `PyDataset` gives, and replicas on a CPU write results into it.
    run_by_replica = step_on_copies if "CPU" in strategy.extended.worker_devices[0] else step

    def one_step(data):
        logs = strategy.run(run_by_replica, args=(data,))
        return keras.tree.map_structure(lambda value: strategy.experimental_local_results(value)[0], logs)

    def several_steps(iterator):
        logs = one_step(iterator.get_next())

        def one_more(number, logs):
            data = iterator.get_next_as_optional()
            return number + 1, tf.cond(data.has_value(), lambda: one_step(data.get_value()), lambda: logs)

        more = range(1, model.steps_per_execution)
        return tf.while_loop(lambda number, _: number <= len(more), one_more, (1, logs))[1] if more else logs

    return several_steps if model.run_eagerly else tf.function(several_steps, reduce_retracing=True)
