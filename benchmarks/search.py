"""Times a search by sparse codes against the product with all vectors: `python benchmarks/search.py PRESET VECTORS.npy`.

PRESET is the name or folder of a k-sparse autoencoder of vectors, VECTORS an array `(n, size)`. Its last 100 rows are queries.
For several numbers of items, it prints the milliseconds of a query, without encoding: by an inverted index (SciPy) and by the
product with all vectors (NumPy), one query at a time and 100 in one product. The last column is how many entries of the index a
query touches, as a share of those that the product multiplies.
"""

import argparse

import numpy as np

from keras_sae.evaluation import encode
from keras_sae.evaluation._neighbours import unit_rows
from keras_sae.evaluation._query_time import query_times
from keras_sae.models import SparseAutoencoder

SIZES = (1_000, 10_000, 30_000, 100_000, 300_000)
QUERIES = 100

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", help="name or folder of a preset")
    parser.add_argument("vectors", help="a .npy file")
    options = parser.parse_args()
    model = SparseAutoencoder.from_preset(options.preset)
    vectors = np.load(options.vectors, mmap_mode="r")
    items, queries = vectors[:-QUERIES][: SIZES[-1]], vectors[-QUERIES:]
    codes, query_codes = (unit_rows(encode(model, np.asarray(x), sparse=True)) for x in (items, queries))
    dense, query_vectors = unit_rows(items), unit_rows(queries)
    print("| items | inverted index | product | index, batch | product, batch | entries touched |\n|---|---|---|---|---|---|")
    for size in (*(size for size in SIZES if size < len(items)), len(items)):
        times = query_times(query_vectors, dense[:size], query_codes, codes[:size])
        listed = np.diff(codes[:size].tocsc().indptr)  # items that each unit lists
        touched = listed[query_codes.indices].sum() / QUERIES / (size * dense.shape[1])
        shown = (times[key] for key in ("inverted_index", "dense", "inverted_index_batch", "dense_batch"))
        print(f"| {size:,} | " + " | ".join(f"{time:.2f} ms" for time in shown) + f" | {100 * touched:.2f} % |")
