"""A decoder that Prunus has cut, for transformers 5.16 and later: each layer has sizes of its own.

One file for the families that follow Llama's layout. What differs between them is data, in the
configuration's object `prunus`:
  norm              "rms", or "rms_plus_one" where the gain is 1 + weight
  norms             names of a layer's norms by their place: before_attention, after_attention,
                    before_mlp, after_mlp (null: none there)
  qk_norm           null, "head" (over each head of q and k) or "row" (over all heads together)
  biases            projections that have one
  fused             names of joined projections: "qkv_proj", "gate_up_proj"
  activation        of the feed-forward part
  attention_scale   factor of the scores
  attention_softcap, logit_softcap   null, or c of c·tanh(x / c)
  embedding_scale   factor of the embeddings
  rope_head_dim     channels of a head before any were cut: the rotation frequencies are theirs
`layer_rope_pairs`, where the configuration has it, says which of the rotated pairs a layer has kept.
Comes with the model, under its licence.
"""
import inspect

import torch
from torch import nn
from transformers import PretrainedConfig
from transformers.activations import ACT2FN
from transformers.cache_utils import DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel

from .configuration_prunus import PrunusBlockConfig, PrunusConfig

# Names that have changed between versions of transformers.
MASK_ARGUMENTS = inspect.signature(create_causal_mask).parameters
CACHE = "cache" if "cache" in MASK_ARGUMENTS else "past_key_values"
EMBEDS = "inputs_embeds" if "inputs_embeds" in MASK_ARGUMENTS else "input_embeds"


class PrunusRMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.variance_epsilon = eps

    def forward(self, hidden_states):
        dtype = hidden_states.dtype
        hidden_states = hidden_states.to(torch.float32)
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        hidden_states = hidden_states * torch.rsqrt(variance + self.variance_epsilon)
        return self.weight * hidden_states.to(dtype)


class PrunusRMSNormPlusOne(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(size))
        self.eps = eps

    def forward(self, x):
        output = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        output = output * (1.0 + self.weight.float())
        return output.type_as(x)


NORMS = {"rms": PrunusRMSNorm, "rms_plus_one": PrunusRMSNormPlusOne}


def norm_of(config, size):
    return NORMS[config.prunus["norm"]](size, config.rms_norm_eps)


class PrunusRotaryEmbedding(nn.Module):
    """Cosines and sines for one type of layer: each [batch, seq, pairs], of all original pairs."""

    def __init__(self, config, layer_type):
        super().__init__()
        parameters = config.rope_parameters
        parameters = dict(parameters.get(layer_type, parameters))
        self.kind = parameters["rope_type"]
        self.by_length = self.kind in ("dynamic", "longrope")
        self.rope_config = PretrainedConfig(
            head_dim=config.prunus["rope_head_dim"], hidden_size=config.hidden_size,
            num_attention_heads=1, max_position_embeddings=config.max_position_embeddings,
            rope_parameters=parameters)

    def frequencies(self, device, length):
        if self.kind != "default":
            return ROPE_INIT_FUNCTIONS[self.kind](self.rope_config, device, seq_len=length)
        parameters = self.rope_config.rope_parameters
        dim = int(self.rope_config.head_dim * parameters.get("partial_rotary_factor", 1.0))
        steps = torch.arange(0, dim, 2, dtype=torch.int64, device=device).float()
        return 1.0 / (parameters["rope_theta"] ** (steps / dim)), 1.0

    @torch.no_grad()
    def forward(self, x, position_ids):
        length = int(position_ids.max()) + 1 if self.by_length else None
        inv_freq, scale = self.frequencies(x.device, length)
        angles = position_ids[..., None].float() * inv_freq.to(x.device)
        return (angles.cos() * scale).to(x.dtype), (angles.sin() * scale).to(x.dtype)


