"""What the pictures draw is what the catalogue holds: offsets, lines and colours against the rows that were written."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.errors import FeatdexError, NotFoundError, UsageError
from featdex.catalogue.file import create
from featdex.catalogue.plot import read_picture
from featdex.catalogue.plot_cluster import average_linkage, clustered_order, distances
from featdex.catalogue.plot_labels import Labels, place_labels
from featdex.catalogue.plot_percentiles import PERCENTILES, spread_out
from featdex.catalogue.plot_picture import Look, Width
from featdex.catalogue.write import SaeRows, write_sae
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

Written = dict[str, SaeRows]
Array = npt.NDArray[Any]
SLUGS = ["tiny/8-res-jb", "tiny/29-mlp"]
"""In the order of their layers."""


def column(rows: SaeRows, table: str, name: str) -> Array:
    parts = getattr(rows, table)
    return np.asarray(pa.concat_tables(parts if isinstance(parts, list) else [parts])[name].to_numpy())


def of_set(rows: SaeRows, set_name: str, name: str) -> Array:
    """A column of the enrichment of one set, by feature."""
    index = rows.token_sets["name"].to_pylist().index(set_name)
    return np.asarray(rows.enrichment[index][name].to_numpy())


def scatters(figure: Figure, axes: int = 0) -> list[PathCollection]:
    return [drawn for drawn in figure.axes[axes].collections if isinstance(drawn, PathCollection)]


def offsets(figure: Figure) -> Array:
    """All points of the first axes, in an order of their own."""
    points = np.concatenate([np.asarray(drawn.get_offsets()) for drawn in scatters(figure)])
    return points[np.lexsort(points.T)]


def in_order(*columns: Array) -> Array:
    points = np.column_stack([np.asarray(values, dtype=float) for values in columns])
    return points[np.lexsort(points.T)]


def test_skewness_draws_every_feature_with_its_std(catalogue: Catalogue, written: Written) -> None:
    figure = catalogue.plot("skewness")
    want = [
        np.concatenate([column(written[s], "feature", name) for s in SLUGS]) for name in ("skewness", "kurtosis", "std")
    ]
    (drawn,) = scatters(figure)
    points = np.column_stack([np.asarray(drawn.get_offsets()), np.asarray(drawn.get_array())])
    np.testing.assert_allclose(points[np.lexsort(points.T)], in_order(*want), rtol=1e-6)
    assert (figure.axes[0].get_yscale(), drawn.get_rasterized()) == ("log", True)
    only = catalogue.plot("skewness", sae="tiny/8-*")
    want = [column(written[SLUGS[0]], "feature", name) for name in ("skewness", "kurtosis")]
    np.testing.assert_allclose(offsets(only), in_order(*want), rtol=1e-6)


def test_the_edge_of_the_skewness_picture_is_a_bound(catalogue: Catalogue) -> None:
    figure = catalogue.plot("skewness")
    x, y = np.asarray(figure.axes[0].lines[0].get_data())
    two_points = np.array([0.0] * 9 + [1.0])
    z = (two_points - two_points.mean()) / two_points.std()
    assert np.interp((z**3).mean(), x, y) == pytest.approx((z**4).mean(), rel=1e-3)
    points = offsets(figure)
    assert (points[:, 1] >= np.interp(points[:, 0], x, y) - 1e-3).all()


def test_features_without_a_skewness_are_told(scratch: Path) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("UPDATE feature SET skewness = NULL, kurtosis = NULL WHERE sae_id = 1 AND feature < 5")
    with connect(scratch) as catalogue:
        picture = read_picture(catalogue, "skewness")
    assert picture.source.notes == ["5 features without a skewness, such as decoder rows of zeros, are left out"]


def benjamini_hochberg(log10_p: Array, q: float) -> tuple[Array, float]:
    """Which tests are called, and -log10 of the largest p that would have been."""
    order = np.argsort(log10_p)
    bounds = np.log10(q * np.arange(1, len(order) + 1) / len(order))
    passing = np.flatnonzero(log10_p[order] < bounds)
    k = int(passing.max()) + 1 if len(passing) else 0
    called = np.zeros(len(order), dtype=bool)
    called[order[:k]] = True
    return called, float(-np.log10(q * max(k, 1) / len(order)))


@pytest.mark.parametrize("q", [0.05, 1e-3])
def test_manhattan_is_the_p_of_every_feature_and_the_threshold_is_that_of_q(
    catalogue: Catalogue, written: Written, q: float
) -> None:
    figure = catalogue.plot("manhattan", set_name="boys_names", q=q, n=3)
    p = [of_set(written[slug], "boys_names", "log10_p") for slug in SLUGS]
    z = np.concatenate([of_set(written[slug], "boys_names", "z") for slug in SLUGS])
    np.testing.assert_allclose(offsets(figure), in_order(np.arange(592), -np.concatenate(p)), atol=1e-5)
    truth = [benjamini_hochberg(values, q) for values in p]
    called = np.concatenate([calls for calls, _ in truth])
    places = [set(np.asarray(drawn.get_offsets())[:, 0].astype(int)) for drawn in scatters(figure)]
    wanted = [set(np.flatnonzero(chosen)) for chosen in (~called, called & (z > 0), called & (z < 0))]
    assert places == [*wanted]
    (lines,) = [drawn for drawn in figure.axes[0].collections if isinstance(drawn, LineCollection)]
    segments = [np.asarray(segment) for segment in lines.get_segments()]
    np.testing.assert_allclose([segment[0, 1] for segment in segments], [line for _, line in truth], rtol=1e-6)
    assert [segment[:, 0].tolist() for segment in segments] == [[0, 12], [12, 592]]
    for calls, values, (_, line) in zip((truth[0][0], truth[1][0]), p, truth, strict=True):
        np.testing.assert_array_equal(-values >= line - 1e-6, calls)


def test_the_leaders_are_named_by_their_foremost_token(catalogue: Catalogue, written: Written) -> None:
    figure = catalogue.plot("manhattan", look=Look(Width.PAGE), set_name="girls_names", n=4)
    z = np.abs(np.concatenate([of_set(written[slug], "girls_names", "log10_p") for slug in SLUGS]))
    leaders = np.argsort(-z)[:4]
    names = {text.get_text().rsplit(" ", 1)[0] for text in figure.axes[0].texts}
    assert names == {f"8-res-jb/{k}" if k < 12 else f"29-mlp/{k - 12}" for k in leaders}
    # Planted: the feature that promotes ' Mary' more than anything.
    assert "29-mlp/573 ␣Mary" in {text.get_text() for text in figure.axes[0].texts}


def test_manhattan_by_z_has_a_threshold_either_way(catalogue: Catalogue, written: Written) -> None:
    figure = catalogue.plot("manhattan", set_name="digits", y="z", sae="*-mlp")
    z, log10_p = (of_set(written[SLUGS[1]], "digits", name) for name in ("z", "log10_p"))
    np.testing.assert_allclose(offsets(figure), in_order(np.arange(580), z), rtol=1e-6)
    called, _ = benjamini_hochberg(log10_p, 0.05)
    smallest = np.abs(z[called]).min()
    (lines,) = [drawn for drawn in figure.axes[0].collections if isinstance(drawn, LineCollection)]
    heights = sorted(float(np.asarray(segment)[0, 1]) for segment in lines.get_segments())
    assert heights == pytest.approx([-smallest, smallest])


@pytest.mark.parametrize("score", ["z", "es"])
def test_sets_are_drawn_on_equal_axes(catalogue: Catalogue, written: Written, score: str) -> None:
    figure = catalogue.plot("sets", set_a="girls_names", set_b="boys_names", score=score)
    a, b = (
        np.concatenate([of_set(written[slug], name, score) for slug in SLUGS]) for name in ("girls_names", "boys_names")
    )
    np.testing.assert_allclose(offsets(figure), in_order(a, b), rtol=1e-6)
    axes = figure.axes[0]
    assert (axes.get_aspect(), axes.get_xlim()) == (1.0, axes.get_ylim())
    box = axes.get_window_extent()
    assert box.width == pytest.approx(box.height, rel=0.01)
    x, y = np.asarray(axes.lines[0].get_data())
    np.testing.assert_array_equal(x, y)
    named = {text.get_text().rsplit(" ", 1)[0] for text in axes.texts}
    for index in (np.argmax(a - b), np.argmax(b - a)):
        assert (f"8-res-jb/{index}" if index < 12 else f"29-mlp/{index - 12}") in named


def test_a_feature_is_counted_to_the_sets_that_call_it(catalogue: Catalogue, written: Written) -> None:
    figure = catalogue.plot("sets", set_a="girls_names", set_b="digits", sae="*-mlp")
    calls = [
        benjamini_hochberg(of_set(written[SLUGS[1]], name, "log10_p"), 0.05)[0] for name in ("girls_names", "digits")
    ]
    want = [(~calls[0] & ~calls[1]), calls[0] & ~calls[1], calls[1] & ~calls[0], calls[0] & calls[1]]
    counts = [int(group.sum()) for group in want if group.any()]
    assert [len(np.asarray(drawn.get_offsets())) for drawn in scatters(figure)] == counts
    assert len(counts) == 4


def test_percentiles_are_numpys(catalogue: Catalogue, written: Written) -> None:
    (axes,) = catalogue.plot("percentiles", statistic="kurtosis").axes
    kurtosis = [column(written[slug], "feature", "kurtosis").astype(float) for slug in SLUGS]
    for level, line in zip(PERCENTILES, axes.lines, strict=True):
        want = [np.percentile(values, level) for values in kurtosis]
        np.testing.assert_allclose(np.asarray(line.get_data()), [[8, 29], want], rtol=1e-6)


def test_saes_of_different_kinds_have_panels_of_their_own(scratch: Path, written: Written) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("UPDATE sae SET kind = 'mlp_neurons' WHERE layer = 29")
    with connect(scratch) as catalogue:
        panels = catalogue.plot("percentiles", statistic="std", scale="log").axes
    for axes, slug, layer in zip(panels, SLUGS, (8, 29), strict=True):
        want = np.percentile(column(written[slug], "feature", "std").astype(float), PERCENTILES)
        np.testing.assert_allclose([np.asarray(line.get_ydata())[0] for line in axes.lines], want, rtol=1e-6)
        assert {tuple(np.asarray(line.get_xdata())) for line in axes.lines} == {(layer,)}
        assert axes.get_yscale() == "log"


@pytest.fixture
def deep(tmp_path: Path, rows_of: Callable[..., SaeRows]) -> dict[str, Any]:
    """A catalogue of one SAE a layer, and its rows."""
    path = tmp_path / "deep.duckdb"
    create(path)
    rows = [rows_of(f"tiny/{layer}-x", 40 + layer, 3, seed=layer) for layer in (5, 2, 11)]
    for item in rows:
        write_sae(path, item)
    return {"path": path, "rows": {row.sae["layer"]: row for row in rows}}


def test_layers_of_one_kind_are_one_line(deep: dict[str, Any]) -> None:
    with connect(deep["path"]) as catalogue:
        figure = catalogue.plot("percentiles", statistic="std")
    (axes,) = figure.axes
    for level, line in zip(PERCENTILES, axes.lines, strict=True):
        want = [
            np.percentile(column(deep["rows"][layer], "feature", "std").astype(float), level) for layer in (2, 5, 11)
        ]
        np.testing.assert_allclose(np.asarray(line.get_data()), [[2, 5, 11], want], rtol=1e-6)


@pytest.mark.parametrize("direction", ["promoted", "suppressed", "either"])
@pytest.mark.parametrize("value", ["share", "count", "best"])
def test_the_heat_map_counts_what_q_calls(deep: dict[str, Any], value: str, direction: str) -> None:
    with connect(deep["path"]) as catalogue:
        picture: Any = read_picture(catalogue, "heatmap", collection="names", value=value, direction=direction)
    assert [sae.layer for sae in picture.saes] == [2, 5, 11]
    assert sorted(picture.sets) == ["Quote's", "boys_names", "girls_names"]
    for row, name in enumerate(picture.sets):
        for place, layer in enumerate((2, 5, 11)):
            z, log10_p = (of_set(deep["rows"][layer], name, c) for c in ("z", "log10_p"))
            called, _ = benjamini_hochberg(log10_p, 0.05)
            wanted = {"promoted": z > 0, "suppressed": z < 0, "either": np.ones(len(z), bool)}[direction]
            count = int((called & wanted).sum())
            best = {"promoted": z.max(), "suppressed": z.min(), "either": z[np.abs(z).argmax()]}[direction]
            want = {"count": count, "share": count / len(z), "best": best}[value]
            assert picture.values[row, place] == pytest.approx(want)


def test_a_large_collection_shows_its_largest_and_says_so(deep: dict[str, Any]) -> None:
    with connect(deep["path"]) as catalogue:
        everything: Any = read_picture(catalogue, "heatmap", collection="names", value="count")
        picture: Any = read_picture(catalogue, "heatmap", collection="names", value="count", n=2)
    least = int(everything.values.max(1).argmin())
    assert {*everything.sets} - {*picture.sets} == {everything.sets[least]}
    assert picture.source.notes == ["of 3 sets those 2 with the largest values are shown; -n shows more"]


@pytest.mark.parametrize("n", [2, 3, 30])
def test_clustering_is_scipys_average_linkage(n: int) -> None:
    values = np.random.default_rng(n).normal(size=(n, 5))
    np.testing.assert_allclose(distances(values)[np.triu_indices(n, 1)], pdist(values))
    merges = average_linkage(distances(values))
    tree = linkage(values, "average")
    np.testing.assert_allclose([merge.height for merge in merges], tree[:, 2])
    members = {k: {k} for k in range(n)}
    for k, (left, right, _, _) in enumerate(tree):
        members[n + k] = members[int(left)] | members[int(right)]
    assert [{*merge.left, *merge.right} for merge in merges] == [members[n + k] for k in range(n - 1)]
    order = clustered_order(values)
    assert sorted(order) == list(range(n))
    for cluster in members.values():
        places = sorted(order.index(k) for k in cluster)
        assert places[-1] - places[0] == len(places) - 1


def test_labels_cover_neither_each_other_nor_the_marks() -> None:
    figure = Figure(figsize=(3.25, 3), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.1, 0.85, 0.85))
    points = np.random.default_rng(1).normal(size=(300, 2))
    axes.scatter(*points.T)
    figure.draw_without_rendering()
    at = points[np.argsort(-np.abs(points).max(1))[:12]]
    assert place_labels(Labels(axes, at, [f"29-mlp/{k} ␣word" for k in range(12)], points)) == 0
    figure.draw_without_rendering()
    written = [text for text in axes.texts if isinstance(text, Annotation)]
    boxes = [super(Annotation, text).get_window_extent(canvas.get_renderer()) for text in written]  # type: ignore[no-untyped-call]
    assert len(boxes) == 12
    assert not any(first.overlaps(second) for first, second in itertools.combinations(boxes, 2))
    window = axes.get_window_extent()
    marks = axes.transData.transform(at)
    for box in boxes:
        assert window.x0 <= box.x0
        assert box.x1 <= window.x1
        assert not any(box.contains(x, y) for x, y in marks)


def test_labels_without_room_are_counted() -> None:
    figure = Figure(figsize=(1.5, 1.5), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.1, 0.8, 0.8))
    at = np.full((40, 2), 0.5)
    left_out = place_labels(Labels(axes, at, ["a long label"] * 40, at))
    assert left_out == 40 - len(axes.texts)
    assert left_out > 20


def test_heights_of_labels_are_spread_as_little_as_possible() -> None:
    free = np.array([0.2, 0.5, 0.9])
    assert spread_out(free, 0.1) == pytest.approx(free)
    for seed in range(20):
        heights = np.sort(np.random.default_rng(seed).beta(1, 4, size=7))
        moved = np.array(spread_out(heights, 0.1))
        assert (np.diff(moved) >= 0.1 - 1e-9).all()
        assert moved[0] >= 0
        assert moved[-1] <= 1.0001
    # Two that meet move by the same amount.
    assert spread_out(np.array([0.5, 0.5]), 0.1) == pytest.approx([0.45, 0.55])


WRONG = [
    ("skewness", {"sae": "nowhere*"}, NotFoundError, "no SAE matches"),
    ("manhattan", {"set_name": "girls_nams"}, NotFoundError, "girls_names"),
    ("manhattan", {}, UsageError, "set_name"),
    ("manhattan", {"set_name": "digits", "colour": 1}, UsageError, "colour"),
    ("manhatan", {"set_name": "digits"}, UsageError, "manhattan"),
    ("sets", {"set_a": "digits", "set_b": "digits"}, UsageError, "name two sets"),
    ("sets", {"set_a": "digits", "set_b": "nothing"}, NotFoundError, "no token set"),
    ("percentiles", {"statistic": "kurtosi"}, UsageError, "kurtosis"),
    ("percentiles", {"statistic": "histogram"}, UsageError, "no statistic"),
    ("percentiles", {"statistic": "skewness", "scale": "log"}, UsageError, "no logarithm"),
    ("heatmap", {}, UsageError, "one of the two"),
    ("heatmap", {"sets": ["digits"], "collection": "names"}, UsageError, "one of the two"),
    ("heatmap", {"collection": "nams"}, NotFoundError, "there are names, shape"),
    ("heatmap", {"sets": ["digit"]}, NotFoundError, "digits"),
]


@pytest.mark.parametrize(("kind", "parameters", "fault", "told"), WRONG)
def test_what_is_not_there_is_one_line(
    catalogue: Catalogue, kind: str, parameters: dict[str, Any], fault: type[FeatdexError], told: str
) -> None:
    with pytest.raises(fault, match=told) as raised:
        catalogue.plot(kind, **parameters)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", ["skewness", "percentiles"])
def test_an_empty_catalogue_has_nothing_to_draw(tmp_path: Path, kind: str) -> None:
    create(tmp_path / "empty.duckdb")
    more: dict[str, Any] = {"statistic": "kurtosis"} if kind == "percentiles" else {}
    with connect(tmp_path / "empty.duckdb") as catalogue, pytest.raises(NotFoundError, match="holds no SAE"):
        catalogue.plot(kind, **more)
