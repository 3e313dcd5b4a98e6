"""Every layer gives PyTorch's outputs and gradients to 1e-10 in float64,
once the weights are copied.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")]

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
rng = np.random.default_rng(0)


def copy_weights(theirs, ours, names):
    """Give ``theirs`` the values of ``ours``;
    ``names`` maps PyTorch's names to ours where they differ.
    """
    own = dict(ours.named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(torch.tensor(own[names(name)].data.copy()))


def assert_same(ours, theirs, arrays, names=lambda name: name, call_ours=None, call_theirs=None):
    """Compare outputs, gradients of all floating inputs and of all parameters,
    for a random cotangent.
    """
    ours.astype("float64")
    theirs.double()
    for _, parameter in ours.named_parameters():  # away from zero biases and unit scales
        parameter.assign(rng.normal(size=parameter.shape) * 0.3 + 0.1)
    copy_weights(theirs, ours, names)
    xs = [mt.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    ts = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y = (call_ours or ours)(*xs)
    t = (call_theirs or theirs)(*ts)
    np.testing.assert_allclose(y.data, t.detach().numpy(), **TOLERANCE)
    g = rng.normal(size=y.shape)
    y.backward(mt.tensor(g))
    t.backward(torch.tensor(g))
    for x, other in zip(xs, ts):
        if x.requires_grad:
            np.testing.assert_allclose(x.grad.data, other.grad.numpy(), **TOLERANCE)
    own = dict(ours.named_parameters())
    assert {names(name) for name, _ in theirs.named_parameters()} == set(own)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(own[names(name)].grad.data, parameter.grad.numpy(), err_msg=name, **TOLERANCE)


# --- layers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5)])
def test_linear(shape, bias):
    assert_same(nn.Linear(5, 4, bias=bias), torch.nn.Linear(5, 4, bias=bias), [rng.normal(size=shape)])


@pytest.mark.parametrize("padding_idx", [None, 0, 3, -1])
def test_embedding(padding_idx):
    ids = np.array([[0, 1, 3, 3], [6, 0, 2, 3]])
    assert_same(nn.Embedding(7, 4, padding_idx), torch.nn.Embedding(7, 4, padding_idx), [ids])


@pytest.mark.parametrize(("shape", "bias"), [(6, True), (6, False), ((3, 6), True)])
def test_layer_norm(shape, bias):
    assert_same(nn.LayerNorm(shape, bias=bias), torch.nn.LayerNorm(shape, bias=bias), [rng.normal(size=(2, 3, 6))])


@pytest.mark.parametrize("shape", [6, (3, 6)])
def test_rms_norm(shape):
    assert_same(nn.RMSNorm(shape), torch.nn.RMSNorm(shape, eps=1e-6), [rng.normal(size=(2, 3, 6))])


@pytest.mark.parametrize(
    ("kernel_size", "stride", "padding", "bias"),
    [(3, 1, 1, True), ((2, 3), (2, 1), (0, 2), False), (2, 2, 0, True)],
)
def test_conv2d(kernel_size, stride, padding, bias):
    settings = {"stride": stride, "padding": padding, "bias": bias}
    ours, theirs = nn.Conv2d(3, 4, kernel_size, **settings), torch.nn.Conv2d(3, 4, kernel_size, **settings)
    assert_same(ours, theirs, [rng.normal(size=(2, 3, 5, 7))])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (nn.ReLU(), torch.nn.ReLU()),
        (nn.GELU(), torch.nn.GELU()),
        (nn.GELU(approximate="tanh"), torch.nn.GELU(approximate="tanh")),
        (nn.SiLU(), torch.nn.SiLU()),
        (nn.Sigmoid(), torch.nn.Sigmoid()),
        (nn.Tanh(), torch.nn.Tanh()),
        (nn.Softplus(), torch.nn.Softplus(threshold=1000)),
        (nn.ELU(0.7), torch.nn.ELU(0.7)),
        (nn.LeakyReLU(0.2), torch.nn.LeakyReLU(0.2)),
        (nn.Softmax(), torch.nn.Softmax(dim=-1)),
        (nn.Softmax(axis=1), torch.nn.Softmax(dim=1)),
        (nn.LogSoftmax(), torch.nn.LogSoftmax(dim=-1)),
        (nn.Identity(), torch.nn.Identity()),
    ],
    ids=lambda module: type(module).__name__ if isinstance(module, nn.Module) else "",
)
def test_activation(ours, theirs):
    assert_same(ours, theirs, [rng.normal(size=(3, 4, 5)) * 3])


# --- losses ---------------------------------------------------------------------------------------

CLASS_WEIGHTS = np.array([0.5, 2.0, 1.0, 0.1, 3.0])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weight", [None, CLASS_WEIGHTS])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_loss(reduction, weight, smoothing):
    targets = np.array([[0, 4, 1], [2, 2, 3]])  # with ignore_index 2
    ours = nn.CrossEntropyLoss(weight, ignore_index=2, label_smoothing=smoothing, reduction=reduction)
    theirs = torch.nn.CrossEntropyLoss(
        None if weight is None else torch.tensor(weight), ignore_index=2, label_smoothing=smoothing, reduction=reduction
    )

    def call(x, t):
        return theirs(x.reshape(-1, 5), t.reshape(-1)).reshape((2, 3) if reduction == "none" else ())

    assert_same(ours, theirs, [rng.normal(size=(2, 3, 5)), targets], call_theirs=call)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_nll_loss(reduction):
    targets = np.array([0, 4, 1, 2])
    theirs = torch.nn.NLLLoss(torch.tensor(CLASS_WEIGHTS), ignore_index=4, reduction=reduction)
    ours = nn.NLLLoss(CLASS_WEIGHTS, ignore_index=4, reduction=reduction)
    assert_same(ours, theirs, [rng.normal(size=(4, 5)), targets])


def assert_same_loss(ours, theirs, target):
    """Compare losses of random predictions against a fixed target."""
    fixed = torch.tensor(target)
    prediction = rng.normal(size=target.shape) * 2
    assert_same(
        ours,
        theirs,
        [prediction],
        call_ours=lambda x: ours(x, mt.tensor(target)),
        call_theirs=lambda x: theirs(x, fixed),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["MSELoss", "L1Loss", "HuberLoss", "BCEWithLogitsLoss"])
def test_elementwise_loss(name, reduction):
    target = rng.uniform(size=(3, 4))
    assert_same_loss(getattr(nn, name)(reduction=reduction), getattr(torch.nn, name)(reduction=reduction), target)


@pytest.mark.filterwarnings("ignore:reduction. 'mean':UserWarning")
@pytest.mark.parametrize("reduction", ["mean", "sum", "none", "batchmean"])
def test_kl_div_loss(reduction):
    target = rng.dirichlet(np.ones(4), size=3)
    target[0] = [0.0, 0.5, 0.5, 0.0]
    assert_same_loss(nn.KLDivLoss(reduction=reduction), torch.nn.KLDivLoss(reduction=reduction), target)


# --- attention and the Transformer ----------------------------------------------------------------

LENGTHS = [5, 3, 4]
# (B, S), True = padding, as PyTorch says it.
PADDED = ~np.asarray(nn.padding_mask(LENGTHS).data)[:, 0, 0]


def renamed(*pairs):
    """A function from PyTorch's names of parameters to ours."""

    def change(name):
        for theirs, ours in pairs:
            name = name.replace(theirs, ours)
        return name

    return change


