"""``mt.backward_trace()``: the contributions that it shows add up to ``.grad`` bit for bit, for
every op and every model; it changes no result, and leaves nothing behind.
"""

import asyncio
import contextvars
import gc
import threading
import weakref

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from table import TABLE

import minitensor as mt
import minitensor.nn.functional as F
from minitensor import nn, optim
from minitensor.backend import is_floating
from minitensor.engine.fused import FUSED
from minitensor.engine.mode import Mode, current_mode
from minitensor.models.bert import BERT, BERTConfig
from minitensor.models.gpt import GPT, GPTConfig
from minitensor.models.recurrent import (
    RecurrentLanguageModel,
    RecurrentLanguageModelConfig,
    SequenceClassifier,
    SequenceClassifierConfig,
    SequenceRegressor,
    SequenceRegressorConfig,
)
from minitensor.models.seq2seq import Seq2Seq, Seq2SeqConfig
from minitensor.models.t5 import T5, T5Config
from minitensor.models.transformer import Transformer, TransformerConfig
from minitensor.models.vit import ViT, ViTConfig
from minitensor.tracing import table
from minitensor.tracing.sources import source_of
from minitensor.tracing.telling import telling

TYPES = [np.dtype(kind) for kind in (np.float64, np.float32, np.float16, ml_dtypes.bfloat16)]
DRAWS = hypothesis.settings(
    max_examples=2, database=None, derandomize=True, deadline=None, phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip


@pytest.fixture(autouse=True)
def nothing_is_left():
    yield
    assert current_mode.get() == Mode()


def is_float(value):
    return isinstance(value, np.ndarray) and is_floating(value.dtype)


def bits(array):
    """Shape, type and bytes of an array; all NaN count as one."""
    array = np.asarray(array)
    array = np.where(np.isnan(array), np.array(np.nan, array.dtype), array) if is_floating(array.dtype) else array
    return array.shape, array.dtype, array.tobytes()


def add_up(t, leaves=()):
    """Every sum of contributions in a trace is the gradient that the engine had; of each leaf, by
    its node's number, it is what is in ``.grad``.
    """
    deposits = {}
    for one in t.passes:
        assert one.finished
        at = {}
        for arrival in [*one.seeds, *(a for step in one.steps for a in step.arrivals)]:
            at.setdefault(arrival.parent, []).append(arrival)
        assert sorted(at) == sorted(step.node for step in one.steps)
        assert [step.node for step in one.steps] == sorted((step.node for step in one.steps), reverse=True)
        for step in one.steps:
            arrivals, total = at[step.node], None
            for nth, arrival in enumerate(arrivals, 1):
                assert arrival.nth == nth and arrival.value.shape == t.nodes[step.node].shape
                total = arrival.value.array if total is None else arrival.added_to(total)
                assert bits(arrival.total.array) == bits(total)
            complete = step.gradient if step.before_hooks is None else step.before_hooks
            assert bits(total) == bits(complete.array)
            if step.deposited is not None:
                before = deposits.get(step.node)
                deposits[step.node] = step.grad.array
                if before is not None:
                    assert bits(step.grad.array) == bits(before + step.deposited.array)
    for leaf in leaves:
        if leaf.grad is not None:
            assert bits(leaf.grad.data) == bits(deposits[leaf.node.order].astype(leaf.dtype))


# --- every op of the table ------------------------------------------------------------------------


def plain(value):
    return np.asarray(value.data) if isinstance(value, mt.Tensor) else value


def run(row, values, keywords, dtype):
    """Results, leaves and gradients of the row's function, called twice on the same inputs."""
    mt.random.seed(0)
    rng = np.random.default_rng(0)
    inputs = [mt.tensor(value, dtype=dtype) if is_float(value) else value for value in values]
    wanted = range(len(values)) if row.wanted is None else row.wanted
    leaves = [inputs[i].requires_grad_() for i in wanted if is_float(values[i])]
    outs, ends = [], []
    for _ in range(2):
        made = row.function(*inputs, **keywords)
        outs += made if isinstance(made, (tuple, list)) else [made]
    for out in outs:
        if out.requires_grad:
            ends.append((out.astype("float32") * mt.tensor(rng.standard_normal(out.shape), dtype="float32")).sum())
    if ends and row.order:
        mt.stack(ends).sum().backward()
    return outs, leaves


@pytest.mark.parametrize("row", [pytest.param(row, id=str(row)) for row in TABLE])
def test_contributions_of_every_op_add_up(row):
    drawn = [0]

    @DRAWS
    @hypothesis.given(row.cases if hasattr(row.cases, "example") else st.tuples(*row.cases))
    def check(case):
        case = list(case) if isinstance(case, (list, tuple)) else [case]
        keywords = case.pop() if case and isinstance(case[-1], dict) else {}
        for dtype in TYPES[drawn[0] % 2 :: 2]:
            with np.errstate(all="ignore"):
                outs, leaves = run(row, case, keywords, dtype)
                state = mt.random.default.state
                with mt.backward_trace() as t:
                    traced, again = run(row, case, keywords, dtype)
            assert mt.random.default.state == state
            assert [bits(out.data) for out in traced] == [bits(out.data) for out in outs]
            for one, other in zip(again, leaves):
                assert (one.grad is None) == (other.grad is None)
                assert one.grad is None or bits(one.grad.data) == bits(other.grad.data)
            add_up(t, again)
        drawn[0] += 1

    check()
    assert drawn[0] > 1


# --- every model ----------------------------------------------------------------------------------

IDS = np.random.default_rng(0).integers(3, 11, (2, 5))
SMALL = dict(vocab_size=11, d_model=8, n_heads=2, d_ff=12)
LAYERS = dict(n_encoder_layers=1, n_decoder_layers=1)
MODELS = {
    "Transformer": (lambda: Transformer(TransformerConfig(**SMALL, **LAYERS)), (IDS, IDS, IDS, IDS != 4), {}),
    "GPT": (lambda: GPT(GPTConfig(vocab_size=11, max_length=5, d_model=8, n_heads=2, n_layers=2)), (IDS, IDS), {}),
    "T5": (lambda: T5(T5Config(**SMALL, **LAYERS, d_head=4)), (IDS, IDS, IDS), {}),
    "BERT": (
        lambda: BERT(BERTConfig(**SMALL, n_layers=1, max_length=5, mlm_head=True, n_classes=3)),
        (IDS,),
        dict(words=IDS, labels=np.array([0, 2])),
    ),
    "ViT": (
        lambda: ViT(ViTConfig(8, 4, 2, d_model=8, n_layers=1, n_heads=2, d_ff=12, n_classes=5)),
        (np.random.default_rng(0).standard_normal((2, 2, 8, 8)).astype(np.float32), np.array([0, 4])),
        {},
    ),
    "SequenceRegressor": (
        lambda: SequenceRegressor(SequenceRegressorConfig(cell="lstm", n_features=2, horizon=3, hidden_size=5)),
        (np.ones((2, 6, 2), np.float32), np.ones((2, 3), np.float32)),
        {},
    ),
    "RecurrentLanguageModel": (
        lambda: RecurrentLanguageModel(
            RecurrentLanguageModelConfig(cell="gru", vocab_size=11, d_model=4, hidden_size=6)
        ),
        (IDS, IDS),
        {},
    ),
}
for cell in ("rnn", "lstm", "gru"):
    MODELS[f"SequenceClassifier {cell}"] = (
        lambda cell=cell: SequenceClassifier(
            SequenceClassifierConfig(
                cell=cell, vocab_size=11, n_classes=3, d_model=4, hidden_size=5, bidirectional=True
            )
        ),
        (IDS, np.array([0, 2]), np.array([5, 3])),
        {},
    )
for cell, attention in (("rnn", "none"), ("lstm", "additive"), ("gru", "dot")):
    MODELS[f"Seq2Seq {cell} {attention}"] = (
        lambda cell=cell, attention=attention: Seq2Seq(
            Seq2SeqConfig(cell=cell, attention=attention, vocab_size=11, d_model=8, hidden_size=6, max_length=12)
        ),
        (IDS, IDS, IDS, np.arange(5) < [[5], [3]]),
        {},
    )


@pytest.mark.parametrize("name", MODELS)
def test_contributions_of_every_model_add_up(name):
    make, args, keywords = MODELS[name]
    found = []
    for traced in (False, True):
        mt.random.seed(0)
        model = make()
        adam = optim.Adam(model.parameters(), lr=0.01)
        if traced:
            with mt.backward_trace(model) as t:
                loss = model.loss(*args, **keywords)
                loss.backward()
                kept = [None if p.grad is None else p.grad.data.copy() for p in model.parameters()]
                adam.step()
        else:
            loss = model.loss(*args, **keywords)
            loss.backward()
            kept = [None if p.grad is None else p.grad.data.copy() for p in model.parameters()]
            adam.step()
        found.append([loss.data, *kept, *(p.data.copy() for p in model.parameters())])
    assert [x is None or bits(x) for x in found[0]] == [x is None or bits(x) for x in found[1]]
    add_up(t, [p for p in model.parameters() if p.grad is not None])
    names = {node.name for node in t.nodes.values() if node.kind == "leaf"}
    assert names <= {name for name, _ in model.named_parameters()} | {""}
    modules = {path for path, _ in model.named_modules()}
    assert {node.module for node in t.nodes.values()} <= modules and len({n.module for n in t.nodes.values()}) > 2
    assert all(node.line.file == "test_backward_trace.py" for node in t.nodes.values() if node.kind in ("op", "fused"))
    assert all(node.value is not None for node in t.nodes.values())
    lines = str(t).splitlines()
    assert max(map(len, lines)) <= 100 and ("steps between" in str(t)) == (len(t.passes[0].steps) >= 43)


# --- what a step says -----------------------------------------------------------------------------


def leaf(*values, dtype="float32", name=None):
    made = mt.tensor(list(values), dtype=dtype, requires_grad=True)
    made.name = name
    return made


def node_of(t, name):
    """The one node of that name."""
    (found,) = [node for node in t.nodes.values() if node.name == name]
    return found


def unwrapped(t):
    """The table without its line breaks, which depend on how long the numbers of nodes are."""
    return " ".join(str(t).split())


def step_of(t, name, number=-1):
    return t.passes[number].step_of(node_of(t, name).id)


def test_a_step_says_the_value_that_a_parameter_had_then():
    w = nn.Parameter(mt.tensor([1.0, 2.0]))
    optimiser = optim.SGD([w], lr=0.5)
    with mt.backward_trace({"w": w}) as t:
        for _ in range(3):
            optimiser.zero_grad()
            (w * w).sum().backward()
            optimiser.step()
            w.assign(w.detach() + 1.0)
    assert [one.step_of(node_of(t, "w").id).value.array.tolist() for one in t.passes] == [
        [1.0, 2.0],
        [1.0, 1.0],
        [1.0, 1.0],
    ]
    assert (
        str(t).count("value [1., 2.]; gradient [2., 4.]") == 1
        and str(t).count("value [1., 1.]; gradient [2., 2.]") == 2
    )


def test_a_gradient_of_16_bits_is_said_to_be_rounded():
    x = leaf(0.1, 0.2, dtype="float16", name="x")
    with mt.backward_trace() as t:
        (x * x * 0.37).sum().backward()
    assert ".grad is this, rounded to float16" in unwrapped(t)
    assert bits(step_of(t, "x").grad.array.astype(np.float16)) == bits(x.grad.data)


def test_a_hook_that_fails_has_not_passed_its_gradient_on():
    x = leaf(1.0, name="x")

    def fail(gradient):
        raise KeyError("no")

    with mt.backward_trace() as t, pytest.raises(KeyError):
        y = x * 2.0
        y.register_hook(fail)
        y.sum().backward()
    text = unwrapped(t)
    assert "given to a hook" in text and "after a hook" not in text and "ended by an error" in text


def test_a_step_has_the_rules_and_what_was_summed():
    x, b = leaf(1.0, 2.0, name="x"), mt.tensor(3.0, requires_grad=True)
    with mt.backward_trace({"bias": b}) as t:
        y = x * x + b
        mt.tanh(y).sum().backward()
    assert [t.nodes[step.node].name for step in t.passes[0].steps] == ["sum", "tanh", "add", "multiply", "bias", "x"]
    first, second = step_of(t, "multiply").arrivals
    assert (first.rule.text, second.rule.text) == ("lambda g, y: g * y", "lambda g, x: g * x")
    assert first.rule.file == "elementwise.py" and first.rule.number + 1 == second.rule.number
    assert (first.input, second.input, first.nth, second.nth) == ("x", "y", 1, 2)
    assert bits(second.total.array) == bits(x.grad.data)
    _, to_bias = step_of(t, "add").arrivals
    assert (to_bias.raw_shape, to_bias.summed_axes, to_bias.value.shape) == ((2,), (0,), ())
    (rule,) = step_of(t, "sum").arrivals
    assert rule.rule.text.startswith("def _(xp, g, x_shape, axis):") and "broadcast_to" in rule.rule.text
    assert (step_of(t, "tanh").freed, step_of(t, "multiply").freed) == (["out"], ["y", "x"])
    assert step_of(t, "bias").grad is step_of(t, "bias").deposited and node_of(t, "bias").kind == "leaf"
    add = node_of(t, "add")
    assert [(i.name, i.node) for i in add.inputs] == [("x", node_of(t, "multiply").id), ("y", node_of(t, "bias").id)]
    assert add.line.text == "y = x * x + b" and add.module == "" and add.value.array.tolist() == [4.0, 7.0]
    assert t.record.graph.outputs == [node_of(t, "sum").id] and t.passes[0].roots[0][0] == node_of(t, "sum").id


def test_the_right_one_of_several_rules_on_a_line():
    @mt.op
    def twisted(xp, x, y):
        return x - y

    a = 2.0
    twisted.vjp(lambda g: g * a, lambda g: -g * a)
    twice = [lambda g: g + 1, lambda g: g - 1]
    x = leaf(1.0)
    with mt.backward_trace() as t:
        twisted(x, x).backward(mt.ones(1))
    assert [a.rule.text for a in step_of(t, "twisted").arrivals] == ["lambda g: g * a", "lambda g: -g * a"]
    assert [source_of(f).text for f in twice] == ["lambda g: g + 1", "lambda g: g - 1"]
    assert source_of(len) is None and source_of(eval("lambda g: g")) is None


def test_a_scatter_is_written_out_only_when_it_is_looked_at():
    x = leaf(1.0, 2.0, 3.0)
    index = np.array([0, 0, 2])
    with mt.backward_trace() as t:
        (x[index] + x * 0.1).sum().backward()
    add_up(t, [x])
    (arrival,) = step_of(t, "getitem").arrivals
    index[:] = 1  # the trace has its own
    assert arrival.scattered and arrival.raw_shape == (3,) and arrival.value.array.tolist() == [2.0, 0.0, 1.0]


def test_a_hook_and_a_gradient_that_is_kept():
    x = leaf(1.0, 2.0)
    with mt.backward_trace() as t:
        y = mt.exp(x)
        y.retain_grad()
        y.register_hook(lambda g: g * 3.0)
        y.register_hook(lambda g: None)
        y.sum().backward(retain_graph=True)
        y.sum().backward()
    step = step_of(t, "exp", 0)
    assert step.hooked and step.before_hooks.array.tolist() == [1.0, 1.0] and step.gradient.array.tolist() == [3.0, 3.0]
    assert step.deposited.array.tolist() == step.grad.array.tolist() == [3.0, 3.0]
    assert t.passes[1].step_of(step.node).grad.array.tolist() == [6.0, 6.0]
    add_up(t, [x, y])
    assert "after a hook was given [1., 1.]" in t.table(width=100)


def test_a_graph_that_is_kept_frees_nothing():
    x = leaf(1.0, 2.0)
    with mt.backward_trace() as t:
        y = (x * x).sum()
        y.backward(retain_graph=True)
        y.backward()
    assert [step_of(t, "multiply", i).freed for i in (0, 1)] == [[], ["y", "x"]]
    assert bits(t.passes[1].steps[-1].grad.array) == bits(x.grad.data)


def test_gradients_of_several_outputs_and_of_inner_values():
    x = leaf(1.0, 2.0)
    with mt.backward_trace() as t:
        y = x * 2.0
        z = mt.exp(y)
        first, second = mt.grad([z, y], [x, y], [mt.ones(2), mt.full(2, 5.0)])
    assert t.passes[0].asked == sorted([x.node.order, y.node.order]) and len(t.passes[0].roots) == 2
    assert bits(step_of(t, "multiply").gradient.array) == bits(second.data)
    assert bits(t.passes[0].steps[-1].gradient.array) == bits(first.data) and x.grad is None
    add_up(t)
    with mt.backward_trace() as t:  # the pass ends at y, which nobody watches
        w = mt.exp(y)
        (only,) = mt.grad(w, [y], mt.ones(2))
    assert [t.nodes[step.node].name for step in t.passes[0].steps] == ["exp", "multiply"]
    assert bits(t.passes[0].steps[-1].gradient.array) == bits(only.data)
    add_up(t)


def test_a_second_derivative_is_a_pass_over_what_the_first_made():
    x = leaf(1.0, 2.0, name="x")
    with mt.backward_trace() as t:
        (g,) = mt.grad((x**3).sum(), [x], create_graph=True)
        g.sum().backward()
    assert [one.recorded for one in t.passes] == [True, False] and t.passes[0].steps[0].freed == []
    made = [node for node in t.nodes.values() if node.made_by is not None and node.kind == "op"]
    power = next(i for i, step in enumerate(t.passes[0].steps) if t.nodes[step.node].name == "power")
    assert made and {node.made_by[:2] for node in made} <= {(0, i) for i in range(3)}
    assert any(node.made_by[1] == power and "g * y * xp.where" in node.made_by[2] for node in made)
    add_up(t, [x])
    np.testing.assert_allclose(x.grad.data, 6 * x.data)
    assert "made by step 2 of pass 1" in t.table(width=100)


def test_a_second_derivative_of_a_kernel_goes_through_its_definition():
    x, w = mt.random.normal((3, 4)).requires_grad_(), mt.random.normal((4,)).requires_grad_()
    with mt.backward_trace() as t:
        y = F.layer_norm(x, w, mt.zeros(4))
        (g,) = mt.grad((y**2).sum(), [x], create_graph=True)
        (g * mt.arange(4.0)).sum().backward()
    (kernel,) = [n for n in t.nodes.values() if n.kind == "fused" and n.made_by is None]
    step = t.passes[0].step_of(kernel.id)
    (inside,) = step.inside.passes
    assert inside.recorded and len(inside.steps) > 3 and "def layer_norm_last" in step.arrivals[0].rule.text
    add_up(t, [x, w])


def test_a_checkpoint_shows_what_it_ran_again():
    x, w = leaf(1.0, 2.0), leaf(0.5, 0.25)

    def block(x):
        return mt.tanh(x * w)

    with mt.backward_trace() as t:
        y = mt.checkpoint(block, x)
        (y * y).sum().backward()
    add_up(t, [x, w])
    (node,) = [n for n in t.nodes.values() if n.kind == "checkpoint"]
    assert node.line.text == "return mt.tanh(x * w)" and node.value.array.tolist() == y.tolist()
    assert {n.name for n in node.definition.nodes.values()} == {"", "multiply", "tanh"}
    assert "tanh" not in [n.name for n in t.nodes.values()]
    inside = t.open(node.id)
    assert [inside.nodes[s.node].name for s in inside.passes[0].steps] == ["tanh", "multiply", "", ""]
    add_up(inside)
    for arrival in t.passes[0].step_of(node.id).arrivals:
        assert arrival.rule.text.startswith("def block(x):")
        assert bits(inside.passes[0].step_of(arrival.parent).gradient.array) == bits(arrival.value.array)


# --- what it sees and does not --------------------------------------------------------------------


def test_only_backward_inside():
    x = leaf(1.0, 2.0, name="x")
    y = F.softmax(mt.exp(x) * x + 1.0)
    with mt.backward_trace() as t:
        y.backward(mt.tensor([1.0, 2.0]))
    assert [n.name for n in t.nodes.values()][:5] == ["", "exp", "multiply", "add", "softmax"]
    assert node_of(t, "exp").value.array.tolist() == mt.exp(x).tolist()  # what the rule of multiply saved
    assert node_of(t, "exp").line is None and node_of(t, "softmax").kind == "fused"
    assert (
        node_of(t, "multiply").value is None
        and node_of(t, "add").value.array.tolist() == (mt.exp(x) * x + 1.0).tolist()
    )
    assert t.nodes[x.node.order].value.array.tolist() == [1.0, 2.0]
    add_up(t, [x])
    assert "write `with mt.backward_trace() as t:` around it too" in " ".join(str(t).split())
    inside = t.open(node_of(t, "softmax").id)
    assert inside.passes[0].steps and "up to rounding" in " ".join(str(inside).split())
    with mt.backward_trace({"x": x}) as t:
        (x + 1.0).sum().backward()
    assert node_of(t, "x").value.array.tolist() == [1.0, 2.0]


def test_values_that_were_overwritten_are_not_shown():
    x = leaf(1.0, 2.0)
    y = (mt.exp(x) + x * x).sum()
    x.assign(5.0)
    with mt.backward_trace() as t, pytest.raises(RuntimeError, match="overwritten"):
        y.backward()
    assert t.nodes[x.node.order].value is None and not t.passes[0].finished
    assert "ended by an error" in t.table(width=100)


def test_two_steps_of_an_optimiser_have_two_values():
    x = leaf(1.0, 2.0)
    sgd = optim.SGD([x], lr=1.0)
    with mt.backward_trace() as t:
        for _ in range(2):
            sgd.zero_grad()
            (x * x).sum().backward()
            sgd.step()
    first, second = [node.inputs[0].value.array.tolist() for node in t.nodes.values() if node.name == "multiply"]
    assert (first, second) == ([1.0, 2.0], [-1.0, -2.0]) and len(t.passes) == 2


def test_errors_are_the_engines_and_what_ran_is_kept():
    x = leaf(1.0, 2.0)
    with mt.backward_trace() as t, pytest.raises(RuntimeError, match="sum: backward a second time"):
        y = (x * x).sum()
        y.backward()
        y.backward()
    assert [one.finished for one in t.passes] == [True, False] and len(t.passes[1].steps) == 1

    @mt.op
    def broken(xp, x):
        return x * 1.0

    broken.vjp(lambda g: g[:, None, None] * mt.ones(3).data)
    with pytest.raises(RuntimeError) as plain:
        broken(x).sum().backward()
    with mt.backward_trace() as t, pytest.raises(RuntimeError) as traced:
        broken(x).sum().backward()
    assert str(plain.value) == str(traced.value) and "broken, in backward" in str(traced.value)
    with pytest.raises(KeyError), mt.backward_trace() as t:
        x * x
        raise KeyError
    assert len(t.nodes) == 2 and "No backward pass has run in this block" in t.table(width=100)
    with mt.backward_trace() as t, mt.detect_anomaly(), np.errstate(all="ignore"):
        with pytest.raises(FloatingPointError, match="log: non-finite value in backward"):
            mt.log(x * 1e-45).sum().backward()
    assert len(t.passes[0].steps) == 2


def test_of_two_threads_only_its_own():
    x, y = leaf(1.0), leaf(2.0)

    def elsewhere():
        (y * y).sum().backward()

    with mt.backward_trace() as t:
        thread = threading.Thread(target=elsewhere)
        thread.start()
        (x * x).sum().backward()
        thread.join()
    assert len(t.passes) == 1 and y.node.order not in t.nodes and y.grad.tolist() == [4.0]


def test_tasks_that_it_starts_and_code_that_is_left_open():
    x = leaf(1.0, 2.0)

    async def inner():
        (x * x).sum().backward()

    async def outer():
        with mt.backward_trace() as t:
            await asyncio.gather(inner(), inner())
        return t

    t = asyncio.run(outer())
    assert len(t.passes) == 2
    add_up(t)
    context = contextvars.copy_context()
    with mt.backward_trace() as t:
        context = contextvars.copy_context()
    context.run(lambda: (x * x).sum().backward())  # the block is over
    assert not t.nodes and not t.passes


def test_a_hook_that_runs_a_pass_of_its_own():
    x, y = leaf(1.0, 2.0), leaf(3.0)

    @mt.enable_grad
    def hook(gradient):
        (y * y).sum().backward()

    with mt.backward_trace() as t:
        z = x * x
        z.register_hook(hook)
        z.sum().backward()
    (inner,) = t.passes[0].step_of(z.node.order).inside.passes
    assert [t.nodes[step.node].name for step in inner.steps] == ["sum", "multiply", ""]
    assert len(t.passes) == 1 and y.grad.tolist() == [6.0]
    add_up(t, [x])


def test_an_interrupt_leaves_a_trace_that_goes_on():
    x = leaf(1.0, 2.0)

    def stop(gradient):
        raise KeyboardInterrupt

    with mt.backward_trace() as t:
        y = mt.checkpoint(lambda x: mt.exp(x * x), x)
        handle = x.register_hook(stop)
        with pytest.raises(KeyboardInterrupt):
            y.sum().backward(retain_graph=True)
        handle.remove()
        y.sum().backward()
    assert [one.finished for one in t.passes] == [False, True]
    assert len(t.passes[1].steps) == 3 and bits(t.passes[1].steps[-1].grad.array) == bits(x.grad.data)


def test_no_grad_and_constants():
    x = leaf(1.0, 2.0)
    with mt.backward_trace() as t:
        with mt.no_grad():
            scale = mt.exp(x) / 2.0
        mask = mt.greater(x, 1.5)
        mt.where(mask, x * scale, 7.0).sum().backward()
    kinds = {node.name: node.kind for node in t.nodes.values()}
    assert kinds["exp"] == kinds["divide"] == kinds["greater"] == "constant" and kinds["where"] == "op"
    assert node_of(t, "multiply").inputs[1].node == node_of(t, "divide").id < 0
    assert [i.node for i in node_of(t, "where").inputs] == [node_of(t, "greater").id, node_of(t, "multiply").id, None]
    add_up(t, [x])


def test_traces_and_profiles_within_one_another():
    x = leaf(1.0, 2.0)

    def step():
        x.grad = None
        (mt.tanh(x * x)).sum().backward()

    with mt.backward_trace() as outer, mt.backward_trace() as inner:
        step()
    assert [s.node for s in outer.passes[0].steps] == [s.node for s in inner.passes[0].steps]
    for first, second in ((mt.profile, mt.backward_trace), (mt.backward_trace, mt.profile)):
        with first() as a, second() as b, mt.profile() as c:
            step()
        t = a if first is mt.backward_trace else b
        p = b if t is a else a
        add_up(t, [x])
        for one in (p, c):
            calls = {row.name: (row.forward_calls, row.backward_calls) for row in one.rows if row.kind == "op"}
            assert calls == {"multiply": (1, 1), "tanh": (1, 1), "sum": (1, 1)}
            assert sum(row.time for row in one.rows) == pytest.approx(one.wall)
    with mt.backward_trace() as t:
        with mt.backward_trace() as u:
            y = (x * x).sum()
        y.backward()
    assert len(t.passes) == 1 and not u.passes and len(u.nodes) == 3


def test_one_block_for_each_trace(tmp_path):
    t = mt.backward_trace()
    assert repr(t) == "<backward_trace, not opened yet>"
    with t:
        assert repr(t).startswith("<backward_trace, open, 0 passes")
    with pytest.raises(RuntimeError, match="has been opened before"):
        t.__enter__()
    with pytest.raises(TypeError, match="model is a Module or a dict of tensors by name, not an int"):
        mt.backward_trace(3)
    with pytest.raises(TypeError, match=r"model\['w'\] is a list; a dict of tensors by name is wanted"):
        mt.backward_trace({"w": [1.0]})
    with pytest.raises(KeyError, match="no node 99"):
        t.open(99)
    with pytest.raises(ValueError, match=r"'x.png' must end in .html"):
        t.save("x.png")
    (tmp_path / "a.html").mkdir()
    for folder in (tmp_path, tmp_path / "a.html"):
        with pytest.raises(IsADirectoryError, match=r"is a folder; name a file in it: .*backward.html"):
            t.save(folder)
    with pytest.raises(IsADirectoryError, match="cannot save .*a.html: it is a folder"):
        mt.save(tmp_path / "a.html", {"x": mt.ones(1)})
    assert [one.name for one in tmp_path.iterdir()] == ["a.html"]


def test_what_was_noted_cannot_change_before_it_is_asked_for():
    x, w = leaf(1.0, 2.0), nn.Parameter(mt.tensor([3.0, 4.0]))
    index, given = np.array([1, 0]), np.array([5.0, 6.0], np.float32)
    with mt.backward_trace({"w": w}) as t:
        y = (x * w)[index] + given
        y.retain_grad()
        y.sum().backward()
        w.assign(-w.detach())
    index[:], given[:] = 0, 0.0
    w.assign(w.detach() - 1.0)
    y.grad._array[...] = 7.0
    assert node_of(t, "multiply").value.array.tolist() == [3.0, 8.0]
    assert [one.value.array.tolist() for one in node_of(t, "multiply").inputs] == [[1.0, 2.0], [3.0, 4.0]]
    assert node_of(t, "add").inputs[1].value.array.tolist() == [5.0, 6.0]
    assert node_of(t, "getitem").keywords == {"index": "array([1, 0])"}
    assert step_of(t, "add").gradient.array.tolist() == [1.0, 1.0] and step_of(t, "w").gradient.array.tolist() == [
        1.0,
        2.0,
    ]
    with pytest.raises(ValueError, match="read-only"):
        step_of(t, "add").gradient.array[0] = 1.0


def test_a_trace_that_is_asked_while_it_is_open():
    x, seen = leaf(1.0, 2.0), []

    def look(gradient):
        seen.append((len(t.passes[0].steps), len(t.nodes), [len(one.arrivals) for one in t.passes[0].steps]))

    with mt.backward_trace() as t:
        y = x * x
        assert [one.name for one in t.nodes.values()] == ["", "multiply"]
        y.register_hook(look)
        (y + x).sum().backward()
        once = list(t.nodes.values())
        (y * 2.0).sum()
    assert seen == [(3, 4, [1, 2, 0])]
    assert list(t.nodes.values())[: len(once)] == once and len(t.nodes) == len(once) + 2
    add_up(t, [x])


class Doubling(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        return mt.tanh(self.linear(x)) * 2.0


def test_each_call_of_a_module_has_a_number_of_its_own():
    model = nn.Sequential(Doubling())
    with mt.backward_trace(model) as t:
        model[0](model(model(mt.ones((1, 2))))).sum().backward()
    calls = [dict(node.calls) for node in t.nodes.values() if node.name in ("linear", "tanh", "multiply")]
    assert [one["0"] for one in calls[::3]] == [one["0"] for one in calls[2::3]]
    assert len({one["0"] for one in calls}) == 3 == len({one["0.linear"] for one in calls[::3]})
    assert len({one.get("") for one in calls}) == 3 and "" not in calls[-1]


def test_a_trace_outlives_the_graph_and_keeps_nothing_of_it():
    x = mt.ones(1000, requires_grad=True)
    with mt.backward_trace() as t:
        y = F.softmax(x * x)
        array = weakref.ref(y._array)
        y.sum().backward()
    before = str(t)
    freed = weakref.ref(x._array)
    del x, y
    gc.collect()
    assert array() is None and freed() is None and str(t) == before


def test_without_a_trace_nothing_is_called(monkeypatch):
    """Off, neither an op nor a step of a pass nor a module comes by any code of the trace."""
    import sys

    from minitensor.engine import observer
    from minitensor.nn.module import Module

    model, seen = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 1)), set()

    def look(frame, event, arg):
        seen.add(frame.f_code.co_filename.replace("\\", "/"))

    x = mt.ones((2, 3))
    model(x).sum().backward()
    sys.setprofile(look)
    try:
        model(x).sum().backward()
    finally:
        sys.setprofile(None)
    assert any("engine/autograd" in path for path in seen)
    assert not [path for path in seen if "/tracing/" in path or path.endswith("engine/observer.py")]
    assert Module.__call__.__code__.co_names == ("capturing", "modules", "id", "_hooks", "forward", "_call_with_hooks")
    assert observer.Observer().outer is None


