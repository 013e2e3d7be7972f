"""Class maps into marks: enlargement against torch, peaks against a slow search, regions, coordinates."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cxrvl.evaluation.marks import MarkOptions, enlarge, find_marks

CASES = st.integers(0, 10_000).map(np.random.default_rng)


@pytest.mark.parametrize("shape", [(7, 7), (14, 9), (1, 3), (70, 80)])
def test_enlargement_is_torchs_bilinear_and_keeps_every_cell(shape):
    maps = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
    large = enlarge(maps, MarkOptions())
    factors = [new // old for new, old in zip(large.shape[1:], shape, strict=True)]
    assert all(factor % 2 == 1 for factor in factors)
    assert min(large.shape[1:]) >= 64
    expected = torch.nn.functional.interpolate(torch.tensor(maps)[None], size=large.shape[1:], mode="bilinear")[0]
    assert large == pytest.approx(expected.numpy(), abs=1e-5)
    centres = large[:, factors[0] // 2 :: factors[0], factors[1] // 2 :: factors[1]]
    assert centres == pytest.approx(maps, abs=1e-6)


def slow_marks(plane, options):
    """Highest cell, forget its neighbourhood, repeat: only cells that nothing within reach exceeds are peaks."""
    height, width = plane.shape
    reach = [max(1, round(options.min_separation * side)) for side in plane.shape]
    peaks, taken = [], np.zeros(plane.shape, dtype=bool)
    order = sorted(np.ndindex(height, width), key=lambda cell: -plane[cell])
    for row, column in order:
        rows = slice(max(0, row - reach[0]), row + reach[0] + 1)
        columns = slice(max(0, column - reach[1]), column + reach[1] + 1)
        is_peak = plane[row, column] >= plane[rows, columns].max()
        if is_peak and not taken[row, column] and (not peaks or plane[row, column] > np.median(plane)):
            peaks.append((plane[row, column], (column + 0.5) / width, (row + 0.5) / height))
            taken[rows, columns] = True
    return peaks[: options.max_marks]


@settings(max_examples=15, deadline=None)
@given(CASES, st.sampled_from([0.0, 0.7]))
def test_peaks_equal_a_slow_search(rng, smoothing):
    options = MarkOptions(max_marks=4, smoothing=smoothing, resolution=21, min_separation=0.15)
    maps = rng.normal(size=(5, 7, 7)).astype(np.float32)
    found, large = find_marks(maps, options), enlarge(maps, options)
    for number, plane in enumerate(large):
        expected = slow_marks(plane, options)
        count = int(np.isfinite(found.rating[number]).sum())
        assert count == len(expected)
        got = np.stack([found.rating[number], found.x[number], found.y[number]], axis=1)[:count]
        # cells of the border repeat their neighbours: among equals the most central is taken, so ratings decide
        assert got[:, 0] == pytest.approx([peak[0] for peak in expected], abs=1e-6)
        for rating, x, y in got:
            assert plane[int(y * 21), int(x * 21)] == rating


def test_the_highest_mark_is_the_maximum_of_the_map_at_its_cell():
    maps = np.zeros((2, 14, 14), dtype=np.float32)
    maps[0, 3, 9], maps[0, 10, 2], maps[1, 0, 13] = 5.0, 4.0, 2.0
    found = find_marks(maps, MarkOptions())
    assert found.rating[0, :2].tolist() == [5.0, 4.0]
    assert (found.x[0, 0], found.y[0, 0]) == pytest.approx((9.5 / 14, 3.5 / 14))
    assert (found.x[0, 1], found.y[0, 1]) == pytest.approx((2.5 / 14, 10.5 / 14))
    assert (found.x[1, 0], found.y[1, 0]) == pytest.approx((13.5 / 14, 0.5 / 14))


def test_a_flat_map_is_marked_in_its_middle_and_wholly():
    found = find_marks(np.full((1, 7, 7), -3.0, dtype=np.float32), MarkOptions())
    assert found.rating[0, 0] == -3
    assert (found.x[0, 0], found.y[0, 0]) == pytest.approx((0.5, 0.5), abs=0.01)
    assert found.region[0, 0] == pytest.approx([0, 0, 1, 1])


def test_a_region_is_the_connected_part_around_its_own_peak():
    maps = np.zeros((1, 9, 9), dtype=np.float32)
    maps[0, 1:4, 1:3], maps[0, 6:8, 6:9] = 4.0, 2.0
    found = find_marks(maps, MarkOptions(resolution=9, max_marks=2, min_separation=0.3))
    assert found.region[0, 0] == pytest.approx(np.array([1, 1, 3, 4]) / 9)
    assert found.region[0, 1] == pytest.approx(np.array([6, 6, 9, 8]) / 9)


@settings(max_examples=10, deadline=None)
@given(CASES)
def test_regions_equal_one_labelling_per_map(rng):
    options = MarkOptions(resolution=15)
    maps = rng.normal(size=(6, 5, 5)).astype(np.float32)
    found, large = find_marks(maps, options), enlarge(maps, options)
    for number, plane in enumerate(large):
        for rank in np.flatnonzero(np.isfinite(found.rating[number])):
            base = np.median(plane)
            level = base + np.float32(0.5) * (found.rating[number, rank] - base)
            parts, _ = ndimage.label(plane >= level)
            row, column = int(found.y[number, rank] * 15), int(found.x[number, rank] * 15)
            rows, columns = np.nonzero(parts == parts[row, column])
            expected = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 15
            assert found.region[number, rank] == pytest.approx(expected)


def test_marks_do_not_depend_on_the_batch():
    maps = np.random.default_rng(0).normal(size=(8, 14, 14)).astype(np.float32)
    whole, alone = find_marks(maps, MarkOptions()), find_marks(maps[5:6], MarkOptions())
    for name in ("rating", "x", "y", "region"):
        assert np.array_equal(getattr(whole, name)[5:6], getattr(alone, name), equal_nan=True)
