"""Anomaly detection: a detector with a calibrated threshold, on any autoencoder."""

from keras_sae.anomaly._detector import AnomalyDetector

__all__ = ["AnomalyDetector"]
