from pathlib import Path

import numpy as np

from keras_sae._checks import check_integer, nearest
from keras_sae._markdown import table
from keras_sae._nouns import noun_of
from keras_sae.evaluation import _compression
from keras_sae.evaluation._encode import as_input
from keras_sae.evaluation._neighbours import largest, ndcg, recall, scores_of, unit_rows
from keras_sae.evaluation._query_time import query_times
from keras_sae.evaluation._stored_codes import StoredCodes
from keras_sae.evaluation._suite import Suite, within
from keras_sae.metrics import ExplainedVariance

# What is compared at the bytes of a code, and what has bytes of its own.
_EQUAL = {
    "pca_float16": "PCA, float16",
    "pca_int8": "PCA, int8",
    "product_quantisation": "product quantisation",
    "random_signs": "signs of random projections",
    "random_projection": "random projections, float16",
}
_OWN_SIZE = {"int8": "int8", "signs": "signs"}
_NAMES = {
    "dense": "the vectors, float32",
    **_OWN_SIZE,
    "code": "**sparse code**",
    "reconstruction": "**reconstruction** of the code",
    **_EQUAL,
}
_ROWS = 8192  # whose reconstructions are compared at a time
_RANKS = 10  # of the lists whose gain is measured


def retrieval(
    model,
    train,
    test,
    *,
    k=(),
    neighbours=(10, 100),
    among="test",
    queries=2000,
    relevances="",
    only_labels=(),
    seed=0,
    report=None,
):
    """Measures a search by sparse codes against the exact search by vectors, next to other ways to store vectors in few bytes.

    Queries are test inputs. All rankings are by cosine. A query has its full vector; items are stored in one of these ways:

    - `code`: the active entries, ranked by the cosine with the query's code, as an inverted index does;
    - `reconstruction`: the same entries, ranked by the cosine of the query with what the decoder makes of them;
    - at the same bytes, `pca_float16`, `pca_int8`, `product_quantisation` (where faiss is installed), `random_signs` and
      `random_projection`; and `int8` and `signs` of all entries, whose bytes are given.

    An entry of a code takes 2 bytes for its index (4 above 65,536 units) and 2 for its value in float16. Everything that
    learns from data does so from the training inputs.

    Args:
        model: A `SparseAutoencoder`.
        train, test: Pairs `(inputs, labels)` of arrays. Inputs are flattened for the search; uint8 is divided by 255. Labels
            are integers, or None. An item with a negative label has none.
        k: List of integers. Measures codes of `k` entries too: the strongest ones, and where the encoder ends in a `KSparse`,
            also more than it keeps.
        neighbours: List of integers, in how many neighbours recall is measured.
        among: Which items are searched: `"test"`, which the model did not train on; `"train"`; or `"both"`. A query is never
            its own neighbour.
        queries: Integer. At most this many test inputs, drawn at random, are queries.
        relevances: The path of a `.npz` file of queries with known answers, or a pair of arrays in place of a path: `queries`,
            `(m, ...)`, and `relevant`, `(m,)` or `(m, most)`, the rows of `test` that answer each of them; -1 fills.
        only_labels: List of integers. Items and queries with other labels count as without label. By default all labels count.
        seed: Integer. Fixes the draw.
        report: Function called with a sentence before each step that takes long, such as `print`.

    Returns:
        Dictionary of plain data: `items` and `queries`, their numbers; `milliseconds`, see below; and of each way above, and of
        `dense`, the vectors themselves, a dictionary of `bytes` per item, `recall_10` and `recall_100` (the share of the true
        neighbours that are found), `accuracy` where there are labels (how often the nearest labelled item has the label of
        the query), and `ndcg_10` where there are relevances (see `ndcg`). `reconstruction` has `explained_variance` too, see
        `keras_sae.metrics.ExplainedVariance`. `k_8` and so on hold the same for other numbers of entries.

        `milliseconds` is the time of a query, without encoding: `inverted_index` and `dense`, one query at a time, and the
        same with `_batch`, many in one product.

    Raises:
        ValueError: An option cannot be used with this data.
        ImportError: scikit-learn is not installed.
    """
    say = report or (lambda sentence: None)
    if among not in ("train", "test", "both"):
        raise ValueError(f'`among` is what is searched: "train", "test" or "both". Received: among={among!r}.')
    chosen = [check_integer("k", each, "is a list of numbers of entries, each of which") for each in k]
    codes = StoredCodes(model, chosen)
    train, test = ((x, _of_interest(y, only_labels)) for x, y in (train, test))
    collection = Collection(train, test, among, neighbours, queries, relevances, seed)
    say(f"Nearest neighbours of {len(collection.queries):,} queries among {len(collection.items):,} items ...")
    result = {"items": len(collection.items), "queries": len(collection.queries), "dense": collection.dense()}
    learned = unit_rows(as_input(train[0]))
    for way in _OWN_SIZE:
        result[way] = collection.compressed(way, learned, None)
    left_out = _compression.why_no_product_quantisation(len(learned))
    if left_out:
        say(f"Product quantisation is left out: {left_out}.")
    say("Encoding the items and the queries ...")
    of_items, of_queries = codes(collection.items), codes(collection.queries)
    of_known = codes(collection.known) if collection.known is not None else dict.fromkeys(of_items)
    for name, stored in of_items.items():
        size = codes.bytes_per_item(stored)
        say(f"Search in {size:.0f} bytes per item ...")
        figures = {"code": collection.coded(size, stored, of_queries[name], of_known[name])}
        if model.preprocessing is None:
            figures["reconstruction"] = collection.reconstructed(size, codes.decode(stored))
        for way in _EQUAL:
            if way != "product_quantisation" or not left_out:
                figures[way] = collection.compressed(way, learned, max(round(size), 1))
        result |= {name: figures} if name else figures
    times = query_times(unit_rows(collection.queries), collection.unit_items, of_queries[""], of_items[""])
    return {**result, "milliseconds": times}


