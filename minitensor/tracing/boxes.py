"""The nodes of a graph in boxes within boxes, as the modules called each other, so that a large one
is taken in at first sight.

A box holds nodes that stand side by side in the order in which they were made: what lies between
two of them lies inside too, so boxes never feed each other in a circle. A module that is called
twice has two boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from minitensor.tracing.layout import Layers, layered
from minitensor.tracing.record import Node

__all__ = ["MOST", "Box", "boxes", "first_sight", "view"]

MOST = 40  # boxes at first sight, and in a box


@dataclass
class Box:
    """children: boxes, and ids of nodes. ins, outs: ids of the nodes outside that feed it, and of
    those in it that feed others.

    layers: how the children stand, then the ins and outs as points on the first and the last rank.
    edges: ``(from, to, id)`` between these, by their numbers in ``layers``; id: of the node whose
    value goes along.
    """

    name: str
    path: str
    children: list[Box | int] = field(default_factory=list)
    parent: Box | None = None
    place: int = 0  # among the children of its parent
    ins: list[int] = field(default_factory=list)
    outs: list[int] = field(default_factory=list)
    edges: list[tuple[int, int, int]] = field(default_factory=list)
    layers: Layers = field(default_factory=lambda: Layers(0))

    @property
    def key(self) -> str:
        """Where it is: "" for the whole, "2.0" for the first child of the third."""
        above = self.parent
        return "" if above is None else f"{above.key}.{self.place}".lstrip(".")

    def inner(self) -> list[Box]:
        """The boxes directly in it."""
        return [child for child in self.children if isinstance(child, Box)]

    def nodes(self) -> list[int]:
        """The ids of all nodes in it."""
        return [one for child in self.children for one in (child.nodes() if isinstance(child, Box) else (child,))]

    def end(self) -> int | None:
        """The node whose value stands for the box: the last that feeds others, or else its last."""
        return self.outs[-1] if self.outs else max(self.nodes(), default=None)


def view(nodes: Mapping[int, Node], ends: Iterable[int] | None = None) -> dict[int, Node]:
    """The part of a graph to draw: what no backward pass had a part in; or ``ends`` and all that
    fed them.
    """
    if ends is None:
        seen: set[int] = set()
        for one, node in nodes.items():  # inputs stand before what was made of them
            if node.made_by is None and all(given.node is None or given.node in seen for given in node.inputs):
                seen.add(one)
        ends = [
            one for one in seen if nodes[one].kind != "constant"
        ] or seen  # a constant that nobody takes is not drawn
    wanted: set[int] = set()
    stack = list(ends)
    while stack:
        one = stack.pop()
        if one in nodes and one not in wanted:
            wanted.add(one)
            stack.extend(given.node for given in nodes[one].inputs if given.node is not None)
    return {one: node for one, node in nodes.items() if one in wanted}


def boxes(nodes: Mapping[int, Node], names: Mapping[tuple[int, int], str] | None = None) -> Box:
    """The box of the whole, with all that is in it. names: of the op at each ``(pass, step)``,
    whose rule may have made nodes.
    """
    run = [(_parts(node, names or {}), one) for one, node in nodes.items() if node.kind != "leaf"]
    root = Box("", "")
    root.children = _grouped(run, 0, "")
    _settle(root, nodes)
    _connect(root, nodes)
    return root


def first_sight(root: Box, most: int = MOST) -> set[str]:
    """Keys of the boxes that are open at first: level by level, while no more than ``most`` are
    seen.
    """
    opened, seen, level = {""}, len(root.children), root.inner()
    while level:
        inner = [child for box in level for child in box.inner()]
        seen += sum(len(box.children) for box in level)  # and the frames of those that are open
        if seen > most:
            break
        opened.update(box.key for box in level)
        level = inner
    return opened


# --- which box a node is in -----------------------------------------------------------------------


def _parts(node, names):
    """The boxes around a node, from outside, each as ``(name, number of the call)``; "layers.0" is
    one.
    """
    if node.made_by is not None:
        number, step, _ = node.made_by
        return (f"backward pass {number + 1}", 0), (f"step {step + 1}: {names.get((number, step), 'rule')}", 0)
    numbers, path = dict(node.calls), ""
    parts: list[tuple[str, int]] = []
    for part in node.module.split(".") if node.module else ():
        path = f"{path}.{part}".lstrip(".")
        name, call = part, numbers.get(path, 0)
        if parts and part.isdigit():
            around, call_around = parts.pop()
            name, call = f"{around}.{part}", call or call_around
        parts.append((name, call))
    return tuple(parts)


def _grouped(run, depth, path):
    """The children that a run of ``(parts, id)`` makes at a depth."""
    children: list[Box | int] = []
    start = 0
    while start < len(run):
        parts, one = run[start]
        if len(parts) <= depth:
            children.append(one)
            start += 1
            continue
        end = start
        while end < len(run) and run[end][0][depth : depth + 1] == parts[depth : depth + 1]:
            end += 1
        name = parts[depth][0]
        inside = f"{path}.{name}".lstrip(".")
        box = Box(name, inside, _grouped(run[start:end], depth + 1, inside))
        while len(box.children) == 1 and isinstance(only := box.children[0], Box):  # one box around another
            box = Box(f"{box.name}.{only.name}", only.path, only.children)
        children.append(box)
        start = end
    calls = Counter(child.name for child in children if isinstance(child, Box))
    seen: Counter[str] = Counter()
    for child in children:
        if isinstance(child, Box) and calls[name := child.name] > 1:
            seen[name] += 1
            child.name = f"{name}, call {seen[name]}"
    return _cut(children, path)


def _cut(children, path):
    """More children than can be taken in become a few boxes of those that follow each other."""
    if len(children) <= MOST:
        return children
    size = max(MOST // 2, -(-len(children) // (MOST // 2)))
    made: list[Box | int] = []
    for start in range(0, len(children), size):
        part = children[start : start + size]
        made.append(Box(f"ops {start + 1} to {start + len(part)}", path, _cut(part, path)))
    return made


def _settle(root, nodes):
    """Note where each box stands; put leaves where they are used, and ops alone in a box outside
    it.
    """
    home: dict[int, Box] = {}
    _place(root, home)
    used: dict[int, list[int]] = {}
    for one, node in nodes.items():
        for given in node.inputs:
            if given.node is not None and given.node in nodes and nodes[given.node].kind == "leaf":
                used.setdefault(given.node, []).append(one)
    for leaf in (one for one, node in nodes.items() if node.kind == "leaf"):
        around = [_around(home[user]) for user in used.get(leaf, ()) if user in home]
        shared = [box for box in around[0] if all(box in other for other in around)] if around else [root]
        box = shared[-1]
        after = [i for i, child in enumerate(box.children) if _holds(child, used.get(leaf, ()), home)]
        box.children.insert(min(after, default=0), leaf)
    _unwrap(root)
    _place(root, home)


def _place(box, home):
    for i, child in enumerate(box.children):
        if isinstance(child, Box):
            child.parent, child.place = box, i
            _place(child, home)
        else:
            home[child] = box


def _unwrap(box):
    """An op alone in a box stands for itself."""
    for child in box.inner():
        _unwrap(child)
    box.children = [
        child.children[0] if isinstance(child, Box) and len(child.children) == 1 else child for child in box.children
    ]


def _around(box):
    """The boxes around what is in ``box``, from outside."""
    found = [box]
    while found[-1].parent is not None:
        found.append(found[-1].parent)
    return found[::-1]


def _holds(child, users, home):
    if not isinstance(child, Box):
        return child in users
    return any(child in _around(home[user]) for user in users if user in home)


# --- edges ----------------------------------------------------------------------------------------


def _connect(root, nodes):
    """Give every box its edges, and what goes in and out."""
    home: dict[int, Box] = {}
    _place(root, home)
    found: dict[int, dict[tuple[int | None, int | None, int], None]] = {}
    every: list[Box] = []
    place = {
        child: i for box in _all(root, every) for i, child in enumerate(box.children) if not isinstance(child, Box)
    }
    for one, node in nodes.items():
        for given in node.inputs:
            if given.node is None or given.node not in home or one not in home:
                continue
            _route(given.node, one, home, place, found)
    for box in every:
        n, edges = len(box.children), found.get(id(box), {})
        ins = {value: i for i, value in enumerate(dict.fromkeys(v for a, _, v in edges if a is None))}
        outs = {value: i for i, value in enumerate(dict.fromkeys(v for _, b, v in edges if b is None))}
        box.ins, box.outs = list(ins), sorted(outs)
        outs = {value: i for i, value in enumerate(box.outs)}
        box.edges = [
            (n + ins[v] if a is None else a, n + len(ins) + outs[v] if b is None else b, v) for a, b, v in edges
        ]
        top, bottom = range(n, n + len(ins)), range(n + len(ins), n + len(ins) + len(outs))
        box.layers = layered(n + len(ins) + len(outs), [(a, b) for a, b, _ in box.edges], top, bottom)


def _all(box, every):
    every.append(box)
    for child in box.inner():
        _all(child, every)
    return every


def _route(value, user, home, place, found):
    """Enter the pieces of the edge from node ``value`` to node ``user``: one in the box that holds
    both, one in each box around only one of them, from or to its border (None).
    """
    from_, to = _around(home[value]), _around(home[user])
    shared = sum(a is b for a, b in zip(from_, to))

    def inside(chain, depth, node):
        return chain[depth + 1].place if depth + 1 < len(chain) else place[node]

    def enter(box, a, b):
        found.setdefault(id(box), {})[a, b, value] = None

    enter(from_[shared - 1], inside(from_, shared - 1, value), inside(to, shared - 1, user))
    for depth in range(shared, len(from_)):
        enter(from_[depth], inside(from_, depth, value), None)
    for depth in range(shared, len(to)):
        enter(to[depth], None, inside(to, depth, user))
