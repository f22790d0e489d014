#pragma once
#include <string>

#include "prunus/adapter/lora.h"
#include "prunus/model/model.h"

namespace prunus {

/// Writes adapter_config.json and adapter_model.safetensors as PEFT reads them into `dir`, which
/// exists. FP32. `base_model` is what base_model_name_or_path says: the directory of the model the
/// adapter belongs to (the pruned one, not the dense one). Pairs on parts of a fused weight become
/// one module of the sum of their ranks: A stacked, B in blocks, its rows where the file has those
/// of the parts. Throws Io; Unsupported where the adapter holds more than trainable pairs.
/// Source: huggingface/peft, docs/source/developer_guides/checkpoint.md and tuners/lora/config.py.
void write_peft(const LoraAdapter& adapter, const Model& model, const std::string& base_model,
                const std::string& dir);

/// Reads an adapter that PEFT or write_peft made for this model; F32, F16 or BF16 become FP32.
/// Adapters on every matrix, the embeddings and the head; those on a fused weight become pairs on
/// its parts. DoRA, modules_to_save, trained biases and lora_bias too, for merging: see
/// LoraAdapter::check_trainable(). Where the model's head is tied, pass untied()
/// (adapter/merge.h).
/// Throws NotFound; Corrupt: broken files, a factor missing or of a wrong shape (with a hint that
/// an adapter of the dense model does not fit its pruned one), NaN; Unsupported, naming the field
/// or the tensor: kinds of adapters other than LoRA and DoRA, adapters on single experts, and any
/// field with a value that changes the mathematics and is not known here.
LoraAdapter read_peft(const std::string& dir, const Model& model);

/// Reads what write_peft wrote and compares. Throws OutputCheck where it is another update.
void check_written_peft(const LoraAdapter& adapter, const Model& model, const std::string& dir);

}  // namespace prunus
