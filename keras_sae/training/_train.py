import contextlib
import importlib.util

import keras

from keras_sae.datasets import OnDisk, batches, load_arrays, load_training, random_patches
from keras_sae.distributed import Workers
from keras_sae.distributed import make_strategy as make_strategy  # it is part of `keras_sae.training`
from keras_sae.evaluation import as_input
from keras_sae.models import start_from_samples
from keras_sae.training import _state
from keras_sae.training._check_data import check_data
from keras_sae.training._checkpoint import Checkpoint
from keras_sae.training._checksum import checksum, data_sha256
from keras_sae.training._history import HistoryLog
from keras_sae.training._pictures import Pictures
from keras_sae.training._recipe import OF_THE_CARD
from keras_sae.training._refit import DECODER, DecoderInTraining
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
    callbacks=(),
):
    """Trains the model of a recipe. An interrupted run continues with `resume=True` and gives the same result.

    The whole state is saved to `output/checkpoint.npz` regularly, at the end, and on a signal to stop: weights, optimizer,
    schedules, running statistics, random state and the position in the data. The order of the data depends only on the seed
    and the epoch. So a killed and resumed run ends like one that was never stopped, byte for byte if all operations are
    deterministic (`keras.utils.set_random_seed`, `tf.config.experimental.enable_op_determinism`). You can also resume a
    finished run with more epochs.

    The first Ctrl-C or SIGTERM saves the state and stops after the current step. A second one stops at once.

    Args:
        recipe: A `Recipe`. Its batch size is global.
        output: Directory of the run.
        data_dir: Folder of the data, see `keras_sae.datasets.load_arrays`.
        resume: Whether to continue the run in `output`. Without a saved state there, a new run starts.
        verbose: As in Keras' `fit`.
        strategy: A `tf.distribute.Strategy`, such as from `keras_sae.training.make_strategy("multi-worker")`. Of several
            workers, only the first reads and writes `output`, so it need not be a shared folder.
        steps_per_execution: Integer, the largest number of steps per Python call. The largest divisor of the steps of an epoch
            up to this number is used.
        jit_compile: Whether to compile a step with XLA: True, False or `"auto"`, as in Keras' `compile`.
        tensorboard: Whether to write logs for TensorBoard, with pictures of the features, to `output/tensorboard`.
        checkpoint_seconds: Float, the number of seconds between two saved states.
        callbacks: List of Keras callbacks, called after those of the recipe, on every worker. Each level that is pretrained
            is a `fit` of its own, and so is the rest of an epoch that a resumed run starts within. The state that a callback
            keeps outside the model is not saved: pass the callbacks again when you resume, and they start from scratch. A
            callback that sets `model.stop_training` finishes the run, or the level. For early stopping that resumes, use the
            recipe's `early_stopping`.

    Returns:
        The trained model. If the optimizer averages weights (`use_ema`), it has the averages.

    Raises:
        FileExistsError: `output` already has a run, and `resume` is False.
        ValueError: The run in `output` has another recipe or other data, or has done more epochs than the recipe has now; or
            the batch is smaller than the number of replicas.
        BlockingIOError: Another process is training in `output`.
        FloatingPointError: The loss became NaN or infinite. The last saved state is kept.
        keras_sae.training.Stopped: A signal stopped the run, and its state is saved. It is a `KeyboardInterrupt`.
        ConnectionError: Another worker was lost.
    """
    _check_arguments(recipe, strategy, jit_compile, tensorboard)
    workers = Workers.of(strategy)
    options = {"steps_per_execution": steps_per_execution, "jit_compile": jit_compile}
    with Run(output, recipe, resume, workers) as run, Interrupts() as interrupts, _lost_workers_explained(workers):
        model, whole, images, labels, validation = _prepared(recipe, run, strategy, data_dir, options)
        steps = -(-len(images) // recipe.batch_size)
        options["steps_per_execution"] = max(n for n in range(1, min(steps_per_execution, steps) + 1) if steps % n == 0)
        phases = recipe.phases(model)
        for number in range(run.progress["phase"], len(phases)):
            level, epochs = phases[number]
            with in_training(recipe, model, level, **options) as trained:
                if run.arrays_at(number):
                    run.restore(model, trained)
                while run.progress["epoch"] < epochs and not run.progress["stopped_early"]:
                    progress = run.progress
                    until = progress["epoch"] + 1 if progress["step"] else epochs
                    of_recipe = recipe.callbacks(images, steps, level)
                    logs = _logs(run, level, images if tensorboard else None, epochs) if run.is_chief else []
                    checkpoint = Checkpoint(
                        run, model, interrupts, of_recipe, epochs, steps, recipe.best(level), checkpoint_seconds
                    )
                    _fit(
                        trained,
                        images,
                        batches(images, recipe.batch_size, recipe.seed + number, labels, progress["epoch"], progress["step"]),
                        initial_epoch=progress["epoch"],
                        epochs=until,
                        steps_per_epoch=steps - progress["step"],
                        shuffle=False,  # `batches` shuffles
                        validation_data=validation if level is None else None,
                        callbacks=[*of_recipe, *callbacks, keras.callbacks.TerminateOnNaN(), *logs, checkpoint],
                        verbose=verbose if run.is_chief else 0,
                    )
                    if checkpoint.unfinished is not None:
                        _state.restore(checkpoint.unfinished, model, trained)
                if recipe.best(level) and number + 1 < len(phases):
                    run.restore(model, trained, best=True)
                finish(trained)
            run.next_phase(number + 1 < len(phases))
        adapt_features(model, whole)
    return model


def _prepared(recipe, run, strategy, data_dir, options):
    """The model of a run, and its data, checked before the first step.

    Returns `(model, whole, images, labels, validation)`: the whole images, and those or the patches of them to train on.

    What a single worker may find wrong, such as its files, ends all of them with the same words.
    """
    workers = run.workers
    together = workers.together if workers else contextlib.nullcontext
    with together():
        images, labels = load_training(recipe.data["name"], recipe.data["train"], data_dir, **recipe.reading)
    if workers:
        workers.check_same({**_as_trained(recipe, images, labels), **options})
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = recipe.build(images.shape[1:])
    with together():
        validation = _validation(recipe, data_dir)
        check_data(recipe, model, (images, labels), data_dir, validation)
    if not model.supervised:
        labels = None
    with together():
        run.begin(recipe, model, lambda: data_sha256((images, labels), validation))
    whole = images
    if "patches" in recipe.data:
        images = random_patches(images, **recipe.data["patches"], seed=recipe.seed)
    learn_statistics(model, images)
    if recipe.start:
        start_from_samples(model, images, seed=recipe.seed, scaled=recipe.start == "scaled_samples")
    recipe.warn_of_schedules(model)
    return model, whole, images, labels, validation


def adapt_features(model, images):
    """Sets what layers of `features` learn from data, when training is over."""
    model.adapt_features(images.parts() if isinstance(images, OnDisk) else images)


def learn_statistics(model, images):
    """Sets the mean and what else a model learns from its training images; or warns where it should subtract a mean.

    A resumed run learns it again, the same, before it restores its state.
    """
    if model.adapts:
        model.adapt_encoder(images.parts() if isinstance(images, OnDisk) else images)
    else:
        model.check_centered(as_input(images[:1000]))


@contextlib.contextmanager
def in_training(recipe, model, level, **options):
    """The model that is trained in a phase, compiled with a new optimizer: that of the recipe, a level of it, its decoder."""
    strategy = getattr(model, "distribute_strategy", None)
    with contextlib.ExitStack() as stack:
        with strategy.scope() if strategy else contextlib.nullcontext():
            arguments = {**recipe.compile_arguments(model, level), **options}
            if level in (None, DECODER):
                trained = model if level is None else DecoderInTraining(model)
                trained.compile(**arguments)
            else:
                trained = stack.enter_context(model.level_in_training(level, **arguments))
            trained.optimizer.build(trained.trainable_variables)
        yield trained


def _check_arguments(recipe, strategy, jit_compile, tensorboard):
    replicas = strategy.num_replicas_in_sync if strategy else 1
    if recipe.batch_size < replicas:
        raise ValueError(
            "The batch size is global: each replica trains on its part of a batch, and none may be empty. Received: "
            f"batch_size={recipe.batch_size} for {replicas} replicas. Choose at least {replicas}."
        )
    if jit_compile is True and replicas > 1:
        raise ValueError("Keras cannot compile steps with XLA under a strategy. Omit jit_compile, or use one device.")
    if not tensorboard:
        return
    if keras.backend.backend() != "tensorflow":
        raise ImportError("Keras needs TensorFlow to write logs for TensorBoard. Set KERAS_BACKEND=tensorflow.")
    if not (importlib.util.find_spec("tensorboard") and importlib.util.find_spec("matplotlib")):
        raise ImportError('TensorBoard and matplotlib are not installed. Run: pip install "keras_sae[tensorboard]".')


def _as_trained(recipe, images, labels):
    """What all workers must have in common, as plain values."""
    on_disk = isinstance(images, OnDisk)  # reading it all for a checksum would take too long
    return {
        **{key: value for key, value in recipe.as_data().items() if key not in OF_THE_CARD},
        "precision": [keras.config.floatx(), keras.config.dtype_policy().name],
        "shape of the images": images.shape,
        "checksum of the images": "" if on_disk else checksum(images, labels),
        "version of Keras": keras.__version__,
    }


def _fit(trained, images, *args, **kwargs):
    """`fit`, which names the file where data that stay on disk are damaged."""
    if not isinstance(images, OnDisk):
        trained.fit(*args, **kwargs)
        return
    import tensorflow as tf

    try:
        trained.fit(*args, **kwargs)
    except tf.errors.DataLossError as error:
        with images.reading():
            raise error


def finish(trained):
    """Replaces weights by their averages if the optimizer keeps averages (`use_ema`)."""
    trained.optimizer.finalize_variable_values(trained.trainable_variables)


def _validation(recipe, data_dir):
    """The images that choose an epoch or stop training early, as a model reads them, or None."""
    if "validation" not in recipe.data:
        return None
    images, _ = load_arrays(recipe.data["name"], recipe.data["validation"], data_dir, **recipe.reading)
    return (as_input(images).astype(keras.config.floatx()),)


def _logs(run, level, images, epochs):
    """The callbacks that write files, for the chief. With `images`, TensorBoard gets pictures of them."""
    path = run.output / (f"history_{level}.csv" if level else "history.csv")
    logs = [HistoryLog(path, run.progress["epoch"])]
    if images is not None:
        directory = run.output / "tensorboard" / (level or "")
        logs.append(keras.callbacks.TensorBoard(str(directory)))
        if level is None:  # a level reconstructs codes, which are no pictures
            logs.append(Pictures(str(directory / "pictures"), as_input(images[:10]), every=max(1, epochs // 20)))
    return logs


@contextlib.contextmanager
def _lost_workers_explained(workers):
    """Translates the errors that TensorFlow raises when another worker is gone."""
    if workers is None:
        yield
        return
    import tensorflow as tf

    lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)
    try:
        yield
    except (*lost, tf.errors.InternalError, tf.errors.FailedPreconditionError) as error:
        raise ConnectionError(
            "Another worker was lost or cannot be reached, and training needs all of them. The last saved state is kept: "
            "find the cause in the output of that worker, and restart all workers with --resume. "
            f"TensorFlow says: {str(error).splitlines()[0][:300]}"
        ) from error
