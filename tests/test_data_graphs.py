"""Graphs from pickles: unpickler and loaders on tiny sets made here; then the real files, if present."""

from __future__ import annotations

import hashlib
import pickle
import pickletools
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import yaml

from repro.data import nell, planetoid, unpickle
from repro.data.fetch import require
from repro.data.pointers import listing_md5
from repro.errors import DataCorrupt, DataUnavailable

PROJECT = Path(__file__).resolve().parents[1]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


# The unpickler


def python2(value: object) -> bytes:
    """Pickle as Python 2 with old numpy and scipy did: `str` for bytes, modules under their old paths."""
    content = bytearray(pickle.dumps(value, protocol=3))
    for opcode, _, position in pickletools.genops(bytes(content)):
        if opcode.name in ("SHORT_BINBYTES", "BINBYTES"):  # same layout, other letter
            content[position] = ord("U" if opcode.name == "SHORT_BINBYTES" else "T")
    text = bytes(content).replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    return text.replace(b"cscipy.sparse._csr\n", b"cscipy.sparse.csr\n").replace(
        b"cbuiltins\n", b"c__builtin__\n"
    )


def read(tmp_path: Path, content: bytes):
    path = tmp_path / "file"
    path.write_bytes(content)
    return unpickle.load(path, md5(content))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int32).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        np.array([[1.5, -2]], dtype=np.float32),
        np.array([1e300, 0.1], dtype=">f8"),
        np.zeros((0, 4), dtype=np.float64),
        np.arange(300, dtype=np.int32),
    ],
    ids=lambda a: f"{a.dtype}{a.shape}",
)
def test_arrays_are_read(tmp_path: Path, array: np.ndarray) -> None:
    found = read(tmp_path, python2(array))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=")
    found[...] = 0  # an array of one's own, not a view of the file's bytes


def test_sparse_matrices_and_neighbour_lists_are_read(tmp_path: Path) -> None:
    matrix = sp.csr_matrix(np.array([[0, 2.0, 0], [1, 0, 3]], dtype=np.float32))
    found = read(tmp_path, python2(matrix))
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())
    graph = read(tmp_path, python2(defaultdict(list, {0: [1, 1], 1: [0]})))
    assert graph == {0: [1, 1], 1: [0]}
    with pytest.raises(KeyError):
        graph[7]  # a defaultdict would have made up a node


def attacks(tmp_path: Path) -> dict[str, bytes]:
    """Pickles that would create `tmp_path/owned` or reach for more than the Planetoid files need."""
    target = str(tmp_path / "owned").encode()
    call = b"(V" + target + b"\nVw\ntR."
    return {
        "os.system": b"cos\nsystem\n(Vtouch " + target + b"\ntR.",
        "builtins.open": b"cbuiltins\nopen\n" + call,
        "__builtin__.open": b"c__builtin__\nopen\n" + call,
        "__builtin__.eval": b"c__builtin__\neval\n(Vopen(" + repr(target.decode()).encode() + b",'w')\ntR.",
        "builtins.getattr": b"cbuiltins\ngetattr\n(cnumpy\nndarray\nVtofile\ntR.",
        "numpy.load": b"cnumpy\nload\n(V" + target + b"\ntR.",
        "numpy.testing": b"cnumpy.testing._private.utils\nrunstring\n(Vopen('x','w')\n}tR.",
        "scipy.sparse.csr.np.load": b"\x80\x04\x8c\x10scipy.sparse.csr\x8c\x07np.load\x93.",
        "numpy.ndarray.tofile": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        "collections.OrderedDict": b"ccollections\nOrderedDict\n(tR.",
        "INST": b"(Vtouch " + target + b"\nios\nsystem\n.",
    }


@pytest.mark.parametrize("name", list(attacks(Path())))
def test_other_globals_are_refused_and_nothing_runs(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataCorrupt, match="nothing was run") as caught:
        read(tmp_path, attacks(tmp_path)[name])
    assert str(tmp_path / "file") in str(caught.value)
    assert name in str(caught.value) or name in ("INST", "numpy.testing")
    assert not (tmp_path / "owned").exists()


