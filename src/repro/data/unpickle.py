"""Read the Planetoid pickles without running them.

A pickle is a program: each global it names is fetched and may be called. Here the six globals that the files
name are mapped to inert stand-ins, every other one is refused unseen, and the arrays are built afterwards
from the plain values found. So no code of the file's choosing runs, scipy's and numpy's moved module paths do
not matter, and malformed arrays are caught before compiled code meets them.
"""

from __future__ import annotations

import io
import math
import pickle
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import scipy.sparse as sp

from repro.data.pointers import read_checked
from repro.errors import DataCorrupt

Content: TypeAlias = np.ndarray | sp.csr_matrix | dict[int, list[int]]

_DTYPES = ("i4", "i8", "f4", "f8")


def load(path: Path, expected_md5: str) -> Content:
    """The content of one Planetoid pickle: a dense array, a csr matrix or a dict of neighbour lists.

    The md5 is checked first, on the very bytes that are then read. Raises `DataUnavailable` if there is no
    such file and `DataCorrupt` if its bytes are others, name a global that is not allowed, or hold anything
    else.
    """
    content = read_checked(path, expected_md5)
    try:
        value = _Unpickler(content, path).load()
        return _build(value)
    except DataCorrupt:
        raise
    except Exception as error:  # a broken pickle can fail in any way
        raise DataCorrupt(f"{path}: not a Planetoid pickle ({type(error).__name__}: {error})") from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, content: bytes, path: Path) -> None:
        super().__init__(io.BytesIO(content), fix_imports=False, encoding="latin1")
        self._path = path
        self._allowed = _stand_ins()

    def find_class(self, module: str, name: str) -> Any:
        """Look the global up in the table; nothing is imported, and dotted names are in no table."""
        try:
            return self._allowed[module, name]
        except KeyError:
            raise DataCorrupt(
                f"{self._path}: refused: it names the global {f'{module}.{name}'!r}, which no Planetoid file "
                "needs; nothing was run"
            ) from None


class _Part:
    """Marks the stand-ins' instances, so that `_build` finds them."""


def _stand_ins() -> dict[tuple[str, str], Any]:
    """The allow-list; made anew for each file, as a pickle may set attributes on what it is given."""

    class Dtype(_Part):
        def __init__(self, code: str, align: int = 0, copy: int = 0) -> None:
            self.code, self.order = code, "<"

        def __setstate__(self, state: tuple) -> None:
            self.order = state[1]

        def build(self) -> np.dtype:
            if self.code not in _DTYPES or self.order not in ("<", ">"):
                raise ValueError(f"dtype {self.order}{self.code} is none of {', '.join(_DTYPES)}")
            return np.dtype(self.order + self.code)

    class Array(_Part):
        state: tuple = ()

        def __setstate__(self, state: tuple) -> None:
            self.state = state

        def build(self) -> np.ndarray:
            _, shape, dtype, fortran, raw = self.state
            content = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2 wrote bytes as str
            if not isinstance(content, bytes):
                raise ValueError(f"array content is a {type(content).__name__}")
            kind = dtype.build()
            if len(content) != math.prod(shape) * kind.itemsize:
                raise ValueError(f"{len(content)} bytes do not fill an array of shape {shape}, {kind}")
            array = np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")
            return array.astype(kind.newbyteorder("="))

    class Csr(_Part):
        def build(self) -> sp.csr_matrix:
            state = vars(self)
            data, indices, indptr = (state[key].build() for key in ("data", "indices", "indptr"))
            matrix = sp.csr_matrix((data, indices, indptr), shape=state["_shape"])
            matrix.check_format(full_check=True)  # an index out of bounds would crash compiled code
            return matrix

    def reconstruct(kind: object, shape: object, code: object) -> Array:
        return Array()

    def mapping(factory: object = None) -> dict:
        return {}  # a plain dict: looking up an absent node must fail, not create it

    return {
        ("numpy.core.multiarray", "_reconstruct"): reconstruct,
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): Dtype,
        ("scipy.sparse.csr", "csr_matrix"): Csr,
        ("collections", "defaultdict"): mapping,
        ("__builtin__", "list"): list,
    }


def _build(value: Any) -> Content:
    if isinstance(value, _Part) and hasattr(value, "build"):
        built = value.build()
        if isinstance(built, np.ndarray | sp.csr_matrix):
            return built
    if isinstance(value, dict):
        whole = all(type(key) is int and type(near) is list for key, near in value.items())
        if whole and all(type(node) is int for near in value.values() for node in near):
            return value
        raise ValueError("a dict, but not of lists of node numbers")
    raise ValueError(f"a {type(value).__name__} rather than an array, a csr matrix or a dict of lists")
