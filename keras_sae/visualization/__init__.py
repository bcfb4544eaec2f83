"""Pictures of what a sparse autoencoder learned. Needs matplotlib."""

from keras_sae.visualization.clouds import plot_clouds
from keras_sae.visualization.features import decoder_features, plot_features
from keras_sae.visualization.figure import new_figure
from keras_sae.visualization.reconstructions import plot_reconstructions

__all__ = ["decoder_features", "new_figure", "plot_clouds", "plot_features", "plot_reconstructions"]
