import contextlib
import json
import os
import signal
import threading

import keras
import numpy as np

from keras_sae._checks import nearest
from keras_sae.distributed._meeting import meet

STRATEGIES = ("default", "mirrored", "multi-worker")
_NO_PARAMETER_SERVERS = (
    "ParameterServerStrategy is not supported: its workers train independently, so there is no global batch, and sparsity is "
    "defined by the rates, thresholds and winners of the global batch. Use 'multi-worker', which is "
    "tf.distribute.MultiWorkerMirroredStrategy."
)


def make_strategy(name):
    """Creates a strategy of `tf.distribute` by name.

    Args:
        name: `"default"` for one device; `"mirrored"` for all GPUs of this machine; `"multi-worker"` for all machines in the
            environment variable `TF_CONFIG`: it waits for them, and says so after ten
            seconds. For `"multi-worker"`, call it before any other use of TensorFlow.

    Returns:
        A `tf.distribute.Strategy`, or None for `"default"`.

    Raises:
        ValueError: The name is unknown, or `TF_CONFIG` is missing or malformed.
        OSError: The port of this worker is in use, or the workers cannot connect (`ConnectionError`).
        RuntimeError: TensorFlow is already in use and can no longer join other workers.
    """
    if name == "parameter-server":
        raise ValueError(_NO_PARAMETER_SERVERS)
    if name not in STRATEGIES:
        raise ValueError(f"Strategies are {', '.join(STRATEGIES)}. {nearest(name, STRATEGIES)}Received: {name!r}.")
    if name == "default":
        return None
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"The strategy {name!r} is one of tf.distribute, which needs the TensorFlow backend of Keras. Set "
            f"KERAS_BACKEND=tensorflow. Received: the backend {keras.backend.backend()!r}."
        )
    import tensorflow as tf

    if name == "mirrored":
        try:
            return tf.distribute.MirroredStrategy()
        except (RuntimeError, ValueError, tf.errors.OpError) as error:
            raise RuntimeError(_in_use(name, error)) from error
    config = os.environ.get("TF_CONFIG")
    check_cluster(config)
    content = json.loads(config)
    meet(content["cluster"], content["task"])
    at_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise RuntimeError(_in_use(name, error)) from error
    except tf.errors.OpError as error:
        raise ConnectionError(
            "The workers of TF_CONFIG cannot connect to each other: check that all machines have the same list of workers, and "
            f"that each has another index. TensorFlow says: {str(error).splitlines()[0][:300]}"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, at_sigterm)  # TensorFlow has taken it, and would ignore the signal
    return strategy


def _in_use(name, error):
    return (
        f"The strategy {name!r} cannot be made in this process, where TensorFlow is already in use. Make it first, before any "
        f"model, tensor or data set, or start a new process. TensorFlow says: {str(error).splitlines()[0][:300]}"
    )


def refuse_parameter_servers():
    """Raises ValueError in the scope of a `tf.distribute.ParameterServerStrategy`."""
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if isinstance(tf.distribute.get_strategy(), tf.distribute.ParameterServerStrategy):
        raise ValueError(_NO_PARAMETER_SERVERS)


def check_cluster(config):
    """Raises ValueError unless `config`, the text of `TF_CONFIG`, describes a cluster that this process is part of."""
    example = '{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, "task": {"type": "worker", "index": 0}}'
    wanted = (
        f"It lists all workers, in the same order on each machine, and names the one of this process: TF_CONFIG='{example}'"
    )
    if not config:
        raise ValueError(f"The strategy 'multi-worker' needs the environment variable TF_CONFIG, which is not set. {wanted}")
    try:
        content = json.loads(config)
    except json.JSONDecodeError as error:
        raise ValueError(f"TF_CONFIG is not valid JSON ({error}). {wanted}. Received: {config!r}") from None
    try:
        cluster, task = content["cluster"], content["task"]
        kind, index = task["type"], task["index"]
        addresses = cluster[kind]
        known = set(cluster) <= {"chief", "worker", "evaluator"} and kind in ("chief", "worker")
        numbers = all(address.rpartition(":")[2].isdigit() and address.rpartition(":")[0] for address in addresses)
        fits = known and numbers and isinstance(index, int) and 0 <= index < len(addresses)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG is incomplete ({type(error).__name__}: {error}). {wanted}. Received: {config}") from None
    if not fits:
        raise ValueError(
            "TF_CONFIG must have workers (and optionally a chief) as host:port, and a task whose index counts from 0 in the "
            f"list of its type. {wanted}. Received: {config}"
        )


