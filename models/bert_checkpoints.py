"""What Hugging Face transformers calls the parts of a BERT, in config.json and model.safetensors.

Reads what BertModel, BertForPreTraining, BertForMaskedLM, BertForNextSentencePrediction and
BertForSequenceClassification have written, and what older programs have: keys without ``bert.``,
norms with ``gamma`` and ``beta``, stored positions, the tied matrix twice. Writes what all of them
read.
"""

from __future__ import annotations

from dataclasses import replace

from minitensor.models.pretrained import Entry, Pretrained, our_activation, their_activation, weight_and_bias
from minitensor.models.published_config import check_usual, extras, fields_of, values_of, with_labels
from minitensor.models.published_values import checked

__all__ = ["PRESETS", "PublishedBERT", "from_hugging_face", "to_hugging_face"]

PRESETS = {  # what differs from our defaults; all have 30 522 English word pieces in lower case
    "bert-base-uncased": {},
    "bert-large-uncased": dict(d_model=1024, n_layers=24, n_heads=16, d_ff=4096),
    # Turc et al. 2019, arXiv:1908.08962.
    "bert-tiny": dict(d_model=128, n_layers=2, n_heads=2, d_ff=512),
    "bert-mini": dict(d_model=256, n_layers=4, n_heads=4, d_ff=1024),
    "bert-small": dict(d_model=512, n_layers=4, n_heads=8, d_ff=2048),
    "bert-medium": dict(d_model=512, n_layers=8, n_heads=8, d_ff=2048),
    # Wang et al. 2020, arXiv:2002.10957; Reimers and Gurevych trained it on.
    "all-MiniLM-L6-v2": dict(d_model=384, n_layers=6, n_heads=12, d_ff=1536),
}
# Our fields and their names in config.json; the defaults are the same, bert-base-uncased's.
FIELDS = {
    "vocab_size": "vocab_size",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "d_ff": "intermediate_size",
    "max_length": "max_position_embeddings",
    "n_segments": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "classifier_dropout": "classifier_dropout",
    "eps": "layer_norm_eps",
    "init_std": "initializer_range",
    "pad_id": "pad_token_id",
    "problem_type": "problem_type",
}
USUAL = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}  # all that we have
USED = {*FIELDS.values(), "hidden_act", "tie_word_embeddings"}

EMBEDDINGS = {"words": "word_embeddings", "positions": "position_embeddings", "segments": "token_type_embeddings"}
LAYER = {
    "attention.out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "feed_forward.linear1": "intermediate.dense",
    "feed_forward.linear2": "output.dense",
    "norm2": "output.LayerNorm",
}
HEADS = {
    "pooler": "bert.pooler.dense",
    "mlm.dense": "cls.predictions.transform.dense",
    "mlm.norm": "cls.predictions.transform.LayerNorm",
    "nsp": "cls.seq_relationship",
    "classifier": "classifier",
}
DECODER, BIAS = "cls.predictions.decoder", "cls.predictions.bias"
TIED = {  # stored a second time under these names, in some files
    f"{DECODER}.weight": "bert.embeddings.word_embeddings.weight",
    f"{DECODER}.bias": BIAS,
}


ARCHITECTURES = (
    "BertModel", "BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction", "BertForSequenceClassification",
)  # fmt: skip


def from_hugging_face(values):
    """The fields of our configuration from the values of config.json, heads aside.

    Raises ValueError for other kinds of BERT.
    """
    check_usual(checked(values), USUAL, "minitensor.models.bert.BERT")
    fields = fields_of(values, FIELDS)
    fields["tie_mlm"] = values.get("tie_word_embeddings", True)
    return fields | {"activation": our_activation(values.get("hidden_act", "gelu")), "extras": extras(values, USED)}


def to_hugging_face(config):
    """The values of config.json; "architectures" names a class of transformers with these heads."""
    values = values_of(config, FIELDS)
    values |= {"hidden_act": their_activation(config.activation), "tie_word_embeddings": config.tie_mlm}
    values = with_labels(values, config.n_classes) if config.n_classes else values
    heads = {
        (True, True): "BertForPreTraining",
        (True, False): "BertForMaskedLM",
        (False, True): "BertForNextSentencePrediction",
        (False, False): "BertForSequenceClassification" if config.n_classes else "BertModel",
    }
    return values | {"architectures": [heads[config.mlm_head, config.nsp_head]]}


class PublishedBERT(Pretrained):
    """What `pretrained.py` asks of a BERT."""

    model_type = "bert"
    token_fields = ("pad_token_id",)
    output_names = tuple(TIED)

    @classmethod
    def configure(cls, values, shapes):
        """The configuration of a file: what config.json says, and the heads that have weights.

        Raises ValueError if config.json names a class of transformers with another head.
        """
        odd = [name for name in values.get("architectures") or [] if name not in ARCHITECTURES]
        if odd:
            raise ValueError(
                f"config.json: architectures names {odd[0]}, a head that minitensor.models.bert.BERT does not have; it has "
                f"those of {', '.join(ARCHITECTURES)}"
            )
        heads = {
            "pooler": any(name.endswith("pooler.dense.weight") for name in shapes),
            "mlm_head": BIAS in shapes or f"{DECODER}.bias" in shapes,
            "nsp_head": "cls.seq_relationship.weight" in shapes,
            "n_classes": shapes.get("classifier.weight", (0,))[0],
        }
        return replace(super().configure(values, shapes), **heads)

    def entries(self):
        """Our parameters and theirs; those of heads are optional, as a file may have fewer."""
        table = [Entry(f"{ours}.weight", (f"bert.embeddings.{name}.weight",)) for ours, name in EMBEDDINGS.items()]
        table += weight_and_bias("norm", "bert.embeddings.LayerNorm")
        for i in range(self.config.n_layers):
            ours, theirs = f"encoder.layers.{i}.", f"bert.encoder.layer.{i}."
            parts = [theirs + f"attention.self.{part}" for part in ("query", "key", "value")]
            table += weight_and_bias(ours + "attention.qkv", *parts)
            for own, other in LAYER.items():
                table += weight_and_bias(ours + own, theirs + other)
        for head in HEADS:
            if self._has(head):
                table += weight_and_bias(head, HEADS[head], optional=True)
        if self._has("mlm"):
            tied = self.config.tie_mlm
            table.append(Entry("mlm.bias", (BIAS if tied else f"{DECODER}.bias",), optional=True))
            table += [] if tied else [Entry("mlm.embeddings", (f"{DECODER}.weight",), optional=True)]
        return table

    def clean(self, name):
        """Odd names put right; None for stored positions, and for heads that are not wanted."""
        stem, _, last = name.rpartition(".")
        if last == "position_ids":
            return None
        name = f"{stem}.{dict(gamma='weight', beta='bias').get(last, last)}"
        if name.startswith(("embeddings.", "encoder.", "pooler.")):
            name = "bert." + name
        unwanted = [start for head, start in HEADS.items() if not self._has(head)]
        unwanted += [] if self._has("mlm") else ["cls.predictions."]
        if name.startswith(tuple(unwanted)):
            return None
        if self.config.tie_mlm:
            return TIED.get(name, name)
        # transformers then adds the decoder's bias, and no other.
        return None if name == BIAS else name

    def _has(self, head):
        return getattr(self, head.partition(".")[0]) is not None
