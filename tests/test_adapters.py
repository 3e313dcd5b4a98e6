"""Ops of other libraries in the checks: right ones pass, wrong ones are found, and it is their own
backward that runs.
"""

import cProfile
import os
import sys

import numpy as np
import pytest

import minitensor as mt
from minitensor.testing import adapters, check_op, gradcheck, gradgradcheck

THOROUGH = bool(os.environ.get("MINITENSOR_THOROUGH"))
X = np.array([[1.0, 2.0, -0.3], [0.5, 3.0, 1.2]])
WRONG = r"at index \(\d, \d\) is .* by its rule but"

# --- NumPy pairs ----------------------------------------------------------------------------------


def test_a_pair_of_numpy_functions():
    def outer(x, y):
        return x[:, None] * y

    def vjp(g, x, y):
        return (g * y).sum(1), (g * x[:, None]).sum(0)

    x, y = np.array([1.0, -2.0]), np.array([0.5, 3.0, -1.0])
    for pair in ((outer, vjp), adapters.numpy_pair(outer, vjp)):
        report = check_op(pair, [x, y], reference=outer)
        assert report.name == "outer" and report.checked == 2 and "no second ones" in report.note
        assert "NumPy" in repr(report)
    with pytest.raises(AssertionError, match=r"outer: the gradient of input 1 \(y\) at index"):
        check_op((outer, lambda g, x, y: ((g * y).sum(1), (g * x[:, None] ** 2).sum(0))), [x, y])
    with pytest.raises(TypeError, match="NumPy has no second derivatives"):
        gradgradcheck((outer, vjp), [x, y])


def test_a_function_that_returns_its_pullback():
    def exp(x):
        out = np.exp(x)
        return out, lambda g: g * out

    assert gradcheck(adapters.numpy_pullback(exp), [X]).checked == 1


def test_a_pair_with_several_outputs_integers_keywords_and_lists():
    def both(x, k, *, scale=1.0):
        return x * x * scale, x[k] * 3.0, np.argmax(x)

    def vjp(g, x, k, *, scale=1.0):
        one = 2 * g[0] * x * scale
        np.add.at(one, k, 3.0 * g[1])
        return one, None

    args = [np.array([1.0, 2.0, 4.0]), np.array([0, 0, -1])]
    assert check_op((both, vjp), args, keywords={"scale": 2.0}).checked == 1
    add = (lambda xs: xs[0] + 2 * xs[1], lambda g, xs: ([g, 2 * g],))
    assert gradcheck(add, [[X, X]]).checked == 2


def product_vjp(g, pair):
    first, second = pair.values() if isinstance(pair, dict) else pair
    return g * second, g * first


def test_a_pair_of_dicts_and_lists():
    named, listed = {"b": X, "a": X + 1}, [X, X + 1]

    def product(pair):
        first, second = pair.values() if isinstance(pair, dict) else pair
        return first * second

    as_dict = (lambda g, d: dict(zip(d, product_vjp(g, d))), lambda g, d: (dict(zip(d, product_vjp(g, d))),))
    as_list = (lambda g, p: product_vjp(g, p), lambda g, p: list(product_vjp(g, p)), lambda g, p: (product_vjp(g, p),))
    for inputs, rules in ((named, as_dict), (listed, as_list)):
        assert all(gradcheck((product, vjp), [inputs]).checked == 2 for vjp in rules)
    beside = (lambda d, y: d["a"] * y, lambda g, d, y: ({"a": g * y}, g * d["a"]))
    assert gradcheck(beside, [{"a": X}, X + 1]).checked == 2
    with pytest.raises(AssertionError, match=r"input 0 \(pair\['b'\]\) at index"):
        gradcheck((product, lambda g, d: dict(zip(("a", "b"), product_vjp(g, d)))), [named])
    for inputs, made in ((named, lambda g: {"a": g}), (named, lambda g: g), (listed, lambda g: ([g],))):
        with pytest.raises(AssertionError, match="one for each part is needed"):
            gradcheck((product, lambda g, _, made=made: made(g)), [inputs])
    outputs = (lambda x: {"s": np.sin(x), "c": [np.cos(x)]}, lambda g, x: g["s"] * np.cos(x) - g["c"][0] * np.sin(x))
    assert gradcheck(outputs, [X]).checked == 1


