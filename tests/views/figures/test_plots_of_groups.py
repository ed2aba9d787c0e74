"""Points of groups, and names that stand once below several axes."""

from matplotlib.figure import Figure

from contextmix.views.figures.marks import bands, names_below, scatter


def test_every_point_is_drawn_and_counted():
    axes = scatter(Figure().subplots(), {"crowd": ([1, 2, 3], [0, 0, 1]), "few": ([9], [8])}, xlabel="x", ylabel="y")
    assert [points.get_offsets().tolist() for points in axes.collections] == [[[1, 0], [2, 0], [3, 1]], [[9, 8]]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["crowd (3)", "few (1)"]


def test_names_stand_once_below_all_axes():
    figure = Figure(layout="constrained")
    panels = figure.subplots(1, 2)
    for axes in panels:
        bands(
            axes,
            [1, 2],
            {"a": ([1, 2], [0, 1], [2, 3]), "b": ([2, 2], [1, 1], [3, 3])},
            xlabel="",
            ylabel="",
            legend=False,
        )
    names_below(panels[0])
    assert [axes.get_legend() for axes in panels] == [None, None]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]
