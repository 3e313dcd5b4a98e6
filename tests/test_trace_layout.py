"""The layered layout: edges point down, nothing overlaps, the same graph gives the same picture."""

import time

import numpy as np
import pytest
import traced
from hypothesis import given
from hypothesis import strategies as st

from minitensor.tracing.boxes import MOST, Box, boxes, first_sight, view
from minitensor.tracing.layout import GAP, layered, positions
from minitensor.tracing.record import Input, Node
from minitensor.tracing.scene import scene

FLOAT = np.dtype(np.float32)


@st.composite
def graphs(draw):
    n = draw(st.integers(0, 14))
    pairs = [(a, b) for b in range(n) for a in range(b)]
    edges = draw(st.lists(st.sampled_from(pairs), max_size=30)) if pairs else []
    order = draw(st.permutations(range(n)))  # numbers say nothing of the order
    sizes = [(draw(st.integers(20, 200)), draw(st.integers(10, 90))) for _ in range(n)]
    return n, [(order[a], order[b]) for a, b in edges], sizes


@given(graphs())
def test_edges_point_down_and_nothing_overlaps(graph):
    n, edges, sizes = graph
    made = layered(n, edges)
    assert sorted(one for rank in made.ranks for one in rank if one < n) == list(range(n))
    x, y, half, width, height = positions(made, sizes)
    for a, b in edges:
        assert y[a] + sizes[a][1] / 2 + GAP[1] <= y[b] - sizes[b][1] / 2 + 1e-6
    for rank in made.ranks:
        wide = [sizes[one][0] if one < n else 2 for one in rank]
        for one, other, w, v in zip(rank, rank[1:], wide, wide[1:]):
            assert x[one] + w / 2 + GAP[0] <= x[other] - v / 2 + 1e-6
        for one, w in zip(rank, wide):
            assert -1e-6 <= x[one] - w / 2 and x[one] + w / 2 <= width + 1e-6 and y[one] + half[one] <= height + 1e-6
    again = layered(n, edges)
    assert again == made and positions(again, sizes) == (x, y, half, width, height)


def test_every_long_edge_passes_each_rank_once():
    made = layered(5, [(0, 1), (1, 2), (2, 3), (3, 4), (0, 4), (0, 3)])
    assert len(made.bends[0, 4]) == 3 and made.bends[0, 3] == made.bends[0, 4][:2]  # they share their points
    assert made.bends[0, 1] == []


def test_chains_are_straight():
    x, *_ = positions(layered(6, [(i, i + 1) for i in range(5)]), [(30.0 + 10 * i, 20.0) for i in range(6)])
    assert max(x) - min(x) < 1e-6


def test_few_edges_cross():
    """A complete binary tree, given in an order that makes a tangle, has no crossing."""
    shuffled = np.random.default_rng(0).permutation(31)
    edges = [(int(shuffled[i]), int(shuffled[j])) for i in range(15) for j in (2 * i + 1, 2 * i + 2)]
    made = layered(31, edges)
    for upper, lower in zip(made.ranks, made.ranks[1:]):
        place = {one: i for i, one in enumerate(lower)}
        ends = [place[b] for one in upper for a, b in edges if a == one]
        assert ends == sorted(ends) or sorted(ends) == list(range(len(ends)))
        crossed = sum(
            (upper.index(a) - upper.index(c)) * (place[b] - place[d]) < 0
            for a, b in edges if a in upper for c, d in edges if c in upper
        )  # fmt: skip
        assert crossed == 0


def test_nothing_and_one_node():
    assert positions(layered(0, []), []) == ([], [], [], 0.0, 0.0)
    assert positions(layered(1, []), [(50.0, 20.0)]) == ([25.0], [10.0], [10.0], 50.0, 20.0)


def test_a_circle_is_refused():
    with pytest.raises(ValueError, match="circle"):
        layered(3, [(0, 1), (1, 2), (2, 1)])


