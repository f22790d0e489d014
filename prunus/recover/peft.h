#pragma once
#include <string>

#include "prunus/model/model.h"
#include "prunus/recover/lora.h"

namespace prunus {

/// Writes adapter_config.json and adapter_model.safetensors as PEFT reads them into `dir`, which
/// exists. FP32. `base_model` is what base_model_name_or_path says: the directory of the model the
/// adapter belongs to (the pruned one, not the dense one). Throws Io.
/// Source: huggingface/peft, docs/source/developer_guides/checkpoint.md and tuners/lora/config.py.
void write_peft(const LoraAdapter& adapter, const Model& model, const std::string& base_model,
                const std::string& dir);

/// Reads an adapter that PEFT or write_peft made for this model; F32, F16 or BF16 become FP32.
/// Understands r, lora_alpha, lora_dropout, use_rslora, target_modules (a list, or "all-linear"
/// where that means the seven projections), rank_pattern, alpha_pattern, layers_to_transform.
/// Throws NotFound; Corrupt: broken files, a factor missing or of a wrong shape (with a hint that
/// an adapter of the dense model does not fit its pruned one), NaN; Unsupported, naming the field:
/// peft_type other than LORA, use_dora, bias other than "none", modules_to_save, fan_in_fan_out,
/// target_modules as a regular expression, adapters outside the seven projections, and any field
/// with a value that changes the mathematics and is not known here.
LoraAdapter read_peft(const std::string& dir, const Model& model);

}  // namespace prunus