# --- the inside of an op --------------------------------------------------------------------------


def fused_calls():
    """For each fused op a call on small inputs."""
    rng = np.random.default_rng(0)

    def some(*shape):
        return mt.tensor(rng.standard_normal(shape), dtype="float32", requires_grad=True)

    x, q = some(2, 3, 4), [some(1, 2, 3, 4) for _ in range(3)]
    mt.random.seed(0)
    recurrent = {kind: getattr(nn, kind)(4, 5, batch_first=True) for kind in ("RNN", "LSTM", "GRU")}
    attention = nn.MultiHeadAttention(4, 2)
    return {
        "relu": lambda: F.relu(x), "silu": lambda: F.silu(x), "gelu": lambda: F.gelu(x),
        "dropout": lambda: F.dropout(x, 0.5), "softmax": lambda: F.softmax(x), "log_softmax": lambda: F.log_softmax(x),
        "linear": lambda: F.linear(x, some(5, 4), some(5)),
        "cross_entropy": lambda: F.cross_entropy(some(3, 4), np.array([0, 3, 1])),
        "symmetric_kl_div": lambda: F.symmetric_kl_div(some(2, 3, 4)),
        "layer_norm_last": lambda: F.layer_norm(x, some(4), some(4)),
        "rms_norm_last": lambda: F.rms_norm(x, some(4)),
        "scaled_dot_product_attention": lambda: F.scaled_dot_product_attention(*q, is_causal=True),
        "packed_attention": lambda: attention(x),
        "packed_rnn": lambda: recurrent["RNN"](x)[0], "packed_lstm": lambda: recurrent["LSTM"](x)[0],
        "packed_gru": lambda: recurrent["GRU"](x)[0],
    }  # fmt: skip


