"""Small configurations of the architectures of `transformers`."""

import dataclasses
from typing import Any

from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCABULARY, BEGIN, PADDING, END = 64, 0, 1, 2
IMAGE = 64
"""Height and width of the images, in pixels."""

_SMALL: dict[str, Any] = {
    "bos_token_id": BEGIN,
    "pad_token_id": PADDING,
    "pad_index": PADDING,
    "eos_token_id": END,
    "decoder_start_token_id": END,
    "num_labels": 3,
    "image_size": IMAGE,
    "input_size": IMAGE,
    "crop_size": IMAGE,
    "patch_size": 8,
} | {
    name: value
    for value, names in {
        2: """first_k_dense_replace num_experts_per_tok num_key_value_heads n_group topk_group
            num_decoder_layers pred_num_hidden_layers decoder_num_hidden_layers num_pooler_layers
            num_landmarks num_codevector_groups num_conv_pos_embedding_groups num_temporal_layers
            linear_num_key_heads n_mamba_heads l_layers x_layers r_layers mm_tokens_per_image
            num_auxiliary_layers""",
        3: """num_hidden_layers num_layers n_layers n_layer encoder_layers decoder_layers
            num_spatial_layers num_self_attends_per_block""",
        4: """num_attention_heads n_heads n_head num_heads encoder_attention_heads
            decoder_attention_heads num_experts num_local_experts n_routed_experts
            linear_num_value_heads decoder_num_attention_heads pred_num_attention_heads
            num_self_attention_heads num_cross_attention_heads index_n_heads index_topk num_frames
            frames_per_clip""",
        8: """head_dim attention_head_size d_head d_kv qk_nope_head_dim qk_rope_head_dim v_head_dim
            kv_channels linear_key_head_dim linear_value_head_dim index_head_dim coordinate_size
            shape_size rotary_dim num_conv_pos_embeddings num_latents query_pre_attn_scalar""",
        16: """q_lora_rank kv_lora_rank entity_emb_size xpath_unit_hidden_size codevector_dim
            proj_codevector_dim xvector_output_dim num_codevectors_per_group adapter_rank
            num_mel_bins segment_means_seq_len local_attention sliding_window""",
        32: """hidden_size d_model n_embd dim emb_dim embedding_size input_embedding_size
            output_embedding_size decoder_hidden_size pred_hidden_size projection_dim d_latents
            moe_intermediate_size shared_expert_intermediate_size classifier_proj_size
            pronunciation_embed_dim shape_embed_dim prediction_head_size out_hidden_size
            entity_vocab_size num_hash_buckets feature_projection_input_dim
            intra_bottleneck_size true_hidden_size""",
        64: """intermediate_size d_ff d_inner dff hidden_dim encoder_ffn_dim decoder_ffn_dim ffn_dim
            decoder_intermediate_size feed_forward_size vocab_size pronunciation_vocab_size
            shape_vocab_size visual_feat_dim""",
        128: """max_position_embeddings n_positions max_source_positions max_target_positions
            max_encoder_position_embeddings max_decoder_position_embeddings max_seq_len""",
    }.items()
    for name in names.split()
}
"""Values for the fields of a configuration, where it has a field of that name."""

_WAVES = {
    "conv_dim": (16, 16, 16),
    "conv_kernel": (10, 3, 2),
    "conv_stride": (5, 2, 2),
    "mask_time_length": 2,
    "mask_feature_length": 2,
}
_WIDTHS, _DEPTHS = {"hidden_sizes": (8, 16, 24, 32)}, {"depths": (1, 1, 2, 1)}
_PYRAMID = {**_WIDTHS, **_DEPTHS}
_PYRAMID_WITH_HEADS = {**_PYRAMID, "num_attention_heads": (1, 2, 2, 2)}
_WINDOWS = {
    "embed_dim": 8,
    "depths": (1, 1, 2),
    "num_heads": (2, 2, 4),
    "window_size": 4,
    "patch_size": 2,
}

