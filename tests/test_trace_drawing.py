"""``t.graph()``: SVG for a notebook, a tree of text for a terminal; and what the page is given."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import traced

import minitensor as mt
from minitensor.pages import document
from minitensor.tracing.boxes import MOST
from minitensor.tracing.drawing import drawing
from minitensor.tracing.told import told

ALL = [traced.scalar, traced.mlp, traced.second, traced.backward_only, traced.odd, traced.transformer]
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("trace", ALL)
def test_the_svg_is_whole_and_loads_nothing(trace):
    text = trace().graph()._repr_svg_()
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg" and root.get("role") == "img" and root.get("aria-label")
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= {"svg", "style", "rect", "path", "g", "text"}
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "") and "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert len(root.findall(f"{SVG}g")) <= MOST


def test_the_svg_says_names_values_and_gradients():
    text = traced.mlp().graph().svg
    for said in ("first", ">weight<", "tanh", "cross_entropy", "5×4", "grad 1"):
        assert said in text
    assert "layers.0" in drawing(traced.transformer()).svg
    assert drawing(traced.transformer(), opened=True).svg.count("<g ") > 150


@pytest.mark.parametrize("trace", ALL)
def test_the_tree_fits_a_terminal_and_is_plain(trace):
    text = str(trace().graph())
    assert max(map(len, text.splitlines())) <= 100 and "\x1b" not in text
    assert len(text.splitlines()) <= MOST


def test_the_tree_of_a_scalar_expression():
    with mt.backward_trace({"a": (a := mt.tensor(2.0, requires_grad=True))}) as t:
        (a * a).backward()
    one, two = t.nodes
    assert str(t.graph()) == f"├ #{one} a = 2  grad 4\n└ #{two} multiply(x=#{one}, y=#{one}) = 4  grad 1"
    assert "multiply" in repr(t.graph()) or "2 nodes" in repr(t.graph())


def test_an_empty_trace():
    with mt.backward_trace() as t:
        pass
    assert str(t.graph()) == "no nodes" and ElementTree.fromstring(t.graph().svg) is not None
    assert told(t)["traces"][0]["passes"] == []


# --- what the page is given -----------------------------------------------------------------------


def number(one):
    return {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}.get(one, one)


@pytest.mark.parametrize("trace", ALL)
def test_small_arrays_are_told_bit_for_bit(trace):
    t = trace()
    said = told(t)
    json.dumps(said, allow_nan=False)
    full, seen = said["traces"][0], 0

    def check(index, value):
        nonlocal seen
        if value is None or index is None:
            assert value is None and index is None
            return
        one = said["values"][index]
        assert one["shape"] == list(value.shape) and one["dtype"] == str(value.dtype)
        if value.size <= 64:
            seen += 1
            again = np.array([number(x) for x in one["all"]], value.dtype).reshape(value.shape)
            assert np.array_equal(again, value.array, equal_nan=value.dtype.kind == "f")
        else:
            assert number(one["norm"]) == pytest.approx(value.norm, rel=1e-5, nan_ok=True) and "picture" in one

    for node in full["nodes"]:
        check(node.get("value"), t.nodes[node["id"]].value)
    for run, one in zip(full["passes"], t.passes):
        assert len(run["steps"]) == len(one.steps)
        for step, seen_step in zip(run["steps"], one.steps):
            check(step["gradient"], seen_step.gradient)
            check(step.get("deposited"), seen_step.deposited)
            for arrival, seen_arrival in zip(step.get("arrivals", []), seen_step.arrivals, strict=True):
                check(arrival["value"], seen_arrival.value)
                check(arrival.get("total", arrival["value"]), seen_arrival.total)
                assert tuple(arrival.get("axes", ())) == seen_arrival.summed_axes
                if seen_arrival.rule is not None:
                    assert said["rules"][arrival["rule"]][2] == seen_arrival.rule.text
    assert seen > 4


def test_lines_are_told_with_those_around_them():
    said = told(traced.mlp())
    (file,) = {one["name"] for one in said["files"]} & {"traced.py"}
    lines = {
        first + i: text for one in said["files"] if one["name"] == file for first, part in one["parts"]
        for i, text in enumerate(part)
    }  # fmt: skip
    for node in said["traces"][0]["nodes"]:
        if node["kind"] == "fused":
            assert "self" in lines[node["line"][1]] or "cross_entropy" in lines[node["line"][1]]
    assert not any("/" in one["name"] for one in said["files"])  # nobody's folders are in a page


def test_a_file_that_has_changed_shows_what_ran(tmp_path, monkeypatch):
    import linecache

    monkeypatch.setattr(linecache, "getlines", lambda path: ["something else\n"] * 400)
    for file in told(traced.scalar())["files"]:
        assert not any("something else" in text for _, part in file["parts"] for text in part)


def test_fused_ops_are_told_with_their_inside():
    said = told(traced.mlp())
    inside = said["traces"][0]["inside"]
    fused = [node["id"] for node in said["traces"][0]["nodes"] if node["kind"] == "fused"]
    assert set(inside) == set(map(str, fused)) and len(fused) == 3
    assert [node["name"] for node in said["traces"][inside[str(fused[0])]]["nodes"] if node["kind"] == "op"] == [
        "permute_dims", "matmul", "add"
    ]  # fmt: skip


def test_a_second_derivative_has_its_own_graph():
    full = told(traced.second())["traces"][0]
    assert full["shown"] == [0, 1] and len(full["views"]) == 2
    assert any(node.get("by") for node in full["nodes"])


def test_a_step_of_a_transformer_takes_less_than_a_megabyte(tmp_path):
    from minitensor.tracing.page import page

    made = page(traced.transformer())
    assert len(made) < 1_000_000
    assert made.startswith(b"<!DOCTYPE html>") and document("t", "")[:20] in made
    traced.scalar().save(tmp_path / "a.html")
    assert (tmp_path / "a.html").read_bytes() == page(traced.scalar())
