import keras
import numpy as np

from keras_sae.datasets import batches
from keras_sae.evaluation._code_statistics import encode
from keras_sae.evaluation._probe import error_figures
from keras_sae.evaluation._readout import reader


def finetune(
    model,
    train,
    test,
    *,
    encoding=None,
    epochs=20,
    head_epochs=0,
    batch_size=128,
    learning_rate=1e-3,
    dropout=0.0,
    seed=0,
    report=None,
):
    """The error of a classifier whose first layers are an encoder: trained on labels as a whole, from the encoder's weights on.

    A softmax layer on the encoder, by Adam with a rate that falls to zero along a cosine. Nothing is chosen here. To choose
    epochs, a rate or dropout, give a part of the training data for `train` and the rest for `test`.

    Args:
        model: A `SparseAutoencoder`. It stays as it is: a copy is trained.
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255.
        encoding: Dictionary of arguments of `reader`: what stands under the softmax. By default the code.
        epochs: Integer, at least 0, epochs of training of the whole.
        head_epochs: Integer. So many epochs the softmax layer is trained first, on the codes of the frozen encoder.
        batch_size: Integer.
        learning_rate: Float, the first rate of Adam.
        dropout: Float in [0, 1), the share of the code's entries that is dropped in training.
        seed: Integer, of first weights and of the order of images.
        report: Called with a sentence before each step that takes long, such as `print`.

    Returns:
        Dictionary of plain data: `error` in percent of the test examples, and `interval`, a list of two, as of `probe`; and
        with `head_epochs` the same in `frozen`, measured before the encoder was trained.
    """
    if any(labels is None for _, labels in (train, test)):
        raise ValueError("Fine-tuning trains on labels, and there are none. Leave it out for data without labels.")
    options = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed, "report": report}
    tuned, frozen = wrong_when_tuned(model, train, test, encoding or {}, head_epochs, dropout, **options)
    return {**error_figures(tuned), **({"frozen": error_figures(frozen)} if head_epochs else {})}


def wrong_when_tuned(model, train, test, encoding, head_epochs, dropout, seed, **options):
    """Which test examples are classified wrongly, booleans `(n,)`: after the whole was trained, and before it was."""
    (x, labels), (test_x, test_labels) = ((np.asarray(images), np.asarray(y)) for images, y in (train, test))
    report = options["report"] or (lambda sentence: None)
    keras.utils.set_random_seed(seed)
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    body = reader(copy, **encoding)
    classes, targets = np.unique(labels, return_inverse=True)
    head = keras.Sequential(
        [
            keras.Input(body.output_shape[1:]),
            keras.layers.Flatten(),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(len(classes), activation="softmax", dtype="float32"),
        ]
    )
    whole = keras.Model(body.inputs[0], head(body.outputs[0]))

    def wrong():
        return classes[encode(whole, test_x).argmax(axis=-1)] != test_labels

    if head_epochs:
        report(f"A softmax layer trained on the frozen codes of {len(x):,} training images ...")
        _train(head, encode(body, x), targets, seed, **{**options, "epochs": head_epochs})
    before = wrong()
    if options["epochs"]:
        report(f"The encoder and a softmax layer trained on {len(x):,} training images ...")
        _train(whole, x, targets, seed, **options)
    return wrong(), before


def _train(model, x, targets, seed, epochs, batch_size, learning_rate, report):
    steps = -(-len(x) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy")

    def tell(epoch, logs):
        if report and (epoch + 1) % max(1, epochs // 10) == 0:
            report(f"  epoch {epoch + 1} of {epochs}: loss {logs['loss']:.4f}")

    model.fit(
        batches(x, batch_size, seed, targets),
        epochs=epochs,
        steps_per_epoch=steps,
        shuffle=False,  # it is shuffled already
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=tell)],
        verbose=0,
    )