def rotate(x, cos, sin):
    """Turns channel p with channel p + pairs of [batch, heads, seq, head_dim]; others stay."""
    pairs = cos.shape[-1]
    first, second, rest = x[..., :pairs], x[..., pairs:2 * pairs], x[..., 2 * pairs:]
    return torch.cat((first * cos - second * sin, second * cos + first * sin, rest), dim=-1)


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0,
                            softcap=None, **kwargs):
    key = key.repeat_interleave(module.num_key_value_groups, dim=1)
    value = value.repeat_interleave(module.num_key_value_groups, dim=1)
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class PrunusAttention(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        own = config.prunus
        sizes = config.layer_sizes(layer_idx)
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.head_dim
        self.q_size = sizes.num_attention_heads * self.head_dim
        self.kv_size = sizes.num_key_value_heads * self.head_dim
        self.num_key_value_groups = sizes.num_attention_heads // sizes.num_key_value_heads
        self.scaling = own["attention_scale"]
        self.softcap = own["attention_softcap"]
        self.is_causal = True
        slides = config.layer_types[layer_idx] == "sliding_attention"
        self.sliding_window = config.sliding_window if slides else None
        pairs = getattr(config, "layer_rope_pairs", None)
        self.rope_pairs = pairs[layer_idx] if pairs else None
        self.fused = "qkv_proj" in own["fused"]

        def linear(name, inputs, outputs):
            return nn.Linear(inputs, outputs, bias=name in own["biases"])

        hidden = config.hidden_size
        if self.fused:
            self.qkv_proj = linear("q_proj", hidden, self.q_size + 2 * self.kv_size)
        else:
            self.q_proj = linear("q_proj", hidden, self.q_size)
            self.k_proj = linear("k_proj", hidden, self.kv_size)
            self.v_proj = linear("v_proj", hidden, self.kv_size)
        self.o_proj = linear("o_proj", self.q_size, hidden)
        self.qk_norm = own["qk_norm"]
        if self.qk_norm is not None:
            whole = self.qk_norm == "row"
            self.q_norm = norm_of(config, self.q_size if whole else self.head_dim)
            self.k_norm = norm_of(config, self.kv_size if whole else self.head_dim)

    def forward(self, hidden_states, position_embeddings, attention_mask=None, cache=None, **kwargs):
        input_shape = hidden_states.shape[:-1]
        hidden_shape = (*input_shape, -1, self.head_dim)
        if self.fused:
            joined = self.qkv_proj(hidden_states)
            query, key, value = joined.split([self.q_size, self.kv_size, self.kv_size], dim=-1)
        else:
            query = self.q_proj(hidden_states)
            key = self.k_proj(hidden_states)
            value = self.v_proj(hidden_states)
        if self.qk_norm == "row":
            query, key = self.q_norm(query), self.k_norm(key)
        query = query.view(hidden_shape)
        key = key.view(hidden_shape)
        if self.qk_norm == "head":
            query, key = self.q_norm(query), self.k_norm(key)
        query, key = query.transpose(1, 2), key.transpose(1, 2)
        value = value.view(hidden_shape).transpose(1, 2)

        cos, sin = position_embeddings
        if self.rope_pairs is not None:
            kept = torch.tensor(self.rope_pairs, device=cos.device)
            cos, sin = cos.index_select(-1, kept), sin.index_select(-1, kept)
        cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)

        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation,
                                                          eager_attention_forward)
        output, weights = attention(self, query, key, value, attention_mask, dropout=0.0,
                                    scaling=self.scaling, sliding_window=self.sliding_window,
                                    softcap=self.softcap, **kwargs)
        return self.o_proj(output.reshape(*input_shape, -1).contiguous()), weights


class PrunusMLP(nn.Module):
    def __init__(self, config, layer_idx):
        super().__init__()
        own = config.prunus
        hidden = config.hidden_size
        width = config.layer_sizes(layer_idx).intermediate_size
        self.fused = "gate_up_proj" in own["fused"]
        if self.fused:
            self.gate_up_proj = nn.Linear(hidden, 2 * width, bias="gate_proj" in own["biases"])
        else:
            self.gate_proj = nn.Linear(hidden, width, bias="gate_proj" in own["biases"])
            self.up_proj = nn.Linear(hidden, width, bias="up_proj" in own["biases"])
        self.down_proj = nn.Linear(width, hidden, bias="down_proj" in own["biases"])
        self.act_fn = ACT2FN[own["activation"]]

    def forward(self, x):
        if self.fused:
            gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
            return self.down_proj(self.act_fn(gate) * up)
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class PrunusNoAttention(nn.Module):
    """In a layer without attention: the cache learns from each of its layers how long it is."""

    def __init__(self, layer_idx):
        super().__init__()
        self.layer_idx = layer_idx

    def forward(self, hidden_states, cache):
        if cache is not None:
            one_channel = hidden_states.new_zeros((hidden_states.shape[0], 1, hidden_states.shape[1], 1))
            cache.update(one_channel, one_channel, self.layer_idx)