def test_every_fused_op_opens():
    calls = fused_calls()
    assert set(calls) == {name for name, op in FUSED.items() if op.kernels}
    for name, call in calls.items():
        with mt.backward_trace() as t:
            out = call()
            out.backward(mt.tensor(np.random.default_rng(1).standard_normal(out.shape), dtype="float32"))
        node = next(node for node in t.nodes.values() if node.name == name)
        state = mt.random.default.state
        inside = t.open(node.id)
        add_up(inside)
        assert mt.random.default.state == state and node.definition is inside.record.graph
        found = {inside.nodes[s.node].name: s.grad.array for s in inside.passes[0].steps if s.grad is not None}
        arrivals = t.passes[0].step_of(node.id).arrivals
        assert {arrival.input for arrival in arrivals} == set(found), name
        for arrival in arrivals:
            np.testing.assert_allclose(found[arrival.input], arrival.value.array, rtol=1e-4, atol=1e-5, err_msg=name)
        lines = [n.line for n in inside.nodes.values() if n.kind == "op"]
        assert all(line is not None and "functional" in line.path for line in lines), name
        assert "up to rounding" in " ".join(str(inside).split())


def test_opening_in_narrow_types_and_while_a_trace_is_open():
    x = mt.tensor([[1.0, 2.0]], dtype="float16", requires_grad=True)
    with mt.backward_trace() as t:
        y = F.softmax(x)
        y.sum().backward()
        inside = t.open(node_of(t, "softmax").id)
    assert len(t.passes) == 1 and inside.passes
    with pytest.raises(ValueError, match="sum has no inside; fused ops and checkpoints have"):
        t.open(node_of(t, "sum").id)