@pytest.mark.parametrize(
    ("vjp", "words"),
    [
        (lambda g, x: None, "vjp returned None"),
        (lambda g, x: (2 * g * x, g), "2 gradients for 1 inputs"),
        (lambda g, x: (2 * g * x).sum(0), r"\(2, 3\) float64, a gradient of \(3,\) float64"),
        (lambda g, x: (2 * g * x).astype(np.float32), "a gradient of .* float32"),
        (lambda g, x: np.multiply(g, 2 * x, out=g), "writes to one of its arguments"),
        (lambda g, x: 2.0002 * g * x, WRONG),
        (lambda g, x: 2 * g * np.where(x == 3.0, -x, x), r"at index \(1, 1\)"),
        (lambda g, x: (None,), "is 0.0 by its rule"),
        (lambda g, x: 1 / 0, "its gradient fails: ZeroDivisionError"),
    ],
)
def test_what_a_pair_does_wrong_is_told(vjp, words):
    with pytest.raises(AssertionError, match=words):
        gradcheck((np.square, vjp), [X])


def test_a_rule_that_is_wrong_on_the_diagonal_alone():
    def vjp(g, x, y):
        gx, gy = g @ y.T, x.T @ g
        return gx + 1e-3 * np.eye(3) * gx, gy

    rng = np.random.default_rng(0)
    with pytest.raises(AssertionError, match=r"at index \((0, 0|1, 1|2, 2)\)"):
        gradcheck((np.matmul, vjp), [rng.normal(size=(3, 3)), rng.normal(size=(3, 3))])


def test_infinite_outputs_on_both_sides():
    pair = (np.log, lambda g, x: g / x)
    with np.errstate(all="ignore"):
        report = check_op(pair, [np.array([0.0, -1.0, 2.0, 3.0, 4.0, np.inf])])
    assert report.checked == 3 and report.kinks == 3


def test_the_complex_step_reaches_other_libraries():
    pair = (np.exp, lambda g, x: g * np.exp(x))
    assert gradcheck(pair, [X], complex_step=True, rtol=1e-12).checked
    with pytest.raises(AssertionError, match=WRONG):
        gradcheck((np.exp, lambda g, x: g * np.exp(x) * (1 + 1e-9)), [X], complex_step=True, rtol=1e-11)


# --- PyTorch --------------------------------------------------------------------------------------


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def square_of(torch, factor, **more):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return factor * g * x

    return Square


@pytest.mark.torch
def test_functions_of_pytorch(torch):
    right, wrong = square_of(torch, 2.0), square_of(torch, 2.1)
    ways = (lambda f: f, lambda f: f.apply, lambda f: lambda x: f.apply(x).sum(0), lambda f: adapters.torch_function(f))
    for way in ways:
        assert gradcheck(way(right), [X]).checked == 1
        with pytest.raises(AssertionError, match=WRONG):
            gradcheck(way(wrong), [X])
    assert check_op(right, [X]).checked == 3
    assert gradcheck(torch.cat, [[X, X]]).checked == 2
    if THOROUGH:
        assert check_op(torch.topk, [X], keywords={"k": 2}).checked == 3


@pytest.mark.torch
def test_a_layer_of_pytorch_with_its_parameters(torch):
    layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Dropout(0.5))
    before = [p.detach().clone() for p in layer.parameters()]
    assert gradcheck(layer, [X]).checked == 3 and (not THOROUGH or check_op(layer, [X]).checked == 7)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, layer.parameters()))

    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(3))

        def forward(self, x):
            return x * self.weight.detach()

    with pytest.raises(AssertionError, match=r"Odd: the gradient of input 1 \(parameter weight\) at index \(0,\)"):
        gradcheck(Odd(), [X])
    assert len(gradcheck(torch.nn.LSTM(3, 2), [X], name="lstm").name) == 4


