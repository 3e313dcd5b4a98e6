"""Containers: every way in looks at what comes, and what does not fit changes nothing."""

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn


def test_module_list():
    layers = nn.ModuleList([nn.Linear(2, 2)]).append(nn.ReLU()).extend([nn.Linear(2, 3)])
    assert len(layers) == 3 and list(layers.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    layers[0] = nn.Identity()
    assert list(layers.state_dict()) == ["2.weight", "2.bias"] and len(layers[1:]) == 2
    with pytest.raises(TypeError, match="ModuleList holds modules, got str"):
        layers.append("relu")


def test_module_list_is_a_list():
    f, g, h = nn.ReLU(), nn.Tanh(), nn.Linear(2, 2)
    layers = nn.ModuleList([f])
    assert list(layers.insert(0, g)) == [g, f] and list(layers.insert(-1, h)) == [g, h, f]
    assert layers.pop() is f and layers.pop(0) is g and list(layers) == [h]
    layers += (f, g)
    assert list(layers) == [h, f, g] and h in layers and nn.ReLU() not in layers and layers[-1] is g
    assert list(layers + [f]) == [h, f, g, f] and isinstance(layers + [f], nn.ModuleList) and len(layers) == 3
    del layers[1]
    layers[1:] = [f, f]
    assert list(layers) == [h, f, f] and layers[np.int64(0)] is h and list(reversed(layers)) == [f, f, h]
    assert isinstance(nn.Sequential(f, g) + [h], nn.Sequential)


def test_module_dict():
    heads = nn.ModuleDict({"words": nn.Linear(2, 5)})
    heads["tags"] = nn.Linear(2, 3)
    assert list(heads) == list(heads.keys()) == ["words", "tags"] and "tags" in heads and len(heads) == 2
    assert list(heads.values()) == [module for _, module in heads.items()]
    assert list(heads.state_dict()) == ["words.weight", "words.bias", "tags.weight", "tags.bias"]
    with pytest.raises(ValueError, match="without dots"):
        heads["a.b"] = nn.ReLU()
    with pytest.raises(TypeError, match="ModuleDict holds modules"):
        heads["a"] = 3


def test_module_dict_is_a_dict():
    f, g = nn.ReLU(), nn.Tanh()
    heads = nn.ModuleDict([("f", f)])
    assert dict(heads.update({"g": g}).update([("f", g)]).items()) == {"f": g, "g": g}
    assert heads.pop("f") is g and list(nn.ModuleDict(heads)) == ["g"]
    del heads["g"]
    heads["f"] = f
    heads.clear()
    assert len(heads) == 0


WAYS_IN = {
    "append": lambda c, x: c.append(x),
    "[i] =": lambda c, x: c.__setitem__(0, x),
    "[i:j] =": lambda c, x: c.__setitem__(slice(0, 1), [nn.ReLU(), x]),
    "insert": lambda c, x: c.insert(0, x),
    "extend": lambda c, x: c.extend([nn.ReLU(), x]),
    "+=": lambda c, x: c.__iadd__([nn.ReLU(), x]),
    "+": lambda c, x: c + [x],
    "made": lambda c, x: type(c)(x) if isinstance(c, nn.Sequential) else type(c)([x]),
}


@pytest.mark.parametrize("make", [lambda: nn.ModuleList([nn.Linear(1, 1)]), lambda: nn.Sequential(nn.Linear(1, 1))])
@pytest.mark.parametrize("way", WAYS_IN.values(), ids=WAYS_IN)
def test_what_is_no_module_comes_into_no_list(make, way):
    container = make()
    for wrong in (
        3,
        None,
        "relu",
        nn.ReLU,
        mt.relu if hasattr(mt, "relu") else mt.tanh,
        [nn.ReLU()],
        mt.ones(2),
        nn.Parameter([1.0]),
    ):
        with pytest.raises(TypeError, match=f"{type(container).__name__} holds modules, got"):
            way(container, wrong)
    assert len(container) == 1 and list(container.state_dict()) == ["0.weight", "0.bias"]


@pytest.mark.parametrize("wrong", [3, None, nn.ReLU(), "ab", {"a": nn.ReLU()}, nn.ModuleDict({"a": nn.ReLU()})])
def test_what_is_no_list_of_modules_extends_none(wrong):
    layers = nn.ModuleList([nn.Linear(1, 1)])
    for way in (layers.extend, layers.__iadd__, nn.ModuleList, lambda x: layers.__setitem__(slice(0, 1), x)):
        with pytest.raises(TypeError, match="ModuleList holds modules, got"):
            way(wrong)
    assert len(layers) == 1


def test_hints():
    for make, hint in [
        (lambda: nn.Sequential(nn.ReLU), r"the class ReLU; make one: ReLU\(...\)"),
        (lambda: nn.Sequential([nn.ReLU()]), r"write Sequential\(\*modules\)"),
        (lambda: nn.Sequential({"a": nn.ReLU()}), "its .values"),
        (lambda: nn.Sequential(mt.tanh), "make a module of the function"),
    ]:
        with pytest.raises(TypeError, match=hint):
            make()


DICT_WAYS = {
    "[name] =": lambda d, name, x: d.__setitem__(name, x),
    "update": lambda d, name, x: d.update({"new": nn.ReLU(), name: x}),
    "pairs": lambda d, name, x: d.update([("new", nn.ReLU()), (name, x)]),
    "made": lambda d, name, x: nn.ModuleDict({name: x}),
}


@pytest.mark.parametrize("way", DICT_WAYS.values(), ids=DICT_WAYS)
def test_what_is_no_module_or_name_comes_into_no_dict(way):
    heads = nn.ModuleDict({"a": nn.Linear(1, 1)})
    heads.extra = nn.ReLU()
    for wrong in (3, None, nn.ReLU, [nn.ReLU()], mt.ones(2)):
        with pytest.raises(TypeError, match="ModuleDict holds modules, got .* for 'b'"):
            way(heads, "b", wrong)
    for name in ("a.b", "", 3, None):
        with pytest.raises(ValueError, match="string without dots"):
            way(heads, name, nn.ReLU())
    assert list(heads) == ["a"]
    with pytest.raises(ValueError, match="'extra' is that of an attribute"):
        heads["extra"] = nn.ReLU()
    for wrong in (3, [3], "ab", [nn.ReLU()], nn.ReLU()):
        with pytest.raises(TypeError, match="a dict, or pairs"):
            heads.update(wrong)


# --- attributes -----------------------------------------------------------------------------------


class Holder(nn.Module):
    """One of each."""

    def __init__(self):
        self.layer = nn.Linear(1, 1)
        self.layers = [nn.Linear(1, 1)]
        self.weight = nn.Parameter([1.0])
        self.count = nn.Buffer([0])


@pytest.mark.parametrize("name", ["layer", "layers", "weight", "count"])
def test_state_is_not_lost_by_an_assignment(name):
    holder = Holder()
    held = getattr(holder, name)
    for wrong in (3, "x", np.ones(1), 0.5):
        with pytest.raises(TypeError, match=rf"Holder\.{name} (is|holds)"):
            setattr(holder, name, wrong)
    assert getattr(holder, name) is held
    setattr(holder, name, None)
    assert not any(path.startswith(name) for path in holder.state_dict() if path.split(".")[0] == name)


def test_state_takes_the_place_of_state():
    holder = Holder()
    holder.layer, holder.layers, holder.weight = nn.ReLU(), nn.ModuleList([nn.ReLU()]), nn.Parameter([2.0])
    holder.layer = [nn.Linear(1, 1)]
    holder.count = holder.count + 1  # as in PyTorch, a tensor in the place of a buffer is one
    assert isinstance(holder.count, nn.Buffer) and list(holder.state_dict()) == [
        "layer.0.weight",
        "layer.0.bias",
        "weight",
        "count",
    ]
    with pytest.raises(TypeError, match="would not be trained"):
        holder.weight = mt.ones(1)
    with pytest.raises(TypeError, match="layer holds modules"):
        holder.layer = 3