# --- the text -------------------------------------------------------------------------------------


def test_text_fits_any_terminal(monkeypatch):
    x, big = leaf(*range(8), name="x"), mt.ones((3, 4), requires_grad=True)
    with mt.backward_trace() as t:
        ((x * 1e30).sum() + (big * 2.0).sum() + mt.zeros((0, 3), requires_grad=True).sum()).backward()
    for width in (40, 64, 100):
        assert max(map(len, t.table(width=width).splitlines())) <= width
    assert max(map(len, t.table(width=500).splitlines())) <= 100
    text = t.table(width=100)
    assert "(3, 4) norm 3.464" in text and "(0, 3) empty" in text and "[0., 1., 2., 3., 4., 5., 6., 7.]" in text
    assert "\x1b" not in text and "steps between" in t.table(steps=2)
    monkeypatch.setenv("COLUMNS", "50")
    assert max(map(len, str(t).splitlines())) <= 50


def test_code_without_a_file_has_numbers_and_no_text():
    namespace = {"mt": mt, "x": leaf(2.0)}
    exec(compile("with mt.backward_trace() as t:\n    (x * x).backward()", "<string>", "exec"), namespace)
    lines = namespace["t"].table(width=80).splitlines()
    assert "<string>:2" in lines[2] and all(line == line.rstrip() for line in lines)


