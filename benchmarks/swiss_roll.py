"""Compares a deep autoencoder with PCA on the Swiss roll. Prints a table over seeds, and can draw the first seed.

python benchmarks/swiss_roll.py [swiss_roll.png] [--seeds 3]
"""

import argparse

from keras_sae.evaluation import swiss_roll
from keras_sae.visualization import plot_clouds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="file for the picture, for example swiss_roll.png (default: no picture)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: %(default)s)")
    arguments = parser.parse_args()
    print("Held-out points, a code of 2     mse of PCA   of the autoencoder   explained by PCA   by the autoencoder")
    for seed in range(arguments.seeds):
        figures, clouds = swiss_roll(seed=seed)
        print(
            f"seed {seed}{figures['pca_reconstruction_error']:37.4f}{figures['reconstruction_error']:21.4f}"
            f"{figures['pca_explained_variance']:19.1%}{figures['explained_variance']:21.1%}",
            flush=True,
        )
        if seed == 0 and arguments.path:
            titles = {
                "data": "Held-out points",
                "pca": f"PCA, 2 components: error {figures['pca_reconstruction_error']:.3f}",
                "autoencoder": f"Autoencoder, code of 2: error {figures['reconstruction_error']:.3f}",
            }
            named = {title: clouds[name] for name, title in titles.items()}
            plot_clouds(named, clouds["position"]).savefig(arguments.path, dpi=200)


if __name__ == "__main__":
    main()