def test_md5_is_checked_before_a_byte_is_read_as_pickle(tmp_path: Path) -> None:
    path = tmp_path / "ind.x"
    good = python2(np.arange(3))
    for bad in (attacks(tmp_path)["os.system"], good[:-4], good + b"x"):
        path.write_bytes(bad)
        with pytest.raises(DataCorrupt) as caught:
            unpickle.load(path, md5(good))
        assert all(part in str(caught.value) for part in (str(path), md5(good), md5(bad)))
    assert not (tmp_path / "owned").exists()
    with pytest.raises(DataUnavailable, match="absent"):
        unpickle.load(tmp_path / "absent", md5(good))


def out_of_bounds() -> sp.csr_matrix:
    matrix = sp.csr_matrix(np.eye(3, dtype=np.float32))
    matrix.indices[1] = 1_000_000
    return matrix


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        python2(np.arange(3))[:-10],
        python2(np.array(["a"], dtype="S1")),
        python2(np.array([None], dtype=object)),
        python2(out_of_bounds()),
        python2({"a": [1]}),
        python2({1: ["a"]}),
        python2([1, 2]),
        python2(np.arange(3)).replace(b"K\x03\x85", b"K\x63\x85"),
        b"P7\n.",
        b"cnumpy\nndarray\n.",
        b"cscipy.sparse.csr\ncsr_matrix\n(N}Vbuild\nc__builtin__\nlist\nstb)\x81.",
    ],
)
def test_malformed_pickles_are_refused_with_the_file_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DataCorrupt, match=str(tmp_path / "file")):
        read(tmp_path, content)
    assert read(tmp_path, python2(np.arange(3))).tolist() == [0, 1, 2], (
        "a bad file must not spoil the next one"
    )


# The Planetoid format, on 8 nodes: train 0-1, validation 2-3, test 7 4 6 in that order, 5 missing

GRAPH = {0: [1, 1, 2], 1: [0, 0], 2: [0, 2], 3: [5], 4: [7], 5: [3], 6: [7], 7: [4, 6]}
EDGES = {(0, 1), (0, 2), (3, 5), (4, 7), (6, 7)}
ALLX = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]], dtype=np.float32)
TX = np.array([[7, 0, 0], [4, 0, 0], [0, 0, 6]], dtype=np.float32)


def planetoid_files(prefix: str, **changes: bytes) -> dict[str, bytes]:
    ally, ty = np.eye(3, dtype=np.int32)[[0, 1, 2, 0]], np.eye(3, dtype=np.int32)[[2, 1, 0]]
    parts = {
        "x": python2(sp.csr_matrix(ALLX[:2])),
        "y": python2(ally[:2]),
        "tx": python2(sp.csr_matrix(TX)),
        "ty": python2(ty),
        "allx": python2(sp.csr_matrix(ALLX)),
        "ally": python2(ally),
        "graph": python2(defaultdict(list, GRAPH)),
        "test_index": b"7\n4\n6\n",
    } | changes
    return {f"ind.{prefix}.{part.replace('_', '.')}": content for part, content in parts.items()}


def made(root: Path, data_set: str, files: dict[str, bytes]) -> Path:
    """A project in which the set is present."""
    folder = root / "data" / data_set
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    entries = [{"path": name, "md5": md5(content)} for name, content in files.items()]
    out = {"md5": listing_md5((e["path"], e["md5"]) for e in entries), "path": data_set}
    pointer = yaml.safe_dump({"outs": [out], "meta": {"files": entries}})
    (root / "data" / f"{data_set}.dvc").write_text(pointer)
    return root


