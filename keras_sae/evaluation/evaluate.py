from keras_sae.evaluation.code_statistics import code_statistics, encode
from keras_sae.evaluation.probe import probe


def evaluate(model, train, test, report=None, **probe_options):
    """Measures a model as the cards do.

    Args:
        model: A `SparseAutoencoder`.
        train, test: Pairs `(images, labels)` of arrays. uint8 images are divided by 255.
        report: Called with a sentence before each step that takes long, such as `print`.
        **probe_options: Passed to `probe`.

    Returns:
        Dictionary of plain numbers: those of `code_statistics` on the test images; `probe_error` and `probe_C`, of the
        probe on the codes; `probe_error_raw_pixels` and `probe_C_raw_pixels`, of the same probe on the pixels.
    """
    report = report or (lambda sentence: None)
    (train_images, train_labels), (test_images, test_labels) = train, test
    report(f"Statistics of codes and reconstructions of {len(test_images):,} test images ...")
    result = code_statistics(model, test_images)
    report(f"Logistic regression on the codes of {len(train_images):,} training images ...")
    codes = probe(encode(model, train_images), train_labels, encode(model, test_images), test_labels, **probe_options)
    report("The same on raw pixels ...")
    pixels = probe(train_images, train_labels, test_images, test_labels, **probe_options)
    result.update({"probe_error": codes["error"], "probe_C": codes["C"]})
    result.update({"probe_error_raw_pixels": pixels["error"], "probe_C_raw_pixels": pixels["C"]})
    return result