class PrunusDecoderLayer(GradientCheckpointingLayer):
    def __init__(self, config, layer_idx):
        super().__init__()
        sizes = config.layer_sizes(layer_idx)
        self.attention_type = config.layer_types[layer_idx]
        self.has_attention = sizes.num_attention_heads > 0
        self.has_mlp = sizes.intermediate_size > 0
        if self.has_attention:
            self.self_attn = PrunusAttention(config, layer_idx)
        else:
            self.no_attention = PrunusNoAttention(layer_idx)
        if self.has_mlp:
            self.mlp = PrunusMLP(config, layer_idx)
        self.norms = dict(config.prunus["norms"])
        for place, name in self.norms.items():
            there = self.has_attention if place.endswith("attention") else self.has_mlp
            if name is not None and there:
                self.add_module(name, norm_of(config, config.hidden_size))

    def normed(self, place, hidden_states):
        name = self.norms[place]
        return hidden_states if name is None else getattr(self, name)(hidden_states)

    def forward(self, hidden_states, **kwargs):
        if self.has_attention:
            attended, _ = self.self_attn(self.normed("before_attention", hidden_states), **kwargs)
            hidden_states = hidden_states + self.normed("after_attention", attended)
        else:
            self.no_attention(hidden_states, kwargs["cache"])
        if not self.has_mlp:
            return hidden_states
        fed = self.mlp(self.normed("before_mlp", hidden_states))
        return hidden_states + self.normed("after_mlp", fed)


class PrunusPreTrainedModel(PreTrainedModel):
    config_class = PrunusConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["PrunusDecoderLayer"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    def __init__(self, config, *arguments, **kwargs):
        # torch's own kernel knows no soft cap.
        self._supports_sdpa = config.prunus["attention_softcap"] is None
        super().__init__(config, *arguments, **kwargs)


class PrunusModel(PrunusPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([PrunusDecoderLayer(config, index)
                                     for index in range(config.num_hidden_layers)])
        self.norm = norm_of(config, config.hidden_size)
        self.rotary_emb = nn.ModuleDict({kind: PrunusRotaryEmbedding(config, kind)
                                         for kind in sorted(set(config.layer_types))})
        self.embedding_scale = config.prunus["embedding_scale"]
        self.gradient_checkpointing = False
        self.post_init()

    def masks(self, inputs_embeds, attention_mask, position_ids, cache):
        given = {"config": self.config, EMBEDS: inputs_embeds, "attention_mask": attention_mask,
                 "position_ids": position_ids, CACHE: cache}
        if "cache_position" in MASK_ARGUMENTS:
            given["cache_position"] = position_ids[0]
        makers = {"full_attention": create_causal_mask,
                  "sliding_attention": create_sliding_window_causal_mask}
        return {kind: makers[kind](**given) for kind in self.rotary_emb}

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, cache=None,
                inputs_embeds=None, use_cache=None, past_key_values=None,
                output_hidden_states=False, **kwargs):
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("expected one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        cache = past_key_values if cache is None else cache
        if use_cache and cache is None:
            cache = DynamicCache(config=self.config)
        if position_ids is None:
            past = 0 if cache is None else cache.get_seq_length()
            places = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device) + past
            position_ids = places.unsqueeze(0)
        hidden_states = inputs_embeds
        if self.embedding_scale != 1.0:
            hidden_states = hidden_states * torch.tensor(
                self.embedding_scale, dtype=hidden_states.dtype, device=hidden_states.device)
        masks = self.masks(inputs_embeds, attention_mask, position_ids, cache)
        turns = {kind: self.rotary_emb[kind](hidden_states, position_ids) for kind in masks}
        states = ()
        for layer in self.layers:
            states += (hidden_states,) if output_hidden_states else ()
            hidden_states = layer(
                hidden_states, position_embeddings=turns[layer.attention_type],
                attention_mask=masks[layer.attention_type], cache=cache, **kwargs)
        hidden_states = self.norm(hidden_states)
        states += (hidden_states,) if output_hidden_states else ()
        return BaseModelOutputWithPast(last_hidden_state=hidden_states,
                                       hidden_states=states or None, **{CACHE: cache})


class PrunusForCausalLM(PrunusPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config):
        super().__init__(config)
        self.model = PrunusModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, cache=None,
                inputs_embeds=None, labels=None, use_cache=None, logits_to_keep=0,
                past_key_values=None, return_dict=None, **kwargs):
        outputs = self.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids,
            cache=past_key_values if cache is None else cache, inputs_embeds=inputs_embeds,
            use_cache=use_cache, **kwargs)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        softcap = self.config.prunus["logit_softcap"]
        if softcap is not None:
            logits = torch.tanh(logits / softcap) * softcap
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.vocab_size,
                                      **kwargs)
        result = CausalLMOutputWithPast(loss=loss, logits=logits, hidden_states=outputs.hidden_states,
                                        **{CACHE: outputs[CACHE] if CACHE in outputs else None})
        return result if return_dict in (None, True) else result.to_tuple()


class PrunusBlockModel(PrunusModel):
    config_class = PrunusBlockConfig


class PrunusBlockForCausalLM(PrunusForCausalLM):
    config_class = PrunusBlockConfig