@pytest.mark.torch
def test_the_backward_of_pytorch_must_run_and_be_pure(torch):
    right = square_of(torch, 2.0)

    def beside(x):
        right.apply(x)  # what is returned does not come from it
        return x * x

    with pytest.raises(AssertionError, match="Square has a backward of its own, and PyTorch never ran it"):
        gradcheck(beside, [X])
    with pytest.raises(AssertionError, match="PyTorch never ran a backward"):
        gradcheck(lambda x: torch.tensor(x.detach().numpy() ** 2), [X])

    class InPlace(right):
        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g.mul_(2 * x)

    with pytest.raises(AssertionError, match="writes to the gradient that it is given"):
        gradcheck(InPlace, [X])


@pytest.mark.torch
@pytest.mark.parametrize("way", ["data", "numpy", "saved", "buffer"])
def test_writes_that_pytorch_does_not_count(torch, way):
    kept: dict = {}

    class Twice(square_of(torch, 2.0)):
        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            if way == "data":
                g.data.mul_(2 * x)
            elif way == "numpy":
                g.detach().numpy()[...] *= 2 * x.numpy()
            elif way == "saved":
                made = 2 * g * x
                x.data.mul_(2)
                return made
            else:
                return torch.mul(2 * g, x, out=kept.setdefault(g.dtype, torch.empty_like(x)))
            return g

    words = {"buffer": "writes to a gradient that it returned before, a buffer that it keeps"}
    with pytest.raises(AssertionError, match=words.get(way, "writes to the gradient that it is given, or to an input")):
        check_op(Twice, [X], order=1)

    class Forward(square_of(torch, 2.0)):
        @staticmethod
        def forward(ctx, x):
            x.data.clamp_(min=0)
            ctx.save_for_backward(x)
            return x * x

    if way == "data":
        with pytest.raises(AssertionError, match="Forward: it writes to one of its inputs in place"):
            gradcheck(Forward, [X])


@pytest.mark.torch
def test_a_rule_that_is_wrong_if_two_of_three_are_wanted(torch):
    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, y, z):
            ctx.save_for_backward(x, y, z)
            return x * y * z

        @staticmethod
        def backward(ctx, g):
            x, y, z = ctx.saved_tensors
            factor = 2 if ctx.needs_input_grad == (True, False, True) else 1
            return factor * g * y * z, g * x * z, g * x * y

    with pytest.raises(
        AssertionError, match=r"the gradient of input 0 \(x\), if input 0 \(x\) and input 2 \(z\) alone are wanted"
    ):
        check_op(Product, [X, X + 1, X + 2], order=1)


@pytest.mark.torch
def test_what_is_called_without_gradients_was_not_checked(torch):
    square = square_of(torch, -7.0)

    def blocked(x):
        with torch.no_grad():
            y = square.apply(x)
        return 0 * y + torch.sin(x)

    for function in (blocked, lambda x: 0 * square.apply(x.detach().round()) + torch.sin(x)):
        with pytest.raises(AssertionError, match="Square has a backward of its own, and PyTorch never ran it"):
            gradcheck(function, [np.zeros(2)])


@pytest.mark.torch
def test_what_has_no_part_in_the_gradient_needs_no_backward(torch):
    square = square_of(torch, 2.0)

    class Outer(square_of(torch, 2.0)):  # stands for what its forward calls
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return square.apply(x)

    class Mapped(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x):
            return x * x

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * g * x

    class Unpacked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("weight", torch.ones(3))

        def forward(self, x):
            return torch.sin(x) * square.apply(self.weight)

    for function in (Outer, Unpacked(), lambda x: square.apply(torch.ones(3, dtype=x.dtype)) * x):
        assert gradcheck(function, [X]).checked == 1
    assert gradcheck(lambda x, w: square.apply(w) * x, [X, X], wanted=[0]).checked == 1
    assert gradcheck(lambda x: torch.func.vmap(Mapped.apply)(x), [X]).checked == 1, "PyTorch runs it under another name"