def _of_interest(labels, only):
    return labels if labels is None or not only else np.where(np.isin(labels, list(only)), labels, -1)


class Collection:
    """Items to search, queries, and the true neighbours.

    Args: as of `retrieval`.
    """

    def __init__(self, train, test, among, neighbours, queries, relevances, seed):
        (train_x, train_y), (test_x, test_y) = ((as_input(x), y) for x, y in (train, test))
        self.items = {"train": train_x, "test": test_x}[among] if among != "both" else np.concatenate([train_x, test_x])
        rows = np.arange(len(test_x))
        if check_integer("queries", queries, "is the number of test inputs that are searched for") < len(rows):
            rows = np.sort(np.random.default_rng(seed).choice(rows, queries, replace=False))
        self.queries = test_x[rows]
        before = len(train_x) if among == "both" else 0
        self.own = None if among == "train" else rows + before
        self.neighbours = list(neighbours)
        others = len(self.items) - (among != "train")
        for count in self.neighbours:
            check_integer("neighbours", count, f"counts neighbours of a query among {others:,} items", at_most=others)
        self.most = max(*self.neighbours, min(_RANKS, others))
        self.labels = None
        if train_y is not None and test_y is not None:
            labels = {"train": train_y, "test": test_y}
            self.labels = np.asarray(labels[among] if among != "both" else np.concatenate([train_y, test_y]))
            self.query_labels = np.asarray(test_y)[rows]
        self.known, self.relevant = _relevances(relevances, test_x, among, before)
        self.unit_items = unit_rows(self.items)
        self.wanted = None

    def dense(self):
        """The figures of the vectors themselves, the exact search."""
        self.wanted, figures = self._search(self.unit_items, *map(self._rows, (self.queries, self.known)))
        return {"bytes": 4 * self.unit_items.shape[1], **figures}

    def compressed(self, way, train, size):
        """The figures of vectors stored in a `way` of `_compression`."""
        return self.restored(*reversed(getattr(_compression, way)(train, self.unit_items, size)))

    def restored(self, size, items):
        """The figures of items that are vectors again."""
        return {"bytes": size, **self._search(unit_rows(items), *map(self._rows, (self.queries, self.known)))[1]}

    def reconstructed(self, size, items):
        """The figures of reconstructions, which also explain variance of the items."""
        explained = ExplainedVariance()
        for start in range(0, len(items), _ROWS):
            explained.update_state(self.items[start : start + _ROWS], items[start : start + _ROWS])
        return {**self.restored(size, items), "explained_variance": float(explained.result())}

    def coded(self, size, items, queries, known):
        """The figures of items and queries that are codes."""
        return {"bytes": size, **self._search(*map(self._rows, (items, queries, known)))[1]}

    def _rows(self, x):
        return None if x is None else unit_rows(x)

    def _search(self, items, queries, known):
        """The items found for each query, by rank, and the figures."""
        found, same = [], []
        for scores, rows in scores_of(queries, items, self.own):
            found.append(largest(scores, self.most))
            if self.labels is not None:
                scores[:, self.labels < 0] = -np.inf
                same.append(self.labels[scores.argmax(axis=1)] == self.query_labels[rows])
        found = np.concatenate(found)
        wanted = self.wanted
        figures = {} if wanted is None else {f"recall_{n}": recall(found[:, :n], wanted[:, :n]) for n in self.neighbours}
        if same and (self.query_labels >= 0).any():
            figures["accuracy"] = float(np.concatenate(same)[self.query_labels >= 0].mean())
        if known is not None:
            ranks = min(_RANKS, self.most)
            lists = np.concatenate([largest(scores, ranks) for scores, _ in scores_of(known, items)])
            figures["ndcg_10"] = ndcg(lists, self.relevant)
        return found, figures


