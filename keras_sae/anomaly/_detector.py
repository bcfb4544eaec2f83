import keras
import numpy as np

from keras_sae import presets
from keras_sae._checks import check_integer, check_number
from keras_sae.anomaly._calibration import check_supports
from keras_sae.anomaly._estimator import Estimator
from keras_sae.anomaly._learning import CodeUse, calibrated, learn
from keras_sae.anomaly._network import (
    check_model,
    check_score,
    default_score,
    detector_model,
    network,
    only,
    possible_scores,
    predict,
    reconstructs,
    window_of,
)
from keras_sae.anomaly._samples import Samples
from keras_sae.anomaly._scores import SCORES, saved_score
from keras_sae.anomaly._storage import files_of, read_files, summary_of
from keras_sae.models import SparseAutoencoder

_RATE = "is the share of normal samples that the threshold may call anomalous"


class AnomalyDetector(Estimator):
    """Tells anomalies from normal samples by an autoencoder that was trained on normal ones, with a threshold that holds.

    A sample is anomalous if its score is above the threshold. `calibrate` sets the threshold from normal samples that the model
    was not trained on:

        threshold = the score of rank n + 1 - floor(rate * (n + 1))        expected false-positive rate <= rate

    | score | of a sample | for |
    |---|---|---|
    | None | `"patch"` for images and series, `"reconstruction"` for tables | the start |
    | `"reconstruction"` | mean squared error of the reconstruction | any data |
    | `"relative"` | that error, divided by the root mean square of the input | strokes and objects on a dark ground |
    | `"patch"` | largest squared error, averaged over a patch | small defects in images and series |
    | `"texture"` | largest Mahalanobis distance of local statistics of the input, averaged over a patch | defects on textures |
    | `"code"` | squared Mahalanobis distance of the code from codes of normal data | unusual combinations of usual parts |
    | `"combined"` | sum of `"reconstruction"` and `"code"`, each divided by its mean on normal data | any data |
    | `"auto"` | the one that best tells normal samples from mixtures of them | if you have no anomalies to compare by |

    Scores of images and series average over positions. `"code"`, `"texture"` and `"combined"` learn statistics of normal data
    in `calibrate`, from about half of the samples, which then do not count for the threshold; or from those passed as
    `training`. The local statistics of `"texture"` are the mean and the logarithm of the deviation over windows of 3 and 5
    positions, by channel. This score reads inputs in about [0, 1], or standardised ones, and does not depend on the model.
    `"auto"` makes false anomalies of a part of that half: samples with a block of another sample pasted in, averages of two,
    and mixed rows of tables. It takes the score whose area under the ROC curve on them is highest, on normal data alone.

    The detector follows scikit-learn's outlier detectors: `fit`, `predict` (1 is normal, -1 anomalous), `decision_function`
    (negative for anomalies), as the last step of a `Pipeline` too. As with `LocalOutlierFactor(novelty=True)`, it learns from
    normal data and judges new data. One thing differs: `score_samples` is high for anomalies, as are the scores that an
    exported model serves; scikit-learn's is low.

    Args:
        model: A `SparseAutoencoder`, trained on normal data. Or any functional `keras.Model` from inputs to reconstructions,
            without the scores that read a code.
        score: `"reconstruction"`, `"relative"`, `"patch"`, `"code"`, `"texture"`, `"combined"` or `"auto"`. By default
            `"patch"` for images and series, where a small defect hardly changes the mean error, and `"reconstruction"` for
            tables; `"code"` for a model whose reconstructions cannot be compared with its inputs. A saved detector keeps the
            score that it was saved with.
        patch: Integer, the side of the patch in pixels or steps over which maps and the score `"patch"` average errors. By
            default about an eighth of the shortest side of the input. Tables have no patches.
        false_positive_rate: Float in (0, 1), the rate that `fit` calibrates for.
        epochs: Integer. With 0, `fit` only calibrates. Otherwise it first trains the model on four fifths of its samples for
            this number of epochs, and calibrates on the others.
        batch_size: Integer, samples that are scored at a time. Memory does not depend on the number of samples.

    Attributes:
        threshold: The score above which a sample is anomalous. You may set it by hand.
        calibration: A `Calibration`, plain data about the threshold: number of samples, rate, and the interval in which the
            rate on new normal data lies with probability 0.95. None before calibration, or with a threshold set by hand.
        score_name: The score in use: `score`, the default for this model, or the one that `"auto"` chose.

    Inputs are floats as the model reads them, or uint8 pixels, which are divided by 255: arrays, data frames, or data sets of
    batches.

    Example:

    >>> x = np.random.default_rng(0).normal(size=(600, 1)) * np.ones(4)        # four columns that are equal
    >>> model = DenseAutoencoder(4, code_units=2, activation="linear", tied=True)
    >>> model.compile(keras.optimizers.Adam(0.02), "mse")
    >>> history = model.fit(x[:300], epochs=20, verbose=0)
    >>> detector = AnomalyDetector(model).calibrate(x[300:], false_positive_rate=0.05)
    >>> detector.calibration.samples
    300
    >>> detector.predict(np.array([[1.0, 1, 1, 1], [9, -9, 9, -9]])).tolist()
    [1, -1]

    References:
        Sakurada and Yairi, "Anomaly Detection Using Autoencoders with Nonlinear Dimensionality Reduction", MLSDA 2014. The
        threshold: Vovk, Gammerman and Shafer, "Algorithmic Learning in a Random World", 2005.
    """

    def __init__(self, model, score=None, patch=None, false_positive_rate=0.01, epochs=0, batch_size=256):
        check_model(model)
        self.model, self.score, self.patch = model, score, patch
        self.false_positive_rate, self.epochs, self.batch_size = false_positive_rate, epochs, batch_size
        check_integer("batch_size", batch_size, "is the number of samples that are scored at a time")
        check_integer("epochs", epochs, "is for how long `fit` trains the model", at_least=0)
        check_number("false_positive_rate", false_positive_rate, _RATE, above=0, below=1)
        if patch is not None:
            check_integer("patch", patch, "is the side of the patch over which errors are averaged")
        self._window = window_of(tuple(model.inputs[0].shape[1:]), patch)
        check_score(score, model)
        self._asked = score or default_score(model)
        self._threshold = self.calibration = None
        self._set_score(None if self.learns else SCORES[self._asked](self._window))

    def _set_score(self, score):
        self._score, self._parts = score, {}

    @property
    def score_name(self):
        return self._asked if self._score is None else self._score.name

    @property
    def learns(self):
        """Whether `calibrate` lets the score learn statistics of normal samples, those in `training` if given."""
        return self._asked == "auto" or SCORES[self._asked].learns

    @property
    def is_calibrated(self):
        """Whether there is a threshold."""
        return self._threshold is not None

    @property
    def threshold(self):
        if self._threshold is None:
            raise ValueError(
                "The detector has no threshold yet. Call `calibrate(normal)` with normal samples that the model did not see."
            )
        return self._threshold

    @threshold.setter
    def threshold(self, value):
        self._part("scores")  # a score that has learned nothing has no scale
        self._threshold = check_number("threshold", value, "is the score above which a sample is anomalous")
        self.calibration = None

    def calibrate(self, normal, false_positive_rate=0.01, training=None):
        """Sets the threshold from normal samples.

        Args:
            normal: Normal samples that the model was not trained on: an array, a data frame, or a data set of batches.
            false_positive_rate: Float in (0, 1), the share of normal samples that may be called anomalous. `n` samples support
                rates from `1 / (n + 1)` on.
            training: Other normal samples, such as those that the model was trained on. Scores that learn statistics learn
                them from these, and all of `normal` sets the threshold.

        Returns:
            The detector. `calibration` says what the threshold can promise.

        Raises:
            ValueError: There are too few samples for the rate: the message says how many are needed. Or samples are missing,
                all equal, not finite, or of another shape.
        """
        rate = check_number("false_positive_rate", false_positive_rate, _RATE, above=0, below=1)
        samples = self._samples(normal, "normal")
        other = self._samples(training, "training") if self.learns and training is not None else None
        halved = self.learns and other is None
        if samples.count is not None:
            check_supports(rate, samples.count // 2 if halved else samples.count, halved)
        names = possible_scores(self.model) if self._asked == "auto" else [self._asked]
        score, learned = SCORES[names[0]](self._window), 0
        if self.learns:
            candidates = [SCORES[name](self._window) for name in names]
            score, learned = learn(candidates, self.model, self._window, other or samples, halved)
        threshold, calibration = calibrated(score, self.model, self._window, samples, rate, halved, learned)
        self._set_score(score)  # now that nothing can fail
        self._threshold, self.calibration = threshold, calibration
        return self

    def score_samples(self, x):
        """The scores of samples, float32 of shape `(n,)`. High is anomalous.

        Args:
            x: An array, a data frame, or a data set of batches, as in `calibrate`.
        """
        return self._over_batches("scores", x)

    def is_anomalous(self, x):
        """Whether the score of each sample is above the threshold, a boolean array of shape `(n,)`."""
        threshold = np.float32(self.threshold)
        return ~(self.score_samples(x) <= threshold)  # a score of NaN is an anomaly

    def anomaly_map(self, x):
        """Where each sample is anomalous, float32.

        The squared reconstruction error at each position, averaged over channels and, for images and series, over the patch.
        With the score `"texture"`, the distances of local statistics, averaged over the patch.

        Returns:
            For images a heat map, `(n, height, width)`; for series a number for each step, `(n, steps)`; for tables one for
            each column, `(n, columns)`. Large is anomalous, whatever the score.
        """
        if not reconstructs(self.model):
            raise ValueError(
                f"A map shows where a reconstruction differs from its input. The model {self.model.name!r} has none: it gives "
                f"reconstructions of shape {self.model.output_shape} for inputs of shape {self.model.input_shape}."
            )
        return self._over_batches("maps", x)

    def as_model(self):
        """The calibrated detector as a functional `keras.Model`, from inputs as the autoencoder reads them.

        Its outputs are a dictionary: `scores`, float32; `is_anomalous`, boolean; `threshold`, float32, the same for each
        sample; and `maps`, as of `anomaly_map`, where there are such maps. It shares its weights with the autoencoder.
        """
        return detector_model(self.model, self._score, self._window, self.threshold)

    def save_to_preset(self, directory, metadata=None, examples=None, card=None):
        """Saves model and detector as a preset, which `from_preset` and `keras_sae.serving.export` read.

        Adds `detector.json` and `detector.npz` to what `SparseAutoencoder.save_to_preset` writes. Where `directory` is a preset
        of the same model, with the same weights, and no other argument is given, only the detector is added. Everything else
        stays.

        Args:
            directory, metadata, examples, card: As in `SparseAutoencoder.save_to_preset`.

        Raises:
            FileExistsError: `directory` exists and is not a preset, or a new file would replace one of yours.
            ValueError: The detector is not calibrated, or a weight or an example is not finite.
        """
        if not isinstance(self.model, SparseAutoencoder):
            raise TypeError(
                "A preset holds a SparseAutoencoder. "
                f"Received: a detector of a {type(self.model).__name__}. Make a SparseAutoencoder(encoder, decoder) of it."
            )
        arguments = {"patch": self.patch, "batch_size": self.batch_size, "false_positive_rate": self.false_positive_rate}
        files = files_of(self._score, self.threshold, self.calibration, arguments)
        summary = {"detector": summary_of(self._score, self.threshold, self.calibration)}
        if metadata is examples is card is None and presets.holds(directory, self.model):
            presets.add_files(directory, summary, files)
        else:
            metadata = {**(metadata or {}), **summary}
            presets.save(self.model, directory, metadata=metadata, examples=examples, card=card, files=files)

    @classmethod
    def from_preset(cls, preset):
        """Loads a detector and its model.

        Args:
            preset: As in `SparseAutoencoder.from_preset`. It must hold a detector.
        """
        description, arrays = read_files(preset)
        name = description["score"]
        detector = cls(SparseAutoencoder.from_preset(preset), score=name, **description["arguments"])
        detector._set_score(saved_score(name, detector._window, arrays))
        detector._threshold, detector.calibration = description["threshold"], description["calibration"]
        return detector

    def scores_and_codes(self, x):
        """The scores of samples, and how their codes use the units: a `CodeUse`. For `drift`."""
        part, scores, use = self._part("scores", "codes"), [np.zeros(0, "float32")], CodeUse()
        for batch in self._samples(x, "x").batches():
            made = predict(part, batch)
            scores.append(made["scores"])
            use.add(made.get("codes"))
        return np.concatenate(scores), use

    def _samples(self, x, name):
        tensor = self.model.inputs[0]
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        return Samples(x, tensor.shape[1:], dtype, self.batch_size, name)

    def _over_batches(self, output, x):
        """An output of the network for all samples."""
        part = self._part(output)
        made = [predict(part, batch)[output] for batch in self._samples(x, "x").batches()]
        return np.concatenate(made) if made else np.zeros(0, "float32")

    def _part(self, *outputs):
        """The part of the network that gives these outputs, as far as there are such, made where it is first needed."""
        if self._score is None and "scores" in outputs:
            raise ValueError(f"The score {self._asked!r} learns statistics of normal data first: call `calibrate(normal)`.")
        if outputs not in self._parts:
            whole = network(self.model, self._score, self._window)
            self._parts[outputs] = only(whole, *(name for name in outputs if name in whole.output))
        return self._parts[outputs]

    def __getstate__(self):
        return {**self.__dict__, "_parts": {}}