@pytest.mark.torch
def test_inputs_tell_the_library(torch):
    x = torch.tensor(X, requires_grad=True)
    assert check_op(lambda x: x.amax(-1), [x], order=1).checked == 1
    assert gradcheck(lambda d: d["a"].amax(-1), [{"a": x}]).checked == 1
    assert gradcheck(mt.tanh, [x]).checked == 1, "what names its library keeps it"
    with pytest.raises(TypeError, match="inputs are of minitensor and torch.*adapters.torch_function"):
        gradcheck(lambda x, y: x * y, [x, mt.ones(3)])
    wrong = lambda x: x.detach().amax(-1) * x.amax(-1)  # noqa: E731
    with pytest.raises(AssertionError) as caught:
        gradcheck(wrong, [x])
    pasted = str(caught.value).partition("paste:")[2]
    with pytest.raises(AssertionError, match="by its rule but"):
        exec(pasted, {"fn": wrong, "wrong": wrong})


@pytest.mark.torch
def test_profiles_reach_tensors_of_pytorch_and_dicts(torch):
    class Square(square_of(torch, 2.0)):
        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * g * x * torch.where(x.abs() > 1e3, 1.5, 1.0)

    x = torch.tensor([2.0])
    with pytest.raises(AssertionError, match="by its rule but"):
        check_op(lambda d: Square.apply(d["a"]), [{"a": x.bfloat16()}], profiles="huge", order=1)
    with pytest.raises(AssertionError, match="by its rule but") as caught:  # varied, they tell no library any more
        check_op(lambda x: x.detach().amax(-1).gt(1e3) * (x - x.detach()) + x.amax(-1), [x], profiles="huge", order=1)
    assert "adapters.torch_function(" in str(caught.value)


@pytest.mark.torch
def test_a_layer_within_a_function_is_of_another_type(torch):
    layer, weight = torch.nn.Linear(3, 2), torch.ones(3, 2)
    for function in (lambda x: layer(x), lambda x: x @ weight):
        with pytest.raises(RuntimeError, match=r"torch.float64 here.*check a layer itself.*layer.double\(\)"):
            gradcheck(function, [X])
    with pytest.raises(RuntimeError) as caught:
        gradcheck(lambda x: torch.nn.functional.embedding(x, weight), [X])
    assert "layer itself" not in str(caught.value)


@pytest.mark.torch
def test_functions_of_pytorch_that_write_to_their_inputs(torch):
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.mul_(2.0) * 1.0

        @staticmethod
        def backward(ctx, g):
            return 2.0 * g

    words = "it writes to one of its inputs in place: give a function that clones it"
    for function in (Doubled, torch.nn.ReLU(inplace=True)):
        with pytest.raises(AssertionError, match=words):
            gradcheck(function, [X])
    assert gradcheck(lambda x: Doubled.apply(x.clone()), [X]).checked


@pytest.mark.torch
def test_dropout_of_pytorch_and_gradients_that_are_zero(torch):
    assert check_op(torch.nn.Dropout(0.5), [X]).checked, "which elements are dropped goes by the order in memory"
    assert check_op(torch.abs, [X]).checked, "its second derivative is a lazy zero"


@pytest.mark.torch
def test_pytorch_says_when_there_is_no_second_derivative(torch):
    from torch.autograd.function import once_differentiable

    class Once(square_of(torch, 2.0)):
        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * g * x

    report = check_op(Once, [X])
    assert report.checked == 1 and "first derivatives alone" in report.note

    class Cut(square_of(torch, 2.0)):  # differentiable again without a word, and wrongly
        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * g * x.detach()

    with pytest.raises(AssertionError, match="the gradient of Cut: the gradient of input 0"):
        check_op(Cut, [X])