def test_planetoid_puts_every_row_where_its_node_is(tmp_path: Path) -> None:
    graph = planetoid.load("citeseer", made(tmp_path, "planetoid", planetoid_files("citeseer")))
    assert (graph.num_nodes, graph.num_edges, graph.num_classes) == (8, 5, 3)
    dense = graph.adjacency.toarray()
    assert {(i, j) for i, j in np.argwhere(dense).tolist() if i < j} == EDGES
    assert (dense == dense.T).all()
    assert set(np.unique(dense)) == {0, 1}
    assert graph.adjacency.diagonal().tolist() == [0, 0, 1, 0, 0, 0, 0, 0], "the self-loop is kept as listed"
    assert graph.labels.tolist() == [0, 1, 2, 0, 1, -1, 0, 2]
    assert graph.labels.dtype == np.int64
    expected = np.zeros((8, 3))
    expected[:4], expected[[7, 4, 6]] = ALLX, TX
    np.testing.assert_array_equal(graph.features.toarray(), expected)
    assert graph.features.dtype == graph.adjacency.dtype == np.float32
    assert (graph.train.tolist(), graph.val.tolist(), graph.test.tolist()) == ([0, 1], [2, 3], [4, 6, 7])
    assert graph.raw == planetoid.RawCounts(endpoints=13, duplicates=2, self_loop_nodes=1)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"test_index": b"7\n4\n4\n"}, "test.index"),
        ({"test_index": b"7\n4\n2\n"}, "test.index"),
        ({"test_index": b"7\nfour\n6\n"}, "test.index"),
        ({"test_index": b""}, "test.index"),
        ({"test_index": b"7\n4\n"}, "ty"),
        ({"ty": python2(np.eye(3, dtype=np.int32)[:1])}, "ty"),
        ({"ally": python2(np.eye(3, dtype=np.int32))}, "ally"),
        ({"tx": python2(sp.csr_matrix(TX[:, :2]))}, "tx"),
        ({"allx": python2(ALLX)}, "allx"),
        ({"y": python2(np.arange(3))}, "y"),
        ({"graph": python2({-1: [0], 0: [-1]})}, "graph"),
        ({"graph": python2(ALLX)}, "graph"),
    ],
)
def test_planetoid_files_that_do_not_fit_are_named(
    tmp_path: Path, changes: dict[str, bytes], part: str
) -> None:
    root = made(tmp_path, "planetoid", planetoid_files("cora", **changes))
    with pytest.raises(DataCorrupt, match=rf"ind\.cora\.{part}"):
        planetoid.load("cora", root)


def test_planetoid_altered_absent_or_unknown(tmp_path: Path) -> None:
    root = made(tmp_path, "planetoid", planetoid_files("cora"))
    with pytest.raises(DataUnavailable, match="cora, citeseer, pubmed"):
        planetoid.load("reddit", root)
    with pytest.raises(DataUnavailable, match=r"ind\.pubmed\.allx"):
        planetoid.load("pubmed", root)
    file = root / "data" / "planetoid" / "ind.cora.allx"
    good = file.read_bytes()
    file.write_bytes(good[:-1])
    with pytest.raises(DataCorrupt) as caught:
        planetoid.load("cora", root)
    assert all(part in str(caught.value) for part in ("ind.cora.allx", md5(good), md5(good[:-1])))


def test_nell_gives_relations_features_of_their_own(tmp_path: Path) -> None:
    files = planetoid_files("nell.0.001")
    complete = nell.load(made(tmp_path / "complete", "nell", files))
    del files["ind.nell.0.001.ally"]
    graph = nell.load(made(tmp_path / "ours", "nell", files))
    assert graph.relations.tolist() == [5]
    assert graph.features.shape == (8, 4)
    assert graph.features.toarray()[:, 3].tolist() == [0, 0, 0, 0, 0, 1, 0, 0]
    assert graph.features.toarray()[7].tolist() == [7, 0, 0, 0]
    assert graph.labels.tolist() == [0, 1, -1, -1, 1, -1, 0, 2]
    assert (graph.known_val_labels, complete.known_val_labels) == (0, 2)
    assert complete.labels.tolist() == [0, 1, 2, 0, 1, -1, 0, 2]
    assert graph.num_edges == complete.num_edges == 5


# The real files


def is_present(name: str) -> bool:
    return (PROJECT / "data" / name).is_dir()


needs_planetoid = pytest.mark.skipif(
    not is_present("planetoid"), reason="needs data/planetoid: repro data fetch planetoid"
)
needs_nell = pytest.mark.skipif(not is_present("nell"), reason="needs data/nell: repro data fetch nell")

FACTS = {
    "cora": {
        "shape": (2708, 1433, 7),
        "edges": 5278,
        "raw": (10858, 302, 0),
        "val": [61, 36, 78, 158, 81, 57, 29],
        "test": [130, 91, 144, 319, 149, 103, 64],
        "majority": 31.9,
        "test_range": (1708, 2707),
        "isolated": 0,
        "components": (78, 2485),
    },
    "citeseer": {
        "shape": (3327, 3703, 6),
        "edges": 4552,
        "raw": (9464, 236, 124),
        "val": [29, 86, 116, 106, 94, 69],
        "test": [77, 182, 181, 231, 169, 160],
        "majority": 23.1,
        "test_range": (2312, 3326),
        "isolated": 48,
        "components": (438, 2120),
    },
    "pubmed": {
        "shape": (19717, 500, 3),
        "edges": 44324,
        "raw": (88676, 25, 3),
        "val": [98, 194, 208],
        "test": [180, 413, 407],
        "majority": 41.3,
        "test_range": (18717, 19716),
        "isolated": 0,
        "components": (1, 19717),
    },
}