def test_a_backward_pass_of_another_thread_is_not_seen_and_that_is_said():
    x = leaf(2.0)
    with mt.backward_trace() as t:
        y = x * x
        other = threading.Thread(target=y.backward)
        other.start()
        other.join()
    assert "in the thread that opened it; it saw 1 op" in t.table(width=100) and x.grad is not None


def test_of_a_rule_of_several_lines_the_table_shows_the_one_that_says_most():
    x, w = mt.ones((2, 3), requires_grad=True), mt.ones((4, 3), requires_grad=True)
    with mt.backward_trace() as t:
        F.linear(x, w).mean().backward()
    lines = t.table(width=100).splitlines()
    (said,) = [line for line in lines if line.startswith("   weight: gw = ")]
    assert "affine.py:" in said or "compiled.py:" in said
    for rule, place, wanted in (
        ("def f(g):\n    if g:\n        return g\n    return g * 2", (0, 0), (3, "last of 2 returns: return g * 2")),
        ("def f(g):\n    if g:\n        return None, g\n    return g * 2, g", (0, 2), (3, "g * 2")),
        ("def f(g):\n    a = g * 2\n    b = a\n    return a, b + 1", (0, 2), (1, "a = g * 2")),
        ("def f(g):\n    a = g * 2\n    b = a\n    return a, b + 1", (1, 2), (3, "b + 1")),
        ("def f(g):\n    a = xp.empty_like(g)\n    run(g, a)\n    a = a.reshape(2)\n    return a, None", (0, 2), (2, "run(g, a)")),
        ("def f(g):\n    def h():\n        return 1\n    return (\n        g,  # one\n        h)", (0, 0), (3, "return ( g, h)")),
        ("def f(g):\n    if g:\n        a = g\n    else:\n        a = -g\n    return a, g", (0, 2),
         (4, "last of 2 lines for it: a = -g")),
        ("def f(g):\n    n, parts = len(g), []\n    for a in g:\n        parts.append(a)\n    return parts", (0, 0),
         (3, "parts.append(a)")),
        ("def f(g):\n    a, b = xp.empty(2), g * 2\n    run(a)\n    return a, b", (0, 2), (2, "run(a)")),
        ("def f(g):\n    a, b = xp.empty(2), g * 2\n    run(a)\n    return a, b", (1, 2), (1, "a, b = xp.empty(2), g * 2")),
        ("lambda g: (g *\n    2)", (0, 0), (0, "lambda g: (g * 2)")),
        ("def f(g):\n    pass", (0, 0), (0, "def f(g): pass")),
    ):  # fmt: skip
        assert telling(rule, *place) == wanted
    for width in (40, 64):
        assert max(map(len, t.table(width=width).splitlines())) <= width