ATTENTION = (("in_proj_", "qkv."), ("out_proj", "out"))
ENCODER = (("self_attn", "attention"), ("linear", "feed_forward.linear"), *ATTENTION)
DECODER = (
    ("self_attn", "self_attention"),
    ("multihead_attn", "cross_attention"),
    ("linear", "feed_forward.linear"),
    *ATTENTION,
)


def both(name):
    """Names in a whole Transformer."""
    return renamed(*(ENCODER if name.startswith("encoder") else DECODER))(name)


def test_multi_head_self_attention_with_padding_and_causal_mask():
    theirs = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    ours = nn.MultiHeadAttention(8, 2)
    future = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)
    assert_same(
        ours,
        theirs,
        [rng.normal(size=(3, 5, 8))],
        renamed(*ATTENTION),
        lambda x: ours(x, mask=nn.padding_mask(LENGTHS), is_causal=True),
        lambda x: theirs(x, x, x, key_padding_mask=torch.tensor(PADDED), attn_mask=future)[0],
    )


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_multi_head_cross_attention(need_weights, bias):
    theirs = torch.nn.MultiheadAttention(8, 4, bias=bias, batch_first=True)
    ours = nn.MultiHeadAttention(8, 4, bias=bias)

    def call_ours(x, memory):
        if not need_weights:
            return ours(x, memory, nn.padding_mask(LENGTHS))
        y, weights = ours(x, memory, nn.padding_mask(LENGTHS), need_weights=True)
        return mt.matmul(weights.mean(axis=1), memory) + y

    def call_theirs(x, memory):
        y, weights = theirs(x, memory, memory, key_padding_mask=torch.tensor(PADDED), need_weights=True)
        return y if not need_weights else weights @ memory + y

    arrays = [rng.normal(size=(3, 4, 8)), rng.normal(size=(3, 5, 8))]
    assert_same(ours, theirs, arrays, renamed(*ATTENTION), call_ours, call_theirs)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_encoder_layer(norm_first, activation):
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation, batch_first=True, norm_first=norm_first)
    ours = nn.TransformerEncoderLayer(8, 2, 16, 0.0, activation, norm_first)
    assert_same(
        ours,
        theirs,
        [rng.normal(size=(3, 5, 8))],
        renamed(*ENCODER),
        lambda x: ours(x, nn.padding_mask(LENGTHS)),
        lambda x: theirs(x, src_key_padding_mask=torch.tensor(PADDED)),
    )


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_decoder_layer(norm_first, activation):
    theirs = torch.nn.TransformerDecoderLayer(8, 2, 16, 0.0, activation, batch_first=True, norm_first=norm_first)
    ours = nn.TransformerDecoderLayer(8, 2, 16, 0.0, activation, norm_first)
    future = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
    assert_same(
        ours,
        theirs,
        [rng.normal(size=(3, 4, 8)), rng.normal(size=(3, 5, 8))],
        renamed(*DECODER),
        lambda x, memory: ours(x, memory, memory_mask=nn.padding_mask(LENGTHS)),
        lambda x, memory: theirs(x, memory, tgt_mask=future, memory_key_padding_mask=torch.tensor(PADDED)),
    )


