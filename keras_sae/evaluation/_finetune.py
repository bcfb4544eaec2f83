import keras
import numpy as np

from keras_sae._checks import check_number
from keras_sae._markdown import table
from keras_sae.datasets import batches
from keras_sae.evaluation._adversarial import AdversarialClassifier
from keras_sae.evaluation._encode import encode
from keras_sae.evaluation._probe import error_figures, error_text
from keras_sae.evaluation._readout import in_words
from keras_sae.evaluation._suite import Suite, check_labels
from keras_sae.layers import selections_of


def finetune(
    model,
    train,
    test,
    *,
    epochs=20,
    head_epochs=0,
    batch_size=128,
    learning_rate=1e-3,
    momentum=0.0,
    dropout=0.0,
    input_dropout=0.0,
    level_dropout=0.0,
    adversarial=0.0,
    seed=0,
    report=None,
):
    """The test error of a classifier that starts from the features of a model and is trained as a whole.

    The classifier is `model.features` with a softmax layer, trained by Adam, or by SGD with momentum, with a learning rate that
    falls to zero along a cosine. Selections such as `KSparse` keep the units that they keep at inference. All settings are
    fixed. To choose epochs, learning rate or dropout, pass one part of the training data as `train` and the rest as `test`.

    Args:
        model: A `SparseAutoencoder`. It stays unchanged: a copy is trained.
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255.
        epochs: Integer, at least 0, epochs of training of the whole classifier.
        head_epochs: Integer. First the softmax layer is trained for this many epochs on the frozen features.
        batch_size: Integer.
        learning_rate: Float, the initial learning rate.
        momentum: Float in [0, 1]. Above 0, SGD with this momentum takes the place of Adam. It needs another `learning_rate`,
            such as 0.1.
        dropout: Float in [0, 1), the share of the features that is set to zero in training.
        input_dropout: Float in [0, 1), the share of the inputs that is set to zero while the whole classifier is trained.
        level_dropout: Float in [0, 1), the same of the codes that the second level of a stack, and each level above it, reads.
        adversarial: Float, at least 0. Above 0, the whole classifier is trained on each image and on an adversarial image: each
            input moved by this much in the direction in which the loss grows (fast gradient sign method, Goodfellow, Shlens
            and Szegedy, 2015, arXiv:1412.6572). It has the unit of the inputs, which is 1 for images in [0, 1]: for digits,
            0.05 to 0.15. An epoch takes about three times as long.
        seed: Integer. Fixes initial weights and the order of images.
        report: Function called with a sentence before each step that takes long, such as `print`.

    Returns:
        Dictionary of plain data: `error` in percent of the test examples, and `interval`, a list of two, as in `probe`; with
        `head_epochs`, also `frozen`, a dictionary of the same figures before the encoder was trained.
    """
    check_labels("Fine-tuning trains on labels", train, test)
    options = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    options |= {"momentum": momentum, "seed": seed, "report": report}
    options |= {"input_dropout": input_dropout, "level_dropout": level_dropout}
    options |= {"adversarial": check_number("adversarial", adversarial, "is how far inputs are moved", at_least=0)}
    tuned, frozen = wrong_when_tuned(model, train, test, head_epochs, dropout, **options)
    return {**error_figures(tuned), **({"frozen": error_figures(frozen)} if head_epochs else {})}