def test_an_empty_trace_says_so():
    with mt.backward_trace() as t:
        pass
    assert "Nothing has run in this block" in str(t) and repr(t) == "<backward_trace, 0 passes, 0 steps, 0 nodes>"


def test_values_of_all_kinds():
    for array, text in (
        (np.array(1e200), "1.e+200"), (np.array([3e200, 4e200] * 5), "(10,) norm 1.118e+201"),
        (np.array([np.nan] * 9), "(9,) norm nan"), (np.array([-np.inf] * 9), "(9,) norm inf"),
        (np.array([200] * 9, "uint8"), "(9,) norm 600"), (np.array([True, False]), "[ True, False]"),
        (np.array([1.5], ml_dtypes.bfloat16), "[1.5]"), (np.zeros((2, 0)), "(2, 0) empty"),
    ):  # fmt: skip
        x = mt.backward_trace()
        with x:
            mt.asarray(array) * 1
        (node,) = x.nodes.values()
        assert table.value_text(node.inputs[0].value) == text


def test_modules_without_a_model_are_below_the_outermost():
    first, second = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with mt.backward_trace() as t:
        second(mt.ones((1, 2))).sum().backward()
    assert [n.module for n in t.nodes.values() if n.kind == "fused"] == ["0", "1"]
    with mt.backward_trace() as t:
        second(first(first(mt.ones((1, 2))))).sum().backward()
    assert [n.module for n in t.nodes.values() if n.kind == "fused"] == [
        "Linear",
        "Linear",
        "Sequential.0",
        "Sequential.1",
    ]
    with mt.backward_trace(second) as t:
        nn.Linear(2, 2)(second(first(mt.ones((1, 2))))).sum().backward()
    assert [n.module for n in t.nodes.values() if n.kind == "fused"] == ["Linear", "0", "1", "Linear#2"]
