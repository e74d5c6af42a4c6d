"""The rows that a rule judges, and the inner products between them, made once for all who need them.

A step before the rule only scales and mixes rows. So the products of what it makes follow from those of the deltas, and
a rule that weighs whole rows needs no more than these; rows are made only for rules that look at single entries.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from neurogrid.fl.threads import over_cores
from neurogrid.fl.update import Floats, Matrix

BLOCK_COLUMNS, TILE_ROWS = 4096, 256
"""Columns handled at once, so that no copy of all deltas is ever made; and rows of a tile of the Gram matrix."""


def gram(deltas: Matrix) -> Floats:
    """(n, n) float64, inner products of rows. Time O(n^2 d); memory O(n^2), and a block of columns for each core."""
    n, d = deltas.shape
    found = np.empty((n, n))

    def make(tile: tuple[int, int]) -> None:
        one, other = (slice(start, start + TILE_ROWS) for start in tile)
        total: Floats | float = 0.0
        for start in range(0, d, BLOCK_COLUMNS):
            columns = slice(start, start + BLOCK_COLUMNS)
            left = deltas[one, columns].astype(np.float64)
            right = left if one == other else deltas[other, columns].astype(np.float64)
            total = total + left @ right.T
        found[one, other] = total
        found[other, one] = found[one, other].T

    starts = range(0, n, TILE_ROWS)
    over_cores(make, [(i, j) for i in starts for j in starts if i <= j], n)
    return found


class _Products:
    """Of some deltas, made when somebody first asks."""

    def __init__(self, deltas: Matrix) -> None:
        self.deltas = deltas

    @cached_property
    def gram(self) -> Floats:
        return gram(self.deltas)

    @cached_property
    def squares(self) -> Floats:
        if "gram" in self.__dict__:
            return np.diag(self.gram).copy()
        squares = np.empty(len(self.deltas))

        def measure(start: int) -> None:
            rows = self.deltas[start : start + 4].astype(np.float64)
            squares[start : start + 4] = np.einsum("ij,ij->i", rows, rows)

        over_cores(measure, range(0, len(self.deltas), 4), len(self.deltas))
        return squares

    def only(self, kept: npt.NDArray[np.intp], deltas: Matrix) -> "_Products":
        left = _Products(deltas)
        if "gram" in self.__dict__:
            left.__dict__["gram"] = self.gram[np.ix_(kept, kept)]
        return left


@dataclass(frozen=True, eq=False)
class Rows:
    """m rows to judge: `mixing @ (scale * deltas)`.

    Attributes:
        deltas: (n, d) float32, one row an agent; nobody writes to it.
        products: of the deltas, shared by all rows that are made of them.
        scale: (n,), by how much each delta was shortened; None is 1 each.
        mixing: (m, n), rows that sum to 1; None where a row is an agent's own.
    """

    deltas: Matrix
    products: _Products
    scale: Floats | None = None
    mixing: Floats | None = None

    @classmethod
    def of(cls, deltas: "Matrix | Rows") -> "Rows":
        """The deltas as they are."""
        return deltas if isinstance(deltas, Rows) else cls(deltas, _Products(deltas))

    def __len__(self) -> int:
        return len(self.deltas) if self.mixing is None else len(self.mixing)

    def shortened(self, factors: Floats) -> Self:
        """Each of n deltas times its factor; before any mixing."""
        assert self.mixing is None
        return type(self)(self.deltas, self.products, factors if self.scale is None else self.scale * factors)

    def mixed(self, mixing: Floats) -> Self:
        """Mixtures of these rows, (k, m)."""
        with threadpool_limits(1, user_api="blas"):
            whole = mixing if self.mixing is None else mixing @ self.mixing
        return type(self)(self.deltas, self.products, self.scale, whole)

    def only(self, kept: npt.NDArray[np.intp], deltas: Matrix) -> Self:
        """Some of the deltas, given with their products as far as these are known; before any scaling or mixing."""
        return type(self)(deltas, self.products.only(kept, deltas))

    @cached_property
    def gram(self) -> Floats:
        """(m, m), inner products of the rows."""
        found = self.products.gram
        if self.scale is not None:
            found = found * self.scale[:, None] * self.scale
        if self.mixing is None:
            return found
        with threadpool_limits(1, user_api="blas"):
            product: Floats = self.mixing @ found @ self.mixing.T
        return product

    @cached_property
    def squares(self) -> Floats:
        """(m,), squared norms of the rows; without the Gram matrix where there is none yet and nothing is mixed."""
        if self.mixing is not None:
            return np.diag(self.gram).copy()
        return self.products.squares if self.scale is None else self.products.squares * self.scale**2

    @cached_property
    def squared_distances(self) -> Floats:
        """(m, m), squared Euclidean distances between rows."""
        squares = np.diag(self.gram)
        distances: Floats = np.maximum(squares[:, None] + squares - 2 * self.gram, 0)
        np.fill_diagonal(distances, 0)
        return distances

    @cached_property
    def _different(self) -> tuple[Floats, npt.NDArray[np.intp]]:
        # Rows of the same mixture are made once: BLAS sums the rows of a product in different ways, and rows that
        # differ in their last bits alone would not share the places of a trimmed mean, but win or lose them by chance.
        assert self.mixing is not None
        different, which = np.unique(self.mixing, axis=0, return_inverse=True)
        return (different if self.scale is None else different * self.scale), which.ravel()

    def block(self, columns: slice) -> Matrix:
        """(m, columns) float32, those columns of the rows."""
        deltas = self.deltas[:, columns]
        if self.mixing is not None:
            different, which = self._different
            with np.errstate(over="ignore"):
                mixed: Matrix = (different @ deltas.astype(np.float64)).astype(np.float32)
            return np.take(mixed, which, axis=0)
        if self.scale is not None:
            return (deltas * self.scale[:, None]).astype(np.float32)
        return np.ascontiguousarray(deltas)

    def of_agents(self, of_rows: Floats) -> Floats:
        """(..., n) weights of agents that come of (..., m) weights of rows; their sum stays."""
        return of_rows if self.mixing is None else np.einsum("...m,mn->...n", of_rows, self.mixing)

    def of_rows(self, of_agents: Floats) -> Floats:
        """(..., m) the mean, in each row, of what (..., n) agents have."""
        return of_agents if self.mixing is None else np.einsum("mn,...n->...m", self.mixing, of_agents)

    def seen_by_agents(self, of_rows: Floats) -> Floats:
        """(n,) the mean of a figure over the rows that an agent is part of, by its part in each; NaN where in none."""
        if self.mixing is None:
            return of_rows
        parts = self.mixing.sum(axis=0)
        seen: Floats = np.divide(self.of_agents(of_rows), parts, out=np.full(len(parts), np.nan), where=parts > 0)
        return seen


Judged = Matrix | Rows
"""What a rule takes: (n, d) float32, or rows."""
Step = Callable[[Rows, int], Rows]
"""What goes before a rule; see steps.py."""
