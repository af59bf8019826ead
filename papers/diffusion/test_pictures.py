"""MNIST, CIFAR-10, and the Parzen estimate on them."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from papers.diffusion import (
    pictures,
)
from papers.diffusion.conftest import HERE, PICTURES, batch, one
from papers.diffusion.parzen import WIDTHS, estimate, log_likelihood
from repro.data.cifar10 import RECORD, read_batch
from repro.data.mnist import read_idx
from repro.errors import DataCorrupt, DataUnavailable
from repro.project import find_project

# ------------------------------------------------------------------ MNIST and the Parzen estimate


def test_parzen_estimate_is_the_log_of_a_mean() -> None:
    points, samples = torch.rand(8, 4, generator=torch.Generator().manual_seed(0)).split([3, 5])
    found = log_likelihood(points, samples, [0.3, 0.7])
    for row, width in zip(found, (0.3, 0.7), strict=True):
        for point, value in zip(points, row, strict=True):
            densities = [stats.norm.pdf(point.numpy(), s.numpy(), width).prod() for s in samples]
            assert float(value) == pytest.approx(log(np.mean(densities)), rel=1e-4, abs=1e-4)


def test_the_parzen_window_is_chosen_on_held_out_images() -> None:
    """The narrowest for images that lie where samples do, a wider one for others; whatever the test images are."""
    samples = torch.zeros(20, 4)
    near, far = samples + 0.02, samples + 2.0
    assert estimate(samples, near, far, 0, 10, 10)["window"] == WIDTHS[0]
    assert estimate(samples, far, near, 0, 10, 10)["window"] > WIDTHS[0]


IDX = b"\0\0\x08\x02" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes(range(6))


def test_idx_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "good"
    path.write_bytes(IDX)
    np.testing.assert_array_equal(read_idx(path, (2, 3)), [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file: it starts with nothing"),
        (b"\x1f\x8b\x08\0", "a gzip file"),
        (b"PNG!" + IDX, "not an idx file"),
        (IDX[:6], "cut short within its header"),
        (IDX[:-1], "cut short: 17 bytes, expected 18"),
        (IDX + b"\0", "too long"),
        (IDX[:2] + b"\x0d" + IDX[3:], "element type 0x0d"),
        (IDX[:4] + (3).to_bytes(4, "big") + IDX[8:], r"holds an array of \(3, 3\), expected \(2, 3\)"),
    ],
)
def test_damaged_idx_file_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "train-images"
    path.write_bytes(content)
    with pytest.raises(DataCorrupt, match=f"train-images: .*{message}"):
        read_idx(path, (2, 3))


# ------------------------------------------------------------------ CIFAR-10, and the experiment of both


def test_cifar_batch_is_read_plane_by_plane_and_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(batch(3))
    images, labels = read_batch(path, 3)
    assert images.shape == (3, 3, 32, 32)
    assert labels.tolist() == [0, 1, 2]
    assert images[1, :, 0, 0].tolist() == [10, 11, 12]
    assert np.argwhere(images == 200).tolist() == [[i, 0, 2, 5] for i in range(3)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", rf"cut short: 0 bytes, expected {2 * RECORD} \(2 records of {RECORD}\)"),
        (b"\x1f\x8b" + batch(2)[2:], "a gzip file"),
        (batch(2)[:-1], "cut short"),
        (batch(3), "too long"),
        (batch(1) + b"\x0a" + batch(1)[1:], "record 1 has the label 10, expected 0 to 9"),
    ],
)
def test_damaged_cifar_batch_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "test_batch.bin"
    path.write_bytes(content)
    with pytest.raises(DataCorrupt, match=rf"test_batch\.bin: .*{message}"):
        read_batch(path, 2)


def test_cifar_is_missing_by_name(tmp_path: Path) -> None:
    pointer = find_project(Path(__file__).parent).root / "data" / "cifar10.dvc"
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar10.dvc").write_bytes(pointer.read_bytes())
    with pytest.raises(
        DataUnavailable, match=r"cifar10: missing(.|\n)*data_batch_1\.bin(.|\n)*cs\.toronto\.edu"
    ):
        pictures.read("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("dataset", "network", "colours"),
    [("mnist", "dense", 1), ("cifar10", "both", 3), ("cifar10", "multi_scale", 3)],
)
def test_pictures_of_any_size_and_colours_go_the_whole_way(
    small_pictures: None, dataset: str, network: str, colours: int
) -> None:
    rows = one(pictures.pictures_model, **{**PICTURES, "dataset": dataset, "network": network})
    assert [row["entry"] for row in rows] == list(range(2 * colours * 8 * 12))
    assert rows[0]["k_minus_l_null"] - rows[0]["k"] == pytest.approx(colours * 2.0471, abs=1e-4)
    for row in rows:
        assert all(np.isfinite(list(row.values())))
        assert row["k_error"] > 0
        # Inpainting leaves known pixels alone; masked ones are at the mean.
        assert row["masked"] == 0 or row["inpainted"] == row["masked"] == row["original"]


def test_pictures_are_data_of_mean_zero_and_variance_one(small_pictures: None) -> None:
    found = pictures.read("mnist", Path())
    noise = torch.rand(found.train.shape, generator=torch.Generator().manual_seed(0))
    data = found.standardised(found.train, noise)
    assert abs(float(data.mean())) < 0.01
    assert float(data.var(correction=0)) == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(
        found.grey(found.standardised(found.train, torch.tensor(0.5))), found.train / 255, atol=1e-6
    )
    assert len(found.train) + len(found.held_out) == 48


def test_a_seed_of_pictures_does_not_depend_on_its_neighbours(small_pictures: None) -> None:
    together = dict(pictures.pictures_model(PICTURES, [4, 9], HERE))
    assert dict(pictures.pictures_model(PICTURES, [9], HERE))[9] == together[9]
    shown = [[row["original"] for row in together[seed]] for seed in (4, 9)]
    assert np.abs(np.subtract(*shown)).max() > 1, (
        "each seed is to show its own images, not others' with other noise"
    )


def test_training_on_pictures_raises_the_bound(small_pictures: None) -> None:
    short, long = (one(pictures.pictures_model, **{**PICTURES, "steps": n})[0]["k"] for n in (0, 150))
    assert long > short + 0.1