class Workers:
    """The processes that train one model in step, under `tf.distribute.MultiWorkerMirroredStrategy`.

    All of them must call each method at the same time.
    """

    def __init__(self, strategy):
        self.strategy = strategy

    @classmethod
    def of(cls, strategy):
        """The workers of a strategy, or None if it has one process."""
        if strategy is None:
            return None
        import tensorflow as tf

        several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and (
            strategy.cluster_resolver is not None and strategy.cluster_resolver.cluster_spec().jobs
        )
        return cls(strategy) if several else None

    @property
    def is_chief(self):
        """Whether this process writes files and prints."""
        resolver = self.strategy.cluster_resolver
        return resolver.task_type == "chief" or (
            resolver.task_type == "worker" and resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
        )

    def sum(self, array):
        """The sum of an array over the workers. All pass the same shape and dtype."""
        import tensorflow as tf

        array = np.asarray(array)
        # Integers and booleans are sent as int64: machines cannot sum every type.
        tensor = tf.convert_to_tensor(array if array.dtype.kind == "f" else array.astype("int64"))
        here = len(self.strategy.extended.worker_devices)

        @tf.function
        def in_replica():
            context = tf.distribute.get_replica_context()
            once = tf.where(context.replica_id_in_sync_group % here == 0, tensor, tf.zeros_like(tensor))
            return context.all_reduce(tf.distribute.ReduceOp.SUM, once)

        total = self.strategy.experimental_local_results(self.strategy.run(in_replica))[0]
        return total.numpy().astype(array.dtype)

    def of_chief(self, values):
        """The arrays of the chief, on every worker.

        Args:
            values: List of arrays. All workers pass the same shapes and dtypes.
        """
        return [self.sum(value if self.is_chief else np.zeros_like(value)) for value in values]

    def tell(self, content, speaks=None):
        """The plain values of the chief, on every worker; or those of the one worker that `speaks`.

        They are sent as the numbers of their JSON.
        """
        speaks = self.is_chief if speaks is None else speaks
        text = np.frombuffer(json.dumps(content).encode(), "uint8").astype("int64")
        size = self.sum(np.int64(len(text) if speaks else 0))
        return json.loads(self.sum(text if speaks else np.zeros(size, "int64")).astype("uint8").tobytes())

    @contextlib.contextmanager
    def together(self):
        """Context in which no worker goes on alone: where one raises an error, the others raise a ValueError with its words.

        What is inside must not wait for other workers.
        """
        error = None
        try:
            yield
        except Exception as caught:
            error = caught
        addresses, own = self._addresses()
        failed = np.flatnonzero(self.sum(np.arange(len(addresses)) == own if error else np.zeros(len(addresses), bool)))
        if not len(failed):
            return
        said = self.tell(str(error), speaks=own == failed[0])
        if error:
            raise error
        raise ValueError(f"The worker at {addresses[failed[0]]} cannot go on, and training needs all workers. It says: {said}")

    def _addresses(self):
        """The addresses of all workers, and the index of this one among them."""
        resolver = self.strategy.cluster_resolver
        jobs = resolver.cluster_spec().as_dict()
        places = [(kind, index) for kind in ("chief", "worker") for index in range(len(jobs.get(kind, [])))]
        return [jobs[kind][index] for kind, index in places], places.index((resolver.task_type, resolver.task_id))

    def check_same(self, values):
        """Checks that all workers have the chief's plain values, a dictionary. Else every worker raises a ValueError."""
        values = json.loads(json.dumps(values))
        of_chief = self.tell(values)
        keys = sorted(key for key in {*values, *of_chief} if values.get(key) != of_chief.get(key))
        others = int(self.sum(np.int64(bool(keys))))
        rule = "All workers train the same model on the same data."
        if keys:
            found = "; ".join(f"{key}: {values.get(key)!r} here, {of_chief.get(key)!r} there" for key in keys)
            raise ValueError(f"{rule} This worker differs from the first: {found}. Start all workers with the same arguments.")
        if others:
            raise ValueError(
                f"{rule} {others} of the workers {'differs' if others == 1 else 'differ'} from the first. The message of each "
                "says in what. Start all workers with the same arguments."
            )

    def share(self, data):
        """`data`; a `tf.data.Dataset` without a policy for sharding among workers gets sharding by elements."""
        import tensorflow as tf

        if not isinstance(data, tf.data.Dataset):
            return data
        policies = tf.data.experimental.AutoShardPolicy
        if data.options().experimental_distribute.auto_shard_policy != policies.AUTO:
            return data
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = policies.DATA
        return data.with_options(options)

    def agree_on_shuffling(self):
        """Gives TensorFlow's random operations the chief's seed, unless all workers already draw the same numbers."""
        import tensorflow as tf

        own = np.int64(tf.random.uniform([], maxval=2**31 - 1, dtype=tf.int32).numpy())
        (chiefs,) = self.of_chief([own])
        if self.sum(own != chiefs):
            tf.random.set_seed(int(chiefs))
