"""States of PyTorch's modules are loaded as they are, under PyTorch's names, and ours are given to
PyTorch.
"""

import numpy as np
import pytest

import minitensor as mt
from minitensor import nn

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")]

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}
rng = np.random.default_rng(0)


def encoder_of_both(norm=False):
    """Two encoders of equal shape, with or without a norm behind the layers."""
    layer = torch.nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    theirs = torch.nn.TransformerEncoder(layer, 2, torch.nn.LayerNorm(8) if norm else None, enable_nested_tensor=False)
    return nn.TransformerEncoder(2, 8, 2, 16, 0.0, final_norm=norm or None), theirs


class OurNet(nn.Module):
    """A Transformer among other things."""

    def __init__(self):
        self.embed, self.body = (
            nn.Embedding(5, 8),
            nn.Sequential(nn.TransformerEncoder(1, 8, 2, 16, 0.0), nn.Linear(8, 3)),
        )

    def forward(self, ids):
        return self.body(self.embed(ids))


class TheirNet(torch.nn.Module):
    """The same."""

    def __init__(self):
        super().__init__()
        self.embed, layer = torch.nn.Embedding(5, 8), torch.nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
        self.body = torch.nn.Sequential(torch.nn.TransformerEncoder(layer, 1), torch.nn.Linear(8, 3))

    def forward(self, ids):
        return self.body(self.embed(ids))


SEQUENCES = [rng.normal(size=(3, 5, 8)), rng.normal(size=(3, 4, 8))]
STATES = {
    "Transformer": (
        lambda: (nn.Transformer(8, 2, 2, 1, 16), torch.nn.Transformer(8, 2, 2, 1, 16, batch_first=True)),
        SEQUENCES,
    ),
    "encoder": (encoder_of_both, SEQUENCES[:1]),
    "encoder with a norm": (lambda: encoder_of_both(norm=True), SEQUENCES[:1]),
    "inside a net": (lambda: (OurNet(), TheirNet()), [np.array([[0, 4, 2], [1, 1, 3]])]),
    "an encoder layer": (
        lambda: (
            nn.TransformerEncoderLayer(8, 2, 16, 0.0),
            torch.nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True),
        ),
        SEQUENCES[:1],
    ),
    "LSTM": (lambda: (nn.LSTM(8, 4, 2), torch.nn.LSTM(8, 4, 2, batch_first=True)), SEQUENCES[:1]),
}


@pytest.mark.parametrize("name", STATES)
def test_the_state_of_pytorch_is_loaded_as_it_is(name):
    """The whole state by load_state_dict, PyTorch's names and all; and back by torch_names."""
    make, arrays = STATES[name]
    ours, theirs = make()
    theirs.double().eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(torch.tensor(rng.normal(size=parameter.shape) * 0.3 + 0.1))
    assert ours.astype("float64").eval().load_state_dict(theirs.state_dict()) == ([], [])

    def outputs():
        future = {"tgt_mask": torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)} if name == "Transformer" else {}
        y, t = ours(*map(mt.tensor, arrays)), theirs(*map(torch.tensor, arrays), **future)
        return (y[0], t[0]) if isinstance(y, tuple) else (y, t)

    y, t = outputs()
    np.testing.assert_allclose(y.numpy(), t.detach().numpy(), **TOLERANCE)
    for parameter in ours.parameters():
        parameter.assign(rng.normal(size=parameter.shape) * 0.3)
    names, state = nn.torch_names(ours), ours.state_dict()
    theirs.load_state_dict({names[path]: torch.tensor(value.numpy()) for path, value in state.items()})
    y, t = outputs()
    np.testing.assert_allclose(y.numpy(), t.detach().numpy(), **TOLERANCE)


def test_what_is_missing_from_a_state_of_pytorch_is_named():
    theirs = torch.nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    with pytest.raises(
        ValueError, match=r"unexpected: encoder\.norm\.weight, encoder\.norm\.bias, decoder\.norm\.weight"
    ):
        nn.Transformer(8, 2, 1, 1, 16, final_norm=False).load_state_dict(theirs.state_dict())
    theirs.encoder.norm = None
    with pytest.raises(ValueError, match=r"missing: encoder\.norm\.weight, encoder\.norm\.bias$"):
        nn.Transformer(8, 2, 1, 1, 16).load_state_dict(theirs.state_dict())
