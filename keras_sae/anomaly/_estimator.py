"""What scikit-learn asks of an outlier detector, without importing scikit-learn."""

import inspect

import numpy as np

from keras_sae._checks import nearest
from keras_sae.anomaly._calibration import check_supports
from keras_sae.anomaly._network import has_code


class Estimator:
    """Parameters and tags as scikit-learn reads them, for pipelines and `sklearn.base.clone`."""

    # Learns from normal data and judges new data, as `LocalOutlierFactor(novelty=True)` does. There is no `fit_predict`.
    novelty = True

    @classmethod
    def _parameter_names(cls):
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep=True):
        """The arguments of the constructor by name."""
        return {name: getattr(self, name) for name in self._parameter_names()}

    def set_params(self, **params):
        """Sets arguments of the constructor. The detector has to be calibrated again."""
        unknown = set(params) - set(self._parameter_names())
        if unknown:
            name = min(unknown)
            raise ValueError(
                f"Invalid parameter {name!r} for {type(self).__name__}. {nearest(name, self._parameter_names())}"
                f"The parameters are {', '.join(self._parameter_names())}."
            )
        self.__init__(**{**self.get_params(), **params})
        return self

    def fit(self, x, y=None):
        """Calibrates for `false_positive_rate`; with `epochs`, trains the model first.

        Args:
            x: Normal samples. With `epochs`, an array: four fifths train the model and teach the score its statistics, the
                others set the threshold.
            y: Ignored.

        Returns:
            The detector.
        """
        if not self.epochs:
            return self.calibrate(x, self.false_positive_rate)
        samples = self._samples(x, "x")
        if samples.count is None:
            raise TypeError(
                "With `epochs`, `fit` splits its samples and needs an array. Received: a data set. Train the model with "
                "`model.fit`, and call `calibrate` with other normal samples."
            )
        order = np.random.default_rng(0).permutation(samples.count)
        held_out = max(samples.count // 5, 1)
        check_supports(self.false_positive_rate, held_out)
        whole = np.concatenate(list(samples.batches()))
        if not self.model.compiled:
            self.model.compile("adam", "mse")
        train = whole[order[held_out:]]
        self.model.fit(train, *(() if has_code(self.model) else (train,)), epochs=self.epochs, verbose=0)
        return self.calibrate(whole[order[:held_out]], self.false_positive_rate, training=train)

    def decision_function(self, x):
        """The threshold less the scores, `(n,)`: negative for anomalies, as scikit-learn defines it."""
        return self.threshold - self.score_samples(x)

    def predict(self, x):
        """1 for normal samples and -1 for anomalies, an integer array of shape `(n,)`, as scikit-learn defines it."""
        return np.where(self.is_anomalous(x), -1, 1)

    def __repr__(self):
        model = f"<{type(self.model).__name__} {self.model.name!r}>"
        others = {name: value for name, value in self.get_params().items() if name != "model"}
        return f"{type(self).__name__}({model}, {', '.join(f'{name}={value!r}' for name, value in others.items())})"

    def __sklearn_is_fitted__(self):
        return self.is_calibrated

    def __sklearn_tags__(self):
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type="outlier_detector",
            target_tags=TargetTags(required=False),
            input_tags=InputTags(two_d_array=True, three_d_array=True),
        )
