import contextlib
import importlib.util

import keras

from keras_sae.datasets import OnDisk, batches, load_arrays, load_training
from keras_sae.distributed import Workers
from keras_sae.distributed import make_strategy as make_strategy  # it is part of `keras_sae.training`
from keras_sae.evaluation import SUITES, as_input
from keras_sae.training import _state
from keras_sae.training._checkpoint import Checkpoint
from keras_sae.training._history import HistoryLog
from keras_sae.training._pictures import Pictures
from keras_sae.training._run import Run
from keras_sae.training._signals import Interrupts


def train(
    recipe,
    output,
    data_dir=None,
    resume=False,
    verbose="auto",
    strategy=None,
    steps_per_execution=1,
    jit_compile="auto",
    tensorboard=False,
    checkpoint_seconds=60.0,
):
    """Trains the model of a recipe, and leaves a run that can be resumed.

    From time to time, at the end, and when it is asked to stop, the whole state is written to `output/checkpoint.npz`, beside
    it and then into place: weights, optimizer, schedules, running statistics, random state, and the position in the data,
    whose order depends on the seed and the epoch alone. So a run that was killed and resumed ends as it would have ended,
    byte for byte where the operations are deterministic (`keras.utils.set_random_seed`, `tf.config.experimental.
    enable_op_determinism`); and a finished run can be resumed with more epochs.

    The first Ctrl-C or SIGTERM stops it after the step under way, with its state saved; a second one at once.

    Args:
        recipe: A `Recipe`. Its batch size is that of the global batch.
        output: Directory of the run.
        data_dir: Folder of the data, see `keras_sae.datasets.load_arrays`.
        resume: Whether to go on with the run in `output`. Without a saved state there, it starts anew.
        verbose: As in Keras' `fit`.
        strategy: A `tf.distribute.Strategy`, such as `keras_sae.training.make_strategy("multi-worker")` makes. Of several
            workers the first one alone reads and writes `output`, so it need not be shared.
        steps_per_execution: Integer, the most steps that run before Python takes over again. The largest divisor of the
            steps of an epoch that does not exceed it is taken.
        jit_compile: Whether to compile a step by XLA: True, False or `"auto"`, as in Keras' `compile`.
        tensorboard: Whether to write logs for TensorBoard to `output/tensorboard`, with pictures of the features.
        checkpoint_seconds: Float, the time between two saved states.

    Returns:
        The trained model. Where the optimizer averages weights (`use_ema`), they are the averages.

    Raises:
        FileExistsError: There is a run in `output` already and `resume` was not asked for.
        ValueError: The run in `output` is of another recipe, or a batch is smaller than the number of replicas.
        BlockingIOError: Another process is at work in `output`.
        FloatingPointError: The loss became NaN or infinite. The last state saved stays.
        keras_sae.training.Stopped: It was asked to stop, and did. A `KeyboardInterrupt`.
        ConnectionError: Another worker was lost.
    """
    replicas = strategy.num_replicas_in_sync if strategy else 1
    if recipe.batch_size < replicas:
        raise ValueError(
            f"The batch is the global one, and each of {replicas} replicas trains on its share of it. Received: "
            f"batch_size={recipe.batch_size}. Choose at least {replicas}."
        )
    if jit_compile is True and replicas > 1:
        raise ValueError("Keras does not compile steps by XLA under a strategy. Leave jit_compile out, or use one device.")
    if tensorboard:
        _need_tensorboard()
    workers = Workers.of(strategy)
    options = {"steps_per_execution": steps_per_execution, "jit_compile": jit_compile}
    with Run(output, recipe, resume, workers) as run, Interrupts() as interrupts, _losing_no_worker(workers):
        images, labels = load_training(recipe.data["name"], recipe.data["train"], data_dir)
        if isinstance(images, OnDisk):
            _need_no_training_arrays(recipe, images)
        with strategy.scope() if strategy else contextlib.nullcontext():
            model = recipe.build(images.shape[1:])
        if not model.supervised:
            labels = None
        steps = -(-len(images) // recipe.batch_size)
        options["steps_per_execution"] = max(n for n in range(1, min(steps_per_execution, steps) + 1) if steps % n == 0)
        validation = _validation(recipe, data_dir)
        phases = recipe.phases(model)
        for number in range(run.progress["phase"], len(phases)):
            level, epochs = phases[number]
            with in_training(recipe, model, level, **options) as trained:
                if run.arrays_at(number):
                    run.restore(model, trained)
                while run.progress["epoch"] < epochs and not run.progress["stopped_early"]:
                    progress = run.progress
                    until = progress["epoch"] + 1 if progress["step"] else epochs
                    callbacks = recipe.callbacks(images, steps, level)
                    callbacks.append(keras.callbacks.TerminateOnNaN())
                    if run.is_chief:
                        callbacks += _logs(run, level, images if tensorboard else None, epochs)
                    checkpoint = Checkpoint(
                        run, model, interrupts, callbacks, epochs, steps, recipe.best(level), checkpoint_seconds
                    )
                    trained.fit(
                        batches(images, recipe.batch_size, recipe.seed + number, labels, progress["epoch"], progress["step"]),
                        initial_epoch=progress["epoch"],
                        epochs=until,
                        steps_per_epoch=steps - progress["step"],
                        shuffle=False,  # it is shuffled already
                        validation_data=validation if level is None else None,
                        callbacks=[*callbacks, checkpoint],
                        verbose=verbose if run.is_chief else 0,
                    )
                    if checkpoint.unfinished is not None:
                        _state.restore(checkpoint.unfinished, model, trained)
                finish(trained)
            run.next_phase(number + 1 < len(phases))
    return model


@contextlib.contextmanager
def in_training(recipe, model, level, **options):
    """What is trained in a phase, compiled, with its optimizer at the start: the model of the recipe, or a level of it."""
    strategy = getattr(model, "distribute_strategy", None)
    with contextlib.ExitStack() as stack:
        with strategy.scope() if strategy else contextlib.nullcontext():
            arguments = {**recipe.compile_arguments(model, level), **options}
            if level is None:
                trained = model
                trained.compile(**arguments)
            else:
                trained = stack.enter_context(model.level_in_training(level, **arguments))
            trained.optimizer.build(trained.trainable_variables)
        yield trained


def _need_tensorboard():
    if keras.backend.backend() != "tensorflow":
        raise ImportError("Keras writes logs for TensorBoard with TensorFlow. Set KERAS_BACKEND=tensorflow, or do without.")
    if not (importlib.util.find_spec("tensorboard") and importlib.util.find_spec("matplotlib")):
        raise ImportError('Logs and pictures for TensorBoard need it: pip install "keras_sae[tensorboard]".')


def _need_no_training_arrays(recipe, images):
    reading = [name for name in recipe.suites() if "train" in SUITES[name].needs]
    if reading:
        raise ValueError(
            f"The section [{reading[0]}] reads all training images at once, and {len(images):,} images of shape "
            f"{images.shape[1:]} stay on disk: leave it out, or train on a part, such as data.train = 'train[:10%]'."
        )


def finish(trained):
    """Puts averages in the place of weights where the optimizer keeps any (`use_ema`)."""
    trained.optimizer.finalize_variable_values(trained.trainable_variables)


def _validation(recipe, data_dir):
    """The images that choose an epoch or stop early, as a model reads them, or None."""
    if "validation" not in recipe.data:
        return None
    images, _ = load_arrays(recipe.data["name"], recipe.data["validation"], data_dir)
    return (as_input(images).astype(keras.config.floatx()),)


def _logs(run, level, images, epochs):
    """The callbacks that write files: the chief's alone. Pictures of `images` go to TensorBoard, if there are any."""
    path = run.output / (f"history_{level}.csv" if level else "history.csv")
    logs = [HistoryLog(path, run.progress["epoch"])]
    if images is not None:
        directory = run.output / "tensorboard" / (level or "")
        logs.append(keras.callbacks.TensorBoard(str(directory)))
        if level is None:  # what a level reconstructs is a code, and nothing to look at
            logs.append(Pictures(str(directory / "pictures"), as_input(images[:10]), every=max(1, epochs // 20)))
    return logs


@contextlib.contextmanager
def _losing_no_worker(workers):
    """Says in one sentence what the errors mean that TensorFlow raises when another worker is gone."""
    if workers is None:
        yield
        return
    import tensorflow as tf

    lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
    try:
        yield
    except (*lost, tf.errors.InternalError, tf.errors.FailedPreconditionError) as error:
        raise ConnectionError(
            "Another worker was lost, or cannot be reached, and without it no step can be taken. The last state saved is kept: "
            f"restart all workers with --resume. TensorFlow says: {str(error).splitlines()[0][:300]}"
        ) from error
