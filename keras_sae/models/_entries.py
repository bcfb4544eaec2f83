"""The entries that stay in the codes of a batch, as one of several graphs found them."""

from typing import NamedTuple


class Entries(NamedTuple):
    """The entries of the codes of a batch, and what they were selected from.

    Attributes:
        hidden, kernel, bias: What the layer of the code reads, and its weights, in the type that it computes in.
        product: All units, without gradient.
        values, rows, indices: The entries that stay, of shape `(n,)`, in the order of the rows.
    """

    hidden: object
    kernel: object
    bias: object
    product: object
    values: object
    rows: object
    indices: object

    @property
    def layer(self):
        return self[:4]
