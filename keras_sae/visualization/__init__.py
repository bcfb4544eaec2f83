"""Pictures of features, reconstructions and data, which need matplotlib; and the feature browser, which does not."""

from keras_sae.visualization._browse import browse
from keras_sae.visualization._clouds import plot_clouds
from keras_sae.visualization._drift import plot_drift
from keras_sae.visualization._features import decoder_features, plot_features
from keras_sae.visualization._figure import drawn_as as drawn_as  # for other packages, not part of the public interface
from keras_sae.visualization._figure import new_figure
from keras_sae.visualization._reconstructions import plot_reconstructions
from keras_sae.visualization._top_inputs import plot_top_inputs
from keras_sae.visualization._top_windows import plot_top_windows

__all__ = [
    "browse",
    "decoder_features",
    "new_figure",
    "plot_clouds",
    "plot_drift",
    "plot_features",
    "plot_reconstructions",
    "plot_top_inputs",
    "plot_top_windows",
]
