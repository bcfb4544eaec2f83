import numpy as np

from keras_sae.evaluation._encode import encode
from keras_sae.evaluation._finetune import wrong_when_tuned
from keras_sae.evaluation._probe import balanced, error_figures, linear_classifier
from keras_sae.evaluation._probe_encoder import probe_encoder, untrained


def transfer(
    model,
    train,
    test,
    few_labels=(100, 1000),
    draws=5,
    steps=2000,
    batch_size=128,
    learning_rate=1e-3,
    scratch_learning_rate=None,
    iterations=150,
    seed=0,
    report=None,
    cache=None,
    **probe_options,
):
    """Measures what an encoder trained on other data gains on a task, with few labels and with all.

    Compares four classifiers: logistic regression on frozen features; the same on raw pixels; the encoder fine-tuned with a
    softmax layer; and the same network trained from scratch. Fine-tuning starts from the logistic regression: its weights are
    those of the softmax layer, so that the first steps do not spoil the features (Kumar and others, Fine-Tuning can Distort
    Pretrained Features and Underperform Out-of-Distribution, ICLR 2022). Both networks are trained for the same number of
    steps by Adam; the learning rate falls along a cosine. All classifiers see the same labels and read `model.features`. From
    scratch, the encoder and the softmax layer have new random weights. What the encoder learns from data without training,
    such as a whitening, it learns from `train`.

    Args:
        model: A `SparseAutoencoder`, trained on other data.
        train, test: Pairs `(images, labels)` of arrays for the task. uint8 images are divided by 255.
        few_labels: List of integers, numbers of labels.
        draws: Integer, at least 1. With few labels, errors are averaged over this many draws.
        steps, batch_size, learning_rate: Training of the networks. With fewer images than `batch_size`, a batch holds them all.
            `steps=0` leaves the networks out.
        scratch_learning_rate: Float, the learning rate of the network from scratch, which bears a larger one. By default
            `learning_rate`.
        iterations: Integer, the maximum number of L-BFGS iterations of each logistic regression.
        seed: Integer.
        report: Function called with a sentence before each step that takes long and with each error, such as `print`.
        cache: As in `probe_encoder`.
        **probe_options: Other arguments of `probe_encoder`, such as `validation`.

    Returns:
        List of dictionaries of plain data, one for each number of labels: this number, `labels`; and `frozen`, `raw_pixels`,
        `fine_tuned` and `from_scratch`, dictionaries of `error` in percent and its `interval`.
    """
    report = report or (lambda sentence: None)
    (x, labels), count = train, len(train[0])
    options = {"few_labels": few_labels, "draws": draws, "seed": seed, "report": report, "cache": cache}
    probed = probe_encoder(model, train, test, iterations=iterations, **options, **probe_options)
    rows = []
    for number in (*few_labels, count):
        rows.append({"labels": int(number)})
        for name, kind in (("frozen", probed), ("raw_pixels", probed["raw_pixels"])):
            few = kind if number == count else kind[f"labels_{number}"]
            rows[-1][name] = {key: few[key] for key in ("error", "interval")}
            report(_in_words(name, rows[-1]))
    starts = {"fine_tuned": model, "from_scratch": untrained(model, seed, x)} if steps else {}
    rates = {"fine_tuned": learning_rate, "from_scratch": scratch_learning_rate or learning_rate}
    for figures in rows:
        number = figures["labels"]
        batch = min(batch_size, number)
        epochs = max(1, round(steps * batch / number))
        C = (probed if number == count else probed[f"labels_{number}"])["C"]
        for name, start in starts.items():
            report(f"{_words(name, number)} ...")
            wrong = []
            for draw in range(1 if number == count else draws):
                chosen = np.arange(count) if number == count else balanced(labels, number, np.random.default_rng([seed, draw]))
                tuning = {"epochs": epochs, "batch_size": batch, "learning_rate": rates[name], "report": None}
                part = x[chosen], labels[chosen]
                head = linear_classifier(encode(start.features, part[0]), part[1], C, iterations) if start is model else None
                wrong.append(wrong_when_tuned(start, part, test, 0, 0.0, seed=seed + draw, head_weights=head, **tuning)[0])
            figures[name] = error_figures(wrong)
            report(_in_words(name, figures))
    return rows


def _words(name, number):
    return f"{name.replace('_', ' ').capitalize()}, with {number:,} labels"


def _in_words(name, figures):
    return f"{_words(name, figures['labels'])}: {figures[name]['error']:.2f} % wrong."