def test_tops_and_bottoms_stand_alone():
    made = layered(5, [(3, 0), (0, 1), (1, 4), (2, 1)], top=[3], bottom=[4])
    assert made.ranks[0] == [3] and made.ranks[-1] == [4]


def long_graph(n):
    """Nodes of which each takes one of those shortly before it, or two."""
    draw = np.random.default_rng(0)
    nodes = {0: Node(0, "leaf", "x", (), FLOAT)}
    for i in range(1, n):
        given = {max(i - 1 - int(draw.integers(0, 9)), 0), i - 1}
        nodes[i] = Node(i, "op", "add", (), FLOAT, inputs=[Input("x", one, None) for one in given])
    return nodes


def test_five_thousand_nodes_take_a_few_seconds():
    start = time.process_time()
    nodes = long_graph(5000)
    root = boxes(nodes)
    assert sorted(root.nodes()) == sorted(nodes)
    drawn = scene(root, first_sight(root), nodes)
    assert len(drawn.drawn) <= MOST
    made = layered(5000, [(one.node, i) for i, node in nodes.items() for one in node.inputs])
    positions(made, [(100.0, 50.0)] * 5000)
    assert time.process_time() - start < 10  # about 3 on a machine of its own


def every(box):
    return [box, *(one for child in box.inner() for one in every(child))]


@pytest.mark.parametrize("trace", [traced.scalar, traced.mlp, traced.second, traced.odd, traced.transformer])
def test_every_node_is_in_one_box_and_every_edge_leads_there(trace):
    t = trace()
    nodes = view(t.nodes)
    root = boxes(nodes)
    assert sorted(root.nodes()) == sorted(nodes)
    for box in every(root):
        n, inside = len(box.children), [set(one.nodes() if isinstance(one, Box) else [one]) for one in box.children]
        known = set(box.nodes())
        for a, b, value in box.edges:
            assert value in inside[a] if a < n else value == box.ins[a - n] and value not in known
            users = inside[b] if b < n else set(nodes) - known
            assert any(one.node == value for user in users for one in nodes[user].inputs)
    opened = {box.key for box in every(root)}
    drawn = scene(root, opened, nodes)
    assert {one.what for one in drawn.drawn if not isinstance(one.what, Box)} == set(nodes)
    wires = {(value, points[0], points[-1]) for value, points in drawn.wires}
    assert len(wires) == len(drawn.wires) and all(points[0][1] < points[-1][1] for _, points in drawn.wires)


def test_boxes_do_not_overlap():
    nodes = view(traced.transformer().nodes)
    root = boxes(nodes)
    for opened in (first_sight(root), {box.key for box in every(root)}):
        drawn = [one for one in scene(root, opened, nodes).drawn if not one.is_open]
        corners = np.array([(one.x, one.y, one.x + one.width, one.y + one.height) for one in drawn])
        for i, (x, y, right, low) in enumerate(corners[:-1]):
            rest = corners[i + 1 :]
            assert not np.any((rest[:, 0] < right) & (rest[:, 2] > x) & (rest[:, 1] < low) & (rest[:, 3] > y))


def test_a_transformer_is_taken_in_at_first_sight():
    nodes = view(traced.transformer().nodes)
    root = boxes(nodes)
    opened = first_sight(root)
    drawn = scene(root, opened, nodes)
    names = [one.what.name for one in drawn.drawn if isinstance(one.what, Box)]
    assert len(drawn.drawn) <= MOST and len(nodes) > 150
    assert names.count("layers.0") == names.count("layers.1") == 2 and {"encoder", "decoder"} <= set(names)


def test_calls_that_follow_each_other_have_a_box_each():
    nodes = view(traced.repeated().nodes)
    inner = boxes(nodes).inner()
    assert [box.name for box in inner] == [f"block, call {i}" for i in (1, 2, 3)]
    assert all(len(box.nodes()) == 3 for box in inner)


def test_a_module_that_is_called_twice_has_two_boxes():
    nodes = view(traced.transformer().nodes)
    names = [box.name for box in boxes(nodes).inner()]
    assert {"source_positions, call 1", "source_positions, call 2"} <= set(names)
