"""What Hugging Face transformers calls the parts of a ViT, in config.json and model.safetensors.

Reads what ViTModel, ViTForImageClassification and ViTForMaskedImageModeling have written (of the
last, all but what rebuilds the pixels), and writes what the first two read.
"""

from __future__ import annotations

from dataclasses import replace

from minitensor.models.pretrained import Entry, Pretrained, our_activation, their_activation, weight_and_bias
from minitensor.models.published_config import check_usual, extras, fields_of, values_of, with_labels
from minitensor.models.published_values import checked

__all__ = ["PRESETS", "PublishedViT", "from_hugging_face", "to_hugging_face"]

PRESETS = {  # what differs from our defaults; all of images of 224 pixels
    # Touvron et al. 2021, arXiv:2012.12877.
    "vit-tiny-patch16-224": dict(d_model=192, n_heads=3, d_ff=768),
    "vit-small-patch16-224": dict(d_model=384, n_heads=6, d_ff=1536),
    # Dosovitskiy et al. 2021.
    "vit-base-patch16-224": {},
    "vit-large-patch16-224": dict(d_model=1024, n_layers=24, n_heads=16, d_ff=4096),
    "vit-huge-patch14-224": dict(d_model=1280, n_layers=32, n_heads=16, d_ff=5120, patch_size=14),
}
# Our fields and their names in config.json; the same defaults, vit-base-patch16-224's.
FIELDS = {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "n_channels": "num_channels",
    "d_model": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "d_ff": "intermediate_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "eps": "layer_norm_eps",
    "problem_type": "problem_type",
}
# A name of ours: transformers has no dropout there, and passes over the name.
FEED_FORWARD_DROPOUT = "feed_forward_dropout"
USUAL = {"qkv_bias": True, "pooler_act": "tanh"}  # all that we have
USED = {*FIELDS.values(), *USUAL, "hidden_act", FEED_FORWARD_DROPOUT}

EMBEDDINGS = {"class_token": "cls_token", "positions": "position_embeddings"}
LAYER = {  # of ours: the names in the file
    "norm1": ["layernorm_before"],
    "attention.qkv": [f"attention.attention.{part}" for part in ("query", "key", "value")],
    "attention.out": ["attention.output.dense"],
    "norm2": ["layernorm_after"],
    "feed_forward.linear1": ["intermediate.dense"],
    "feed_forward.linear2": ["output.dense"],
}
HEADS = {"pooler": "vit.pooler.dense", "classifier": "classifier"}


def from_hugging_face(values):
    """The fields of our configuration from the values of config.json, heads aside.

    Raises ValueError for other kinds of ViT.
    """
    checked(values)
    fields = fields_of(values, FIELDS)
    for name in {"image_size", "patch_size"} & fields.keys():
        sides = {fields[name]} if isinstance(fields[name], int) else set(fields[name])
        if len(sides) != 1:
            raise ValueError(
                f"config.json: {name} is {fields[name]}; minitensor.models.vit.ViT is made for squares alone"
            )
        fields[name] = sides.pop()
    width = {"pooler_output_size": fields["d_model"]} if "d_model" in fields else {}
    check_usual(values, USUAL | width, "minitensor.models.vit.ViT")
    fields["feed_forward_dropout"] = values.get(FEED_FORWARD_DROPOUT, 0.0)
    return fields | {"activation": our_activation(values.get("hidden_act", "gelu")), "extras": extras(values, USED)}


def to_hugging_face(config):
    """The values of config.json. Raises ValueError for a model that transformers cannot express."""
    if config.pooling != "class":
        raise ValueError("the ViT of transformers has a class token, this model has none: save it by mt.save instead")
    values = values_of(config, FIELDS) | USUAL
    values["hidden_act"] = their_activation(config.activation)
    inside = config.dropout if config.feed_forward_dropout is None else config.feed_forward_dropout
    values |= {FEED_FORWARD_DROPOUT: inside} if inside else {}
    if config.n_classes:
        values = with_labels(values, config.n_classes, config.labels)
    return values | {"architectures": ["ViTForImageClassification" if config.n_classes else "ViTModel"]}


class PublishedViT(Pretrained):
    """What `pretrained.py` asks of a ViT."""

    model_type = "vit"

    @classmethod
    def configure(cls, values, shapes):
        """What config.json says, the heads that have weights, and the names of the classes."""
        n_classes = shapes.get("classifier.weight", (0,))[0]
        names = values.get("id2label") or {}
        labels = tuple(names[key] for key in sorted(names, key=int)) if n_classes == len(names) else ()
        pooler = any(name.endswith("pooler.dense.weight") for name in shapes)
        return replace(super().configure(values, shapes), pooler=pooler, n_classes=n_classes, labels=labels)

    @classmethod
    def adapted(cls, config, changes):
        """``config`` with ``changes``: new classes replace a pooler, and have no names."""
        if changes.get("n_classes"):
            changes = {"pooler": False} | changes
        if changes.get("n_classes", config.n_classes) != config.n_classes:
            changes = {"labels": ()} | changes
        return super().adapted(config, changes)

    def entries(self):
        """Our parameters and theirs; those of heads are optional, as a file may have fewer."""
        table = [Entry(ours, (f"vit.embeddings.{theirs}",)) for ours, theirs in EMBEDDINGS.items()]
        table += weight_and_bias("patches", "vit.embeddings.patch_embeddings.projection")
        for i in range(self.config.n_layers):
            for ours, theirs in LAYER.items():
                names = [f"vit.encoder.layer.{i}.{name}" for name in theirs]
                table += weight_and_bias(f"encoder.layers.{i}.{ours}", *names)
        table += weight_and_bias("encoder.norm", "vit.layernorm")
        for head, name in HEADS.items():
            if getattr(self, head) is not None:
                table += weight_and_bias(head, name, optional=True)
        if not self.config.n_classes:  # a ViTModel: its names have no prefix
            table = [
                replace(entry, theirs=tuple(name.removeprefix("vit.") for name in entry.theirs)) for entry in table
            ]
        return table

    def clean(self, name):
        """With the table's prefix; None for heads not wanted, and for what rebuilds pixels."""
        name = name.removeprefix("vit.")
        head = name.partition(".")[0]
        if head == "decoder" or name == "embeddings.mask_token" or (head in HEADS and getattr(self, head) is None):
            return None
        return name if not self.config.n_classes or head == "classifier" else f"vit.{name}"
