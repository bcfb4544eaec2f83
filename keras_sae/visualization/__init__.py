"""Pictures of features, reconstructions and data, which need matplotlib; and the feature browser, which does not."""

from keras_sae.visualization._browse import browse
from keras_sae.visualization._clouds import plot_clouds, plot_swiss_roll
from keras_sae.visualization._codes import plot_activity, plot_embedding, plot_rates
from keras_sae.visualization._curves import plot_history, plot_penalties, plot_tradeoff
from keras_sae.visualization._drift import plot_drift
from keras_sae.visualization._features import decoder_features, encoder_weights, plot_features, plot_weights
from keras_sae.visualization._figure import drawn_as as drawn_as  # for other packages, not part of the public interface
from keras_sae.visualization._figure import new_figure
from keras_sae.visualization._network import plot_network
from keras_sae.visualization._reconstructions import plot_reconstructions
from keras_sae.visualization._top_inputs import plot_top_inputs
from keras_sae.visualization._top_windows import plot_top_windows

__all__ = [
    "browse",
    "decoder_features",
    "encoder_weights",
    "new_figure",
    "plot_activity",
    "plot_clouds",
    "plot_drift",
    "plot_embedding",
    "plot_features",
    "plot_history",
    "plot_network",
    "plot_penalties",
    "plot_rates",
    "plot_reconstructions",
    "plot_swiss_roll",
    "plot_top_inputs",
    "plot_top_windows",
    "plot_tradeoff",
    "plot_weights",
]