def _relevances(given, test, among, before):
    """Queries with known answers, and the items that answer them `(m, most)`; or twice None."""
    if isinstance(given, str | Path):
        if not str(given):
            return None, None
        path = Path(given).expanduser()
        if not path.is_file():
            raise ValueError(f"`relevances` is the path of a .npz file. Received: {str(given)!r}, which does not exist.")
        with np.load(path, allow_pickle=False) as file:
            if missing := {"queries", "relevant"} - set(file.files):
                raise ValueError(
                    f"A file of `relevances` has the arrays 'queries' and 'relevant'. Received: {str(given)!r} without "
                    f"{', '.join(sorted(missing))}. {nearest(sorted(missing)[0], file.files)}"
                )
            given = file["queries"], file["relevant"]
    queries, relevant = as_input(given[0]), np.asarray(given[1])
    relevant = relevant[:, None] if relevant.ndim == 1 else relevant
    if among == "train":
        raise ValueError('`relevances` are rows of `test`, which are not searched. Received: among="train".')
    if queries.shape[1:] != test.shape[1:] or relevant.shape[:-1] != queries.shape[:1]:
        raise ValueError(
            f"`relevances` holds queries of shape (m, {', '.join(map(str, test.shape[1:]))}) and relevant items of shape (m,) "
            f"or (m, most). Received: queries of shape {queries.shape}, relevant of shape {relevant.shape}."
        )
    if not np.issubdtype(relevant.dtype, np.integer) or relevant.max() >= len(test) or (relevant < 0).all(axis=1).any():
        raise ValueError(
            f"Each query of `relevances` needs a relevant item, a row of the {len(test):,} test inputs; -1 fills. "
            f"Received: {relevant.dtype} with a maximum of {relevant.max()}, and {(relevant < 0).all(axis=1).sum()} rows "
            "without an item."
        )
    return queries, np.where(relevant < 0, -1, relevant + before)


def _section(figures, options, metadata):
    noun = noun_of(metadata["input_shape"], metadata["data"])
    recalls = sorted((key for key in figures["code"] if key.startswith("recall_")), key=_number)
    columns = [*recalls, *(key for key in _TITLES if key in {**figures["code"], **figures.get("reconstruction", {})})]
    header = ("stored as", "bytes", *(_TITLES.get(key) or key.replace("_", "@") for key in columns))
    lines = [f"### Search: {figures['queries']:,} test {noun}s among {figures['items']:,} items", ""]
    rows = [_cells(way, figures[way], columns) for way in ("dense", *_OWN_SIZE)]
    for name, group in _groups(figures).items():
        rows += [_cells(way, group[way], columns, name) for way in ("code", "reconstruction", *_EQUAL) if way in group]
    times = figures["milliseconds"]
    text = (
        "Recall: the share of the true nearest neighbours, by cosine, that are found. "
        f"{'Accuracy: how often the nearest item has the label of the query. ' if 'accuracy' in columns else ''}"
        "An entry of a code takes 2 bytes for its index and 2 for its value. PCA, product quantisation and scales are fitted "
        "to training data."
    )
    speed = (
        f"One query takes {times['inverted_index']:.2f} ms by an inverted index of the codes (SciPy) and {times['dense']:.2f} "
        f"ms by the product with all vectors; of many queries in one product, {times['inverted_index_batch']:.2f} and "
        f"{times['dense_batch']:.2f} ms each."
    )
    return [*lines, *table(header, rows), "", text, "", speed, ""]


_TITLES = {"accuracy": "1-NN accuracy", "ndcg_10": "NDCG@10", "explained_variance": "explained variance"}


def _groups(figures):
    """The figures at the bytes of each code, the code itself first."""
    return {"": figures, **{key: figures[key] for key in sorted((key for key in figures if key.startswith("k_")), key=_number)}}


def _number(key):
    return int(key.rsplit("_", 1)[1])


def _cells(way, figures, columns, name=""):
    words = _NAMES[way] + (f", {name.removeprefix('k_')} entries" if name and way in ("code", "reconstruction") else "")
    return words, f"{figures['bytes']:.0f}", *(f"{figures[key]:.3f}" if key in figures else "" for key in columns)


def _paths(options):
    ways = ("code", "reconstruction", *_EQUAL)
    kinds = [f"recall_{n}" for n in options.get("neighbours", (10, 100))] + ["accuracy", "ndcg_10", "bytes"]
    groups = ["", *(f"k_{k}." for k in options.get("k", ()))]
    return tuple(
        [f"{way}.{kind}" for way in ("dense", *_OWN_SIZE) for kind in kinds]
        + [f"{group}{way}.{kind}" for group in groups for way in ways for kind in kinds]
        + [f"{group}reconstruction.explained_variance" for group in groups]
    )


SUITE = Suite(
    retrieval,
    _section,
    unit="",
    higher_is_better=True,
    baselines=("dense", *_OWN_SIZE, *_EQUAL),
    choices=frozenset({"milliseconds", "product_quantisation"}),  # times, and k-means of a package that may be missing
    added=frozenset({"explained_variance"}),
    agrees=within(dict.fromkeys(("recall_10", "recall_100", "accuracy", "ndcg_10"), 0.005) | {"explained_variance": 0.001}),
    figures=_paths,
    needs_sklearn=lambda options: True,
)
