"""The page of ``backward_trace`` in a browser: one walks through all of it by keys, opens boxes and
fused ops, and reads the numbers of the trace.
"""

import re

import numpy as np
import pytest
import traced
from browser import LOOKS

import minitensor as mt
from minitensor import nn
from minitensor.tracing.boxes import MOST, Box, boxes, first_sight, view
from minitensor.tracing.page import page
from minitensor.tracing.scene import scene

pytestmark = pytest.mark.browser
ALL = [traced.scalar, traced.mlp, traced.second, traced.backward_only, traced.odd, traced.transformer]


def live(shown):
    return shown.page.inner_text("#live")


def at(shown):
    return shown.page.evaluate("walk().at")


def open_all(shown):
    """Click one closed box after the other, all of it within the page, until there is none."""
    shown.page.evaluate(
        """() => {
            for (let one; (one = document.querySelector('.item[aria-expanded="false"]')); )
                one.dispatchEvent(new MouseEvent("click"));
        }"""
    )


def press(shown, key, times, seen='[walk().at, element("live").innerText]'):
    """Press a key so many times, all of it within the page, where that takes a tenth of the time:
    after each what ``seen`` is in the page, by default which step it is and what is said.
    """
    return shown.page.evaluate(
        """([key, times]) => Array.from({length: times}, () => {
            document.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
            return SEEN;
        })""".replace("SEEN", seen),
        [key, times],
    )


@pytest.mark.parametrize("trace", ALL)
def test_a_walk_to_the_end_and_back_is_quiet(show, trace):
    shown = show(page(trace()))
    frames = shown.page.evaluate("walk().frames.length")
    t = trace()
    assert frames >= sum(len(one.steps) for one in t.passes) + 2
    shown.page.keyboard.press("ArrowRight")
    seen = [[at(shown), live(shown)], *press(shown, "ArrowRight", frames - 2)]
    assert [step for step, _ in seen] == list(range(1, frames))
    shown.page.keyboard.press("ArrowRight")
    assert at(shown) == frames - 1 and shown.page.is_disabled("#forth")
    back = press(shown, "ArrowLeft", frames - 2)
    assert back == seen[-2::-1]
    shown.page.keyboard.press("ArrowLeft")
    assert at(shown) == 0 and shown.page.is_disabled("#back")
    shown.page.keyboard.press("End")
    assert at(shown) == frames - 1
    shown.page.keyboard.press("Home")
    assert at(shown) == 0
    assert len(shown.page.query_selector_all(".item")) <= MOST


def test_a_parameter_is_shown_as_it_was_then(show):
    shown = show(page(traced.updated()))
    said = []
    for _ in range(shown.page.evaluate("walk().frames.length")):
        labels = [item.get_attribute("aria-label") for item in shown.page.query_selector_all("[aria-label^='w;']")]
        said += [re.search(r"value ([\d.]+)", label)[1] for label in labels]
        shown.page.keyboard.press("ArrowRight")
    first = said.index("1")  # the value after the update, from the op that used it on
    assert set(said[:first]) == {"2"} and set(said[first:]) == {"1", "2"}, said
    assert said[-1] == "1"


# These two have leaves, ops, fused ones, modules, numbers and none: all that has a colour.
@pytest.mark.parametrize(
    "trace, width, scheme",
    [
        (trace, *look)
        for trace in ALL
        for look in LOOKS
        if look[1] == "light" or trace in (traced.odd, traced.transformer)
    ],
)
def test_it_fits_and_is_accessible(show, trace, width, scheme):
    shown = show(page(trace()), width=width, scheme=scheme)
    shown.check_accessible(in_all_looks=True)
    shown.check_fits()
    for key in ("End", "ArrowLeft", "ArrowLeft", "ArrowLeft"):
        shown.page.keyboard.press(key)
        shown.check_fits()
    shown.check_accessible(in_all_looks=True)


@pytest.mark.parametrize(
    "trace, width, scheme",
    [(traced.third, 375, "light"), (traced.third, 1280, "dark"), (traced.empty, 375, "dark"), (traced.forward_only, 375, "light")],
)  # fmt: skip
def test_many_passes_or_none_fit(show, trace, width, scheme):
    shown = show(page(trace()), width=width, scheme=scheme)
    shown.check_fits()
    shown.check_accessible()
    shown.page.keyboard.press("End")
    shown.check_fits()