@pytest.mark.parametrize("final_norm", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_transformer(norm_first, activation, final_norm):
    theirs = torch.nn.Transformer(8, 2, 2, 2, 16, 0.0, activation, batch_first=True, norm_first=norm_first)
    if not final_norm:  # the paper's model, where the layers end in a norm
        theirs.encoder.norm = theirs.decoder.norm = None
    ours = nn.Transformer(8, 2, 2, 2, 16, 0.0, activation, norm_first, final_norm=final_norm)
    future, padded = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1), torch.tensor(PADDED)
    assert_same(
        ours,
        theirs,
        [rng.normal(size=(3, 5, 8)), rng.normal(size=(3, 4, 8))],
        both,
        lambda source, target: ours(source, target, nn.padding_mask(LENGTHS)),
        lambda source, target: theirs(
            source, target, tgt_mask=future, src_key_padding_mask=padded, memory_key_padding_mask=padded
        ),
    )


@pytest.mark.parametrize("place", ["attention_dropout", "ff_dropout"])
@pytest.mark.parametrize("kind", ["Encoder", "Decoder"])
def test_dropouts_inside_a_layer(kind, place):
    """Dropout of everything shows where it acts; PyTorch's layers have the same two places,
    with one number for both.
    """
    theirs = getattr(torch.nn, f"Transformer{kind}Layer")(8, 2, 16, 0.0, batch_first=True)
    ours = getattr(nn, f"Transformer{kind}Layer")(8, 2, 16, 0.0, **{place: 1.0})
    if place == "ff_dropout":
        theirs.dropout.p = 1.0
    else:
        for module in theirs.modules():
            if isinstance(module, torch.nn.MultiheadAttention):
                module.dropout = 1.0
    arrays = [rng.normal(size=(3, n, 8)) for n in ((4, 5) if kind == "Decoder" else (4,))]
    future = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
    how = dict(tgt_mask=future) if kind == "Decoder" else {}
    assert_same(
        ours.train(),
        theirs.train(),
        arrays,
        renamed(*(DECODER if kind == "Decoder" else ENCODER)),
        call_theirs=lambda *given: theirs(*given, **how),
    )


# --- initial values -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda: nn.Linear(400, 300), lambda: torch.nn.Linear(400, 300)),
        (lambda: nn.Embedding(400, 300, 0), lambda: torch.nn.Embedding(400, 300, 0)),
        (lambda: nn.Conv2d(20, 30, 5), lambda: torch.nn.Conv2d(20, 30, 5)),
        (lambda: nn.MultiHeadAttention(120, 4), lambda: torch.nn.MultiheadAttention(120, 4)),
        (lambda: nn.Transformer(64, 4, 1, 1, 128), lambda: torch.nn.Transformer(64, 4, 1, 1, 128)),
    ],
    ids=["Linear", "Embedding", "Conv2d", "MultiHeadAttention", "Transformer"],
)
def test_layers_start_with_the_spread_of_pytorch(ours, theirs):
    """Standard deviation of each weight within 5 %, greatest value within 10 % for uniform ones,
    same zeros and ones.
    """
    mt.random.seed(0)
    torch.manual_seed(0)
    made, expected = ours(), theirs()
    names = both if isinstance(expected, torch.nn.Transformer) else renamed(*ATTENTION)
    own = dict(made.named_parameters())
    for name, value in expected.named_parameters():
        value = value.detach().numpy()
        if name in ("encoder.norm.weight", "encoder.norm.bias", "decoder.norm.weight", "decoder.norm.bias"):
            continue
        found = own[names(name)].data
        assert found.shape == value.shape, name
        if value.std() == 0:
            np.testing.assert_array_equal(found, value, err_msg=name)
        else:
            np.testing.assert_allclose(found.std(), value.std(), rtol=0.05 if value.size > 1000 else 0.4, err_msg=name)
            np.testing.assert_allclose(
                abs(found).max(), abs(value).max(), rtol=0.1 if value.size < 1e5 else 0.3, err_msg=name
            )
