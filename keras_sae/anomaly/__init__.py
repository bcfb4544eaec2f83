"""Anomaly detection: a detector with a calibrated threshold, on any autoencoder."""

from keras_sae.anomaly._detector import AnomalyDetector
from keras_sae.anomaly._drift import drift

# Not listed, because they are for other packages of keras_sae.
from keras_sae.anomaly._roc import RocCurve as RocCurve
from keras_sae.anomaly._scores import SCORES as SCORES
from keras_sae.anomaly._storage import has_detector as has_detector

__all__ = ["AnomalyDetector", "drift"]