_OF_ONE: dict[str, dict[str, Any]] = {
    "audio-spectrogram-transformer": {
        "frequency_stride": 4,
        "time_stride": 8,
        "max_length": 32,
    },
    "bit": {**_PYRAMID, "embedding_size": 8, "num_groups": 1},
    "bros": {"hidden_size": 64},
    "cohere_compass_text": {
        "rope_parameters": {
            "full_attention": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [2, 1, 1],
            }
        }
    },
    "cvt": {"depth": (1, 2, 3), "embed_dim": (8, 16, 24), "num_heads": (1, 2, 2)},
    "deberta": {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
    },
    "dinat": {"num_heads": (1, 2, 2, 2), **_DEPTHS, "embed_dim": 8},
    "efficientnet": {"width_coefficient": 0.25, "depth_coefficient": 0.2, "hidden_dim": 320},
    "esmc": {"num_key_value_heads": 4},
    "focalnet": {**_DEPTHS, "embed_dim": 8, "hidden_sizes": (8, 16, 32, 64), "patch_size": 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "num_layers": 4},
    "hgnet_v2": {
        **_PYRAMID,
        "embedding_size": 8,
        "stem_channels": (3, 8, 8),
        "stage_in_channels": (8, 8, 16, 24),
        "stage_mid_channels": (8, 8, 8, 8),
        "stage_out_channels": (8, 16, 24, 32),
        "stage_num_blocks": (1, 1, 2, 1),
        "stage_numb_of_layers": (2, 2, 2, 2),
    },
    "hiera": {
        **_DEPTHS,
        "embed_dim": 8,
        "image_size": (64, 64),
        "patch_size": (7, 7),
        "num_heads": (1, 1, 2, 2),
    },
    "jamba": {"num_hidden_layers": 4, "attn_layer_period": 2, "attn_layer_offset": 1},
    "layoutlmv3": {"coordinate_size": 4},
    "levit": {
        "image_size": 64,
        "hidden_sizes": (16, 32, 48),
        "num_attention_heads": (1, 2, 3),
        "depths": (1, 2, 1),
        "key_dim": (8, 8, 8),
        "patch_size": 16,
    },
    "lilt": {"hidden_size": 48},
    "lxmert": {"num_qa_labels": 3},
    "markuplm": {"max_depth": 4},
    "mobilenet_v1": {"depth_multiplier": 0.25},
    "mobilenet_v2": {"depth_multiplier": 0.25},
    "mobilevit": {
        "image_size": 64,
        "patch_size": 2,
        "hidden_sizes": (16, 24, 32),
        "neck_hidden_sizes": (8, 8, 16, 16, 24, 24, 32),
    },
    "mobilevitv2": {"image_size": 64, "patch_size": 2, "width_multiplier": 0.25},
    "nystromformer": {"num_landmarks": 16},
    "perceiver": {"num_cross_attention_heads": 1},
    "poolformer": {**_PYRAMID, "patch_size": 7},
    "pp_lcnet": {"scale": 0.25, "class_expand": 64},
    "qwen3_asr_encoder": {"downsample_hidden_size": 16},
    "reformer": {
        "axial_pos_embds_dim": (16, 16),
        "axial_pos_shape": (4, 4),
        "attn_layers": ("local", "lsh", "local", "lsh"),
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "is_decoder": False,
    },
    "siglip2_vision_model": {"num_patches": 16},
    "sew-d": {**_WAVES, "position_buckets": 16},
    "swiftformer": {**_DEPTHS, "embed_dims": (8, 16, 24, 32)},
    "t5": {"decoder_start_token_id": PADDING},
    "textnet": {
        "hidden_sizes": (8, 8, 16, 24, 32),
        "stem_out_channels": 8,
        "conv_layer_kernel_sizes": [[[3, 3]], [[3, 3]], [[3, 3], [3, 1]], [[3, 3]]],
        "conv_layer_strides": [[1], [2], [2, 1], [2]],
    },
    "videoprism_vision_model": {"tubelet_size": (1, 8, 8)},
    "vivit": {"tubelet_size": (2, 8, 8)},
    "whisper": {"max_source_positions": 32},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 6, "attn_layer_period": 2, "attn_layer_offset": 1},
    "zamba2": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_key_value_heads": 4,
        "mamba_d_state": 16,
    },
}
_OF_SEVERAL = {
    "axk1 axk2 deepseek_v2 deepseek_v3 minicpm3 mistral4": {"num_key_value_heads": 4},
    "convnext convnextv2": {**_PYRAMID, "patch_size": 4},
    "regnet": _PYRAMID,
    "qwen3_5_text qwen3_next": {
        "num_hidden_layers": 4,
        "layer_types": ["linear_attention", "full_attention"] * 2,
    },
    "big_bird bigbird_pegasus": {"attention_type": "original_full"},
    "led longformer": {"attention_window": 4},
    "data2vec-audio sew unispeech unispeech-sat wav2vec2 wav2vec2-conformer": _WAVES,
    "hubert wavlm": {**_WAVES, "do_stable_layer_norm": True, "feat_extract_norm": "layer"},
    "pvt pvt_v2 segformer": _PYRAMID_WITH_HEADS,
    "resnet": {**_PYRAMID, "embedding_size": 8},
    "swin swinv2 donut-swin": _WINDOWS,
}
OVERRIDES = _OF_ONE | {
    model_type: values for types, values in _OF_SEVERAL.items() for model_type in types.split()
}
"""What the fields of one architecture need beside or instead of the general small values."""


def small_config(model_type: str, **options: Any) -> PreTrainedConfig:
    """Return a configuration of a few layers, of a few units each.

    Args:
        model_type: Its name in `transformers`.
        **options: Further fields.
    """
    return _shrunk(CONFIG_MAPPING[model_type], options)


def _shrunk(config_class: type[PreTrainedConfig], options: dict[str, Any]) -> PreTrainedConfig:
    own = OVERRIDES.get(config_class.model_type, {})
    names = {field.name for field in dataclasses.fields(config_class)} | {"num_labels"}
    values = {name: value for name, value in _SMALL.items() if name in names}
    values |= _special_tokens(config_class)
    for name, part in (config_class.sub_configs_defaults or {}).items():
        if not part.optional:
            auto = part.config_class is AutoConfig
            part_class = CONFIG_MAPPING[part.model_type] if auto else part.config_class
            values[name] = _shrunk(part_class, options if name == "text_config" else {})
    return config_class(**values | own | options)


def _special_tokens(config_class: type[PreTrainedConfig]) -> dict[str, int]:
    """Give tokens whose ids lie above the small vocabulary the last ids of it."""
    fields = [
        field.name
        for field in dataclasses.fields(config_class)
        if field.name.endswith(("token_id", "token_index"))
        and field.name not in _SMALL
        and isinstance(field.default, int)
        and field.default >= VOCABULARY
    ]
    return {name: VOCABULARY - 1 - number for number, name in enumerate(fields)}