def wrong_when_tuned(
    model,
    train,
    test,
    head_epochs,
    dropout,
    seed,
    input_dropout=0.0,
    level_dropout=0.0,
    adversarial=0.0,
    head_weights=None,
    **options,
):
    """Which test examples are misclassified, booleans `(n,)`: after training of the whole, and before it.

    `head_weights`, a kernel and a bias, are where the softmax layer starts.
    """
    (x, labels), (test_x, test_labels) = ((np.asarray(images), np.asarray(y)) for images, y in (train, test))
    report = options["report"] or (lambda sentence: None)
    keras.utils.set_random_seed(seed)
    copy = type(model).from_config(model.get_config())
    copy.set_weights(model.get_weights())
    body = copy.features
    for layer in selections_of(body):
        layer.trainable = False  # it keeps the units that `features.predict` keeps, also in training
    classes, targets = np.unique(labels, return_inverse=True)
    head = keras.Sequential(
        [
            keras.Input(body.output_shape[1:]),
            keras.layers.Flatten("channels_last"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(len(classes), activation="softmax", dtype="float32"),
        ]
    )
    if head_weights is not None:
        head.layers[-1].set_weights(head_weights)
    whole = _classifier(body, head, input_dropout, level_dropout, adversarial)

    def wrong():
        return classes[encode(whole, test_x).argmax(axis=-1)] != test_labels

    if head_epochs:
        report(f"Training a softmax layer on the frozen features of {len(x):,} training images ...")
        _train(head, encode(body, x), targets, seed, **{**options, "epochs": head_epochs})
    before = wrong()
    if options["epochs"]:
        report(f"Training the encoder and a softmax layer on {len(x):,} training images ...")
        _train(whole, x, targets, seed, **options)
    return wrong(), before


def _classifier(body, head, input_dropout, level_dropout, adversarial):
    """The classifier, with dropout of its input and of what each level but the first reads. It shares all layers."""
    levels = "level_1" in {layer.name for layer in body.layers}

    def call(layer, inputs, **arguments):
        if levels and layer.name.startswith("encode") and layer.name != "encode_1":
            inputs = keras.layers.Dropout(level_dropout)(inputs)
        return layer(inputs, **arguments)

    body = keras.models.clone_model(body, clone_function=lambda layer: layer, call_function=call)
    inputs = keras.Input(body.input_shape[1:], dtype=body.inputs[0].dtype)
    outputs = head(body(keras.layers.Dropout(input_dropout)(inputs)))
    return AdversarialClassifier(inputs, outputs, adversarial) if adversarial else keras.Model(inputs, outputs)


def _train(model, x, targets, seed, epochs, batch_size, learning_rate, report, momentum=0.0):
    steps = -(-len(x) // batch_size)
    rate = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)
    optimizer = keras.optimizers.Adam(rate) if momentum == 0 else keras.optimizers.SGD(rate, momentum)
    model.compile(optimizer, "sparse_categorical_crossentropy")

    def tell(epoch, logs):
        if report and (epoch + 1) % max(1, epochs // 10) == 0:
            report(f"  epoch {epoch + 1} of {epochs}: loss {logs['loss']:.4f}")

    model.fit(
        batches(x, batch_size, seed, targets),
        epochs=epochs,
        steps_per_epoch=steps,
        shuffle=False,  # `batches` shuffles
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=tell)],
        verbose=0,
    )


def _section(figures, options, metadata):
    rows = [("encoder and softmax layer, trained together", error_text(figures))]
    if "frozen" in figures:
        rows.insert(0, ("softmax layer on the frozen encoder", error_text(figures["frozen"])))
    text = (
        f"A softmax layer on {in_words(metadata)}. The whole classifier starts from the weights of this "
        f"preset and is trained with the labels of all {metadata['data']['train_examples']:,} training images. Training "
        "differs a little between machines, so `keras-sae evaluate` accepts any error inside the interval."
    )
    return ["### Fine-tuned: test error", "", *table(("", ""), rows), "", text, ""]


def _agrees(path, measured, card):
    """Whether a new error lies in the interval of the card. The interval itself is not compared."""
    if path[-1] != "error":
        return True
    low, high = (card[*path[:-1], "interval", end] for end in "01")
    return low <= measured[path] <= high


SUITE = Suite(
    finetune,
    _section,
    agrees=_agrees,
    figures=lambda options: ("error", "frozen.error") if options.get("head_epochs") else ("error",),
    reads_labels=lambda options: True,
)