def test_it_says_that_nothing_ran(show):
    shown = show(page(traced.empty()))
    assert shown.page.inner_text("#now h2") == "Nothing to show"
    assert "nothing ran in the block" in shown.page.inner_text("header")
    shown = show(page(traced.forward_only()))
    assert "No backward pass ran inside the block" in shown.page.inner_text("#now")
    assert "2 ops; no backward pass" in shown.page.inner_text("header")


@pytest.mark.parametrize("trace", [traced.second, traced.third, traced.transformer])
def test_the_counts_of_the_header_are_those_of_the_walk(show, trace):
    shown, t = show(page(trace())), trace()
    about = shown.page.inner_text("header p")
    ops = shown.page.evaluate("walk().frames.filter(one => one.forward && one.node !== undefined).length")
    assert int(re.match(r"(\d+) ops?;", about)[1]) == ops
    for k, one in enumerate(t.passes, start=1):
        shown.page.click(f"#phases button:nth-child({k + 1})")
        while "begins" not in shown.page.inner_text("#now h2"):
            shown.page.keyboard.press("ArrowRight")
        assert shown.page.inner_text("#place").endswith(f"step 0 of {len(one.steps)}")
        assert str(len(one.steps)) in about
    shown.page.click("#first")
    assert re.search(r"op 0 of \d+$", shown.page.inner_text("#place"))


def test_what_a_pass_made_opens(show):
    shown, t = show(page(traced.recurrent())), traced.recurrent()
    made = next(node.id for node in t.nodes.values() if node.kind == "fused" and node.made_by)
    shown.page.keyboard.press("End")
    open_all(shown)
    shown.page.locator(f'[data-key="node {made}"]').evaluate("one => one.dispatchEvent(new MouseEvent('click'))")
    assert shown.page.inner_text("#way").endswith(f"#{made}")
    assert "matmul" in shown.page.inner_text("#picture")
    shown.check_accessible()


def test_of_a_long_rule_the_line_that_says_most_is_shown_and_marked(show):
    shown = show(page(traced.mlp()))
    shown.page.click("#phases button:nth-child(2)")
    for _ in range(2):
        shown.page.keyboard.press("ArrowRight")
    said = shown.page.inner_text("#now .rule")
    assert said.startswith("return xp.broadcast_to(") and "marked below the source" in said
    assert shown.page.inner_text(".listing .says").split()[1:] == said.split("  ")[0].split()


def number(text):
    return float(text.replace("Infinity", "inf"))


def numbers(card):
    """The numbers that a part of the page shows: a scalar, or a table."""
    texts = """card => {
        const cells = card.querySelectorAll("td");
        return Array.from(cells.length ? cells : card.querySelectorAll(".number"), cell => cell.innerText);
    }"""
    return list(map(number, card.evaluate(texts)))


@pytest.mark.parametrize("trace", [traced.scalar, traced.mlp, traced.second, traced.backward_only, traced.odd])
def test_the_numbers_are_those_of_the_trace(show, trace):
    shown, t = show(page(trace())), trace()
    shown.page.click("#digits")
    for k, one in enumerate(t.passes, start=1):
        shown.page.click(f"#phases button:nth-child({k + 1})")
        while "begins" not in shown.page.inner_text("#now h2"):
            shown.page.keyboard.press("ArrowRight")
        for step in one.steps:
            shown.page.keyboard.press("ArrowRight")
            assert f"#{step.node}" in shown.page.inner_text("#now p")
            if step.gradient.is_small:
                part = shown.page.locator("#now .part", has_text="Gradient that came").first.element_handle()
                assert np.array_equal(
                    np.array(numbers(part), step.gradient.dtype), step.gradient.array.ravel(), equal_nan=True
                )
            cards = shown.page.query_selector_all("#now .card")
            assert len(cards) == len(step.arrivals)
            for card, arrival in zip(cards, step.arrivals):
                if not arrival.value.is_small:
                    continue
                wanted = [*arrival.value.array.ravel(), *(arrival.total.array.ravel() if arrival.nth > 1 else [])]
                assert np.array_equal(
                    np.array(numbers(card), arrival.value.dtype), np.array(wanted, arrival.value.dtype), equal_nan=True
                )
                text = card.inner_text()
                assert (f"axes {', '.join(map(str, arrival.summed_axes))}" in text) == (len(arrival.summed_axes) > 1)
                assert ("summed over" in text) == bool(arrival.summed_axes)
                if arrival.rule is not None and "\n" not in arrival.rule.text:
                    assert arrival.rule.text in text
            said = shown.page.inner_text("#now")
            assert ("Deposited in .grad" in said) == (step.deposited is not None)
            assert ("Freed" in said) == bool(step.freed)