@needs_planetoid
@pytest.mark.parametrize("name", planetoid.NAMES)
def test_real_planetoid_facts(name: str) -> None:
    facts, graph = FACTS[name], planetoid.load(name, PROJECT)
    nodes, features, classes = facts["shape"]
    assert (graph.num_nodes, *graph.features.shape, graph.num_classes) == (nodes, nodes, features, classes)
    assert graph.num_edges == facts["edges"]
    raw = graph.raw
    assert (raw.endpoints, raw.duplicates, raw.self_loop_nodes) == facts["raw"]
    assert raw.endpoints - raw.duplicates - raw.self_loop_nodes == 2 * graph.num_edges
    assert (graph.adjacency != graph.adjacency.T).nnz == 0
    assert set(np.unique(graph.adjacency.data)) == {1}

    per_class = {part: np.bincount(graph.labels[getattr(graph, part)]) for part in ("train", "val", "test")}
    assert per_class["train"].tolist() == [20] * classes
    assert per_class["val"].tolist() == facts["val"]
    assert per_class["test"].tolist() == facts["test"]
    assert per_class["test"].max() / 10 == facts["majority"]
    assert (graph.test.min(), graph.test.max()) == facts["test_range"]
    assert len(np.unique(np.concatenate([graph.train, graph.val, graph.test]))) == 20 * classes + 1500

    loopless = graph.adjacency - sp.diags(graph.adjacency.diagonal())
    assert np.count_nonzero(loopless.sum(axis=1) == 0) == facts["isolated"]
    count, component = sp.csgraph.connected_components(loopless, directed=False)
    assert (count, np.bincount(component).max()) == facts["components"]


@needs_planetoid
def test_real_citeseer_missing_nodes() -> None:
    graph = planetoid.load("citeseer", PROJECT)
    missing = np.flatnonzero(graph.labels < 0)
    assert missing.tolist() == [
        2407, 2489, 2553, 2682, 2781, 2953, 3042, 3063, 3212, 3214, 3250, 3292, 3305, 3306, 3309,
    ]  # fmt: skip
    assert graph.features[missing].nnz == 0
    degree = np.asarray(graph.adjacency.sum(axis=1)).ravel()[missing]
    assert degree.tolist() == [2 if node == 3212 else 1 for node in missing]
    assert graph.adjacency.diagonal()[missing].sum() == 0


@needs_planetoid
@pytest.mark.parametrize("name", planetoid.NAMES)
def test_real_planetoid_agrees_with_pyg(name: str) -> None:
    pyg = pytest.importorskip("torch_geometric.io.planetoid")
    theirs = pyg.read_planetoid_data(str(require("planetoid", PROJECT)), name)
    ours = planetoid.load(name, PROJECT)
    loopless = (ours.adjacency - sp.diags(ours.adjacency.diagonal())).tocoo()
    edges = set(
        zip(loopless.row[loopless.data > 0].tolist(), loopless.col[loopless.data > 0].tolist(), strict=True)
    )
    assert edges == set(map(tuple, theirs.edge_index.t().tolist()))
    np.testing.assert_array_equal(ours.features.toarray(), theirs.x.numpy())
    np.testing.assert_array_equal(np.maximum(ours.labels, 0), theirs.y.numpy())
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(ours, part), np.flatnonzero(theirs[f"{part}_mask"].numpy()))


@needs_nell
def test_real_nell_facts() -> None:
    graph = nell.load(PROJECT)
    assert graph.features.shape == (65755, 61278)
    assert (graph.num_nodes, graph.num_edges, graph.num_classes) == (65755, 125775, 210)
    assert graph.raw.endpoints == 2 * 266144, "the paper's edge count is endpoints / 2, duplicates included"
    assert len(graph.relations) == 55864
    assert (len(graph.train), len(graph.val), len(graph.test)) == (105, 500, 969)
    assert graph.known_val_labels == 0
    assert (graph.labels[np.concatenate([graph.train, graph.test])] >= 0).all()
    assert np.count_nonzero(graph.labels >= 0) == 105 + 969