@pytest.mark.torch
def test_narrow_types_of_pytorch(torch):
    for dtype in ("float16", "bfloat16", "float32"):
        assert gradcheck(torch.tanh, [X], dtype=dtype).checked == 2

    class Narrow(square_of(torch, 2.0)):
        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return (2.0 if x.dtype != torch.bfloat16 else 3.0) * g * x

    assert gradcheck(Narrow, [X], dtype="float16").checked
    with pytest.raises(AssertionError, match="by its rule in bfloat16 but"):
        gradcheck(Narrow, [X], dtype="bfloat16")


# --- JAX ------------------------------------------------------------------------------------------


def test_functions_of_jax():
    jax = pytest.importorskip("jax")
    jnp = jax.numpy

    def made(factor):
        @jax.custom_vjp
        def scaled_sine(x, y):
            return jnp.sin(x) * y

        scaled_sine.defvjp(
            lambda x, y: (scaled_sine(x, y), (x, y)),
            lambda kept, g: (factor * g * jnp.cos(kept[0]) * kept[1], g * jnp.sin(kept[0])),
        )
        return scaled_sine

    x = X[:1]
    report = check_op(made(1.0), [x, x + 1.0]) if THOROUGH else gradgradcheck(made(1.0), [x, x + 1.0])
    assert report.checked == (5 if THOROUGH else 3) and not report.note and report.name.endswith("scaled_sine")
    for wrong in (made(1.001), jax.jit(made(1.001)))[0 if THOROUGH else 1 :]:
        with pytest.raises(AssertionError, match=WRONG):
            gradcheck(wrong, [x, x + 1.0])
    assert isinstance(adapters.adapt(lambda x: x.at[0].set(0.0), [jnp.ones(3)]), adapters.Adapted), "inputs tell it"
    assert gradcheck(jax.nn.relu, [np.array([-1.0, 0.0, 2.0])]).kinks == 1
    assert check_op(lambda x: x * jnp.arange(3.0), [X], order=1).checked, "float32 inputs meet constants of float32"
    if THOROUGH:
        assert gradcheck(lambda x: jnp.exp(x), [X], dtype="bfloat16").checked == 2
    assert not jax.config.jax_enable_x64, "only within"


def test_the_rule_of_jax_must_run():
    jax = pytest.importorskip("jax")

    @jax.custom_vjp
    def square(x):
        return x * x

    square.defvjp(lambda x: (x * x, x), lambda x, g: (2 * g * x,))

    def beside(x):
        square(jax.lax.stop_gradient(x))
        return jax.numpy.square(x)

    assert gradcheck(square, [X]).checked  # whatever ran in an earlier check, or was compiled there
    assert gradcheck(lambda x: square(jax.numpy.ones(3)) * x, [X]).checked == 1, (
        "a constant has no part in the gradient"
    )
    beside_compiled = jax.jit(beside)
    for wrong in (beside, beside_compiled, beside_compiled):
        with pytest.raises(AssertionError, match="square has a backward of its own, and JAX never ran it"):
            gradcheck(wrong, [X])


def test_a_function_of_jax_as_one_program():
    jax = pytest.importorskip("jax")

    def made(factor):
        @jax.custom_vjp
        def square(x):
            return x * x

        square.defvjp(lambda x: (x * x, x), lambda x, g: (factor * g * x,))
        return square

    def check(function, *inputs):  # as of a second example
        adapted = adapters.jax_function(function)
        adapted.library.examples = 2
        return gradcheck(adapted, list(inputs)), adapted.library.programs

    square, rng = made(2.0), np.random.default_rng(0)

    def picked(x, k):
        return {"picked": x[k] * square(x).sum(), "last": jax.numpy.argmax(x)}

    report, programs = check(picked, X[0], np.array([0, 2, 2]))
    assert report.checked == 1 and all(programs.values())
    with pytest.raises(AssertionError, match=WRONG):
        check(made(2.002), X)
    with pytest.raises(AssertionError, match="square has a backward of its own, and JAX never ran it"):
        check(lambda x: 0 * square(jax.lax.stop_gradient(x)) + x, X)
    with pytest.raises(AssertionError, match="output 0 differs between two calls at the same inputs"):
        check(lambda x: x * rng.random(), X)
    report, programs = check(lambda x: (x * 2, 1.5), X)  # a number has the type of the inputs
    assert report.checked == 1 and not any(programs.values())