def test_the_current_line_is_marked(show):
    shown, t = show(page(traced.mlp())), traced.mlp()
    for node in (node for node in view(t.nodes).values() if node.kind != "leaf"):
        shown.page.keyboard.press("ArrowRight")
        assert shown.page.inner_text(".listing .marked").split() == [str(node.line.number), *node.line.text.split()]
    assert shown.page.query_selector(".item.now") and shown.page.query_selector("path.lit.down")
    shown.page.keyboard.press("End")
    shown.page.click("#first")
    shown.page.click("#phases button:nth-child(2)")
    for _ in range(3):
        shown.page.click("#forth")
    assert shown.page.query_selector("path.lit.up") and shown.page.query_selector(".item.to")


def test_boxes_stand_where_python_puts_them(show):
    for trace in (traced.mlp, traced.transformer):
        nodes = view(trace().nodes)
        root = boxes(nodes)
        drawn = scene(root, first_sight(root), nodes)
        wanted = {
            f"box {one.what.key}" if isinstance(one.what, Box) else f"node {one.what}": [one.x, one.y, one.width, one.height]
            for one in drawn.drawn
        }  # fmt: skip
        found = show(page(trace())).page.evaluate(
            "Object.fromEntries(drawn.boxes.map(([group, e]) => [group.dataset.key, [e.x, e.y, e.width, e.height]]))"
        )
        assert set(found) == set(wanted)
        for key, place in wanted.items():
            assert found[key] == pytest.approx(place, abs=1e-6), key


def test_a_module_opens_and_closes_by_key_and_by_click(show):
    shown = show(page(traced.transformer()))
    key = shown.page.evaluate(
        "drawn.boxes.find(([, e]) => isBox(e.what) && e.what.path === 'encoder.layers.1')[0].dataset.key"
    )
    box = shown.page.locator(f'[data-key="{key}"]')
    before = shown.page.locator(".item").count()
    assert box.get_attribute("aria-expanded") == "false"
    box.focus()
    shown.page.keyboard.press("Enter")
    assert box.get_attribute("aria-expanded") == "true" and "opened" in live(shown)
    assert shown.page.evaluate("document.activeElement.dataset.key") == key
    assert shown.page.locator(".item").count() > before + 5
    shown.page.keyboard.press("Escape")
    assert box.get_attribute("aria-expanded") == "false" and shown.page.locator(".item").count() == before
    shown.page.keyboard.press("Space")
    assert box.get_attribute("aria-expanded") == "true"
    box.locator("text").first.click()
    assert box.get_attribute("aria-expanded") == "false"


def test_boxes_open_as_one_goes(show):
    shown = show(page(traced.transformer()))
    first = shown.page.locator(".item").count()
    shown.page.click("#follow")
    shown.page.click("#phases button:nth-child(2)")
    now = "[document.querySelector('.item.now')?.dataset.key ?? 'node', document.querySelectorAll('.item').length]"
    keys, items = zip(*press(shown, "ArrowRight", 60, now))
    assert all(key.startswith("node") for key in keys)
    assert first < max(items) < first + 60
    shown.page.keyboard.press("End")
    assert shown.page.locator(".item").count() == first  # the last step is at a leaf outside


def test_all_boxes_can_be_opened(show):
    shown = show(page(traced.transformer()))
    open_all(shown)
    nodes = view(traced.transformer().nodes)
    assert shown.page.locator('[data-key^="node"]').count() == len(nodes)
    press(shown, "ArrowRight", 20)
    shown.check_accessible(contrast=False)  # which is asked for of the same colours, when fewer boxes are open


