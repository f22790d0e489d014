"""Configuration of a decoder that Prunus has cut: the sizes of a layer are its own.

Sizes that differ from layer to layer are in `per_layer_config`; what the decoder computes besides is
in the object `prunus`, spelled out (modeling_prunus.py). Comes with the model, under its licence.
"""
from types import SimpleNamespace

from transformers import PretrainedConfig


class PrunusConfig(PretrainedConfig):
    model_type = "prunus"
    keys_to_ignore_at_inference = ["past_key_values", "cache"]
    base_model_tp_plan = {
        "layers.*.self_attn.q_proj": "colwise",
        "layers.*.self_attn.k_proj": "colwise",
        "layers.*.self_attn.v_proj": "colwise",
        "layers.*.self_attn.o_proj": "rowwise",
        "layers.*.mlp.gate_proj": "colwise",
        "layers.*.mlp.up_proj": "colwise",
        "layers.*.mlp.down_proj": "rowwise",
    }

    def __init__(self, **fields):
        super().__init__(**fields)

    def _validate_longrope_rope_parameters(self, *arguments, **options):
        """Nothing: transformers' own check asks for num_attention_heads, which is each layer's own."""

    def layer_sizes(self, layer_idx):
        """num_attention_heads, num_key_value_heads and intermediate_size of a layer; 0 where it has
        no attention or no feed-forward part."""
        return self.per_layer_config[layer_idx]


class PrunusBlockConfig(PrunusConfig):
    """The same for software that reads `block_configs`: each block's parts are objects."""

    model_type = "nemotron-nas"

    def __init__(self, block_configs=None, **fields):
        self.block_configs = [
            SimpleNamespace(attention=SimpleNamespace(**block["attention"]),
                            ffn=SimpleNamespace(**block["ffn"]))
            for block in block_configs or []]
        # The rotary embedding once more, for software that knows no rope_parameters.
        for older in ("rope_theta", "rope_scaling"):
            fields.pop(older, None)
        super().__init__(**fields)

    def layer_sizes(self, layer_idx):
        block = self.block_configs[layer_idx]
        width = 0 if block.ffn.no_op else getattr(block.ffn, "intermediate_size", None)
        if width is None:  # readers of ffn_mult round up to a multiple of 256
            width = -(-int(2 * block.ffn.ffn_mult * self.hidden_size / 3) // 256) * 256
        heads = 0 if block.attention.no_op else self.num_attention_heads
        return SimpleNamespace(
            num_attention_heads=heads, intermediate_size=width,
            num_key_value_heads=heads and heads // block.attention.n_heads_in_group)

    def to_dict(self):
        fields = super().to_dict()
        fields["block_configs"] = [{"attention": vars(block.attention), "ffn": vars(block.ffn)}
                                   for block in self.block_configs]
        return fields