# --- HIPS autograd and MyGrad ---------------------------------------------------------------------


def test_primitives_of_hips():
    pytest.importorskip("autograd")
    import autograd.numpy as anp
    from autograd.extend import defvjp, primitive

    def made(factor):
        @primitive
        def square(x):
            return x * x

        defvjp(square, lambda ans, x: lambda g: factor * g * x)
        return square

    assert check_op(made(2.0), [X]).checked == 3
    with pytest.raises(AssertionError, match=WRONG):
        gradcheck(made(2.1), [X])
    assert check_op(lambda x, y: (anp.dot(x, y.T), anp.sin(x)), [X, X + 1]).checked == 6
    with pytest.raises(AssertionError, match="HIPS autograd never ran a backward"):
        gradcheck(lambda x: anp.square(np.ones(3)), [X])
    assert check_op(anp.floor, [np.array([0.5, -1.2])]).checked, "it has no rule, and needs none"


def test_operations_of_mygrad():
    mygrad = pytest.importorskip("mygrad")
    from mygrad.operation_base import Operation

    class Square(Operation):
        factor = 2

        def __call__(self, x):
            self.variables = (x,)
            return x.data**2

        def backward_var(self, grad, index, **_):
            return self.factor * grad * self.variables[index].data

    class Wrong(Square):
        factor = 2.1

    report = check_op(Square, [X])
    assert report.checked == 1 and "MyGrad has no second ones" in report.note
    with pytest.raises(AssertionError, match=WRONG):
        gradcheck(Wrong, [X])
    assert gradcheck(lambda x: (mygrad.exp(x), mygrad.sum(x)), [X]).checked == 1
    assert gradcheck(mygrad.sin, [X]).checked == 1


# --- looking --------------------------------------------------------------------------------------


def test_what_is_ours_is_left_as_it_is():
    assert adapters.adapt(mt.tanh) is mt.tanh

    def reference(x):
        return mt.tanh(x)

    assert adapters.adapt(reference) is reference
    assert adapters.adapt(mt.nn.Linear(2, 2)).__class__ is mt.nn.Linear


def test_a_foreign_op_within_a_function_of_ours():
    pytest.importorskip("autograd")
    import autograd.numpy as anp

    inner = adapters.autograd_function(anp.sin)
    assert gradcheck(lambda x: mt.exp(inner(x)) * 2.0, [X]).checked == 1


def test_no_library_is_imported_for_a_check():
    import subprocess

    code = "import sys, numpy; from minitensor.testing import check_op; import minitensor as mt\n"
    code += (
        "check_op(mt.tanh, [numpy.ones(3)]); check_op((numpy.exp, lambda g, x: g * numpy.exp(x)), [numpy.ones(3)])\n"
    )
    code += "sys.exit(bool({'torch', 'jax', 'autograd', 'mygrad'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr


def test_an_array_of_numpy_has_no_device():
    with pytest.raises(ValueError, match="has no device 'cuda'"):
        gradcheck((np.exp, lambda g, x: g * np.exp(x)), [X], device="cuda")
    assert gradcheck(mt.exp, [X], device="cpu").checked == 1


def test_a_check_within_a_profile_leaves_the_profile_as_it_was():
    with cProfile.Profile() as profile:
        assert gradcheck((np.square, lambda g, x: 2.0 * g * x), [X]).checked
        sorted(X.tolist())
    assert any("sorted" in str(entry.code) for entry in profile.getstats())  # what came after the check