@pytest.mark.parametrize("by", ["Enter", "click", "button"])
def test_a_fused_op_opens_into_its_definition(show, by):
    shown, t = show(page(traced.mlp())), traced.mlp()
    fused = next(node.id for node in t.nodes.values() if node.kind == "fused")
    op = shown.page.locator(f'[data-key="node {fused}"]')
    if by == "Enter":
        op.focus()
        shown.page.keyboard.press("Enter")
    elif by == "click":
        op.click()
    else:
        while not (button := shown.page.locator("#now button", has_text="Open the definition")).count():
            shown.page.keyboard.press("ArrowRight")
        button.click()
    assert shown.page.inner_text("#way").endswith(f"inside linear #{fused}")
    inner = t.open(fused)
    names = [node.name for node in inner.nodes.values() if node.kind == "op"]
    for name in names:
        shown.page.keyboard.press("ArrowRight")
        assert name in shown.page.inner_text("#now h2")
        assert re.search(r"y = matmul|return y|matmul", shown.page.inner_text(".listing .marked"))
    shown.check_accessible()
    shown.page.keyboard.press("End")
    shown.page.keyboard.press("Escape")
    assert shown.page.is_hidden("#way") and f"#{fused}" in shown.page.inner_text("#now")
    assert shown.page.evaluate("document.activeElement.dataset.key") == f"node {fused}"


def test_a_second_derivative_shows_its_own_graph(show):
    shown, t = show(page(traced.second())), traced.second()
    first = shown.page.locator('[data-key^="node"]').count()
    assert shown.page.locator("#phases button").count() == 3
    shown.page.click("#phases button:nth-child(3)")
    assert shown.page.locator('[data-key^="node"]').count() > first == 3
    shown.page.keyboard.press("End")
    assert "backward pass 1" in shown.page.inner_text("#picture")
    assert f"{t.passes[1].steps[-1].grad.array:.5g}" in shown.page.inner_text("#now")


def test_the_numbers_of_python_are_said_as_python_says_them(show):
    x = mt.tensor([np.nan, np.inf], requires_grad=True)
    with np.errstate(invalid="ignore"), mt.backward_trace() as t:
        (x * 2.0).sum()
        nn.functional.linear(mt.ones((1, 2)), mt.ones((1, 2), requires_grad=True), None)
        mt.where(mt.greater(mt.ones(2), 0.0), x, 0.0)
    shown, said = show(page(t)), []
    for _ in range(shown.page.evaluate("walk().frames.length") - 1):
        shown.page.keyboard.press("ArrowRight")
        said.append(shown.page.inner_text("#now"))
    assert "norm NaN" in said[0] and "norm Infinity" not in said[0]  # as Value.norm has it
    assert any("bias\n\nNone" in text for text in said) and not any("null" in text for text in said)
    assert any("True" in text for text in said) and not any("true" in text for text in said)


def test_it_says_if_the_forward_pass_was_not_seen(show):
    shown = show(page(traced.backward_only()))
    assert "Only the backward pass ran inside the block" in shown.page.inner_text("#now")
    shown.page.keyboard.press("End")
    assert "Lines are not known" in shown.page.inner_text("#code")


def test_the_controls_are_reached_by_tab_and_the_slider_slides(show):
    shown = show(page(traced.scalar()))
    reached = []
    for _ in range(40):
        shown.page.keyboard.press("Tab")
        reached.append(
            shown.page.evaluate(
                "document.activeElement.id || document.activeElement.dataset.key || document.activeElement.tagName"
            )
        )
    assert {"forth", "last", "slider", "digits", "fit", "picture", "now"} <= set(reached)
    assert sum(one.startswith("node") for one in reached) >= len(traced.scalar().nodes)
    slider = shown.page.locator("#slider")
    slider.focus()
    shown.page.keyboard.press("ArrowRight")
    assert at(shown) == 1 and "1 of" in slider.get_attribute("aria-valuetext")
    slider.fill("7")
    assert at(shown) == 7


def test_shift_goes_from_box_to_box(show):
    shown = show(page(traced.transformer()))
    shown.page.click("#phases button:nth-child(2)")
    steps, seen = 0, []
    while not shown.page.is_disabled("#forthBox"):
        shown.page.keyboard.press("Shift+ArrowRight")
        seen.append(shown.page.evaluate("document.querySelector('.item.now')?.dataset.key"))
        steps += 1
    assert all(a != b for a, b in zip(seen[:-1], seen[1:-1])) and steps < MOST * 2
    shown.page.keyboard.press("Shift+ArrowLeft")
    assert at(shown) < shown.page.evaluate("walk().frames.length") - 1
