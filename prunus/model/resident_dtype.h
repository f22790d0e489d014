#pragma once
#include <string_view>

#include "prunus/model/model.h"

namespace prunus {

/// In what a model that stays in memory is held.
struct Residence {
  Residence(at::ScalarType weights = at::kFloat) : dtype(weights), kv(weights) {}

  at::ScalarType dtype;  ///< of weights and products
  bool packed = false;   ///< matrices stay as a GGUF file or bitmasks have them, products are FP32
  at::ScalarType kv;     ///< of cached keys and values
};

/// What the weights of a model are held in that stays in memory, and what its products are in.
enum class ResidentDtype {
  Auto,  ///< as stored, GGUF's blocks and bitmasks too; but FP32 on the CPU for F16 of another
         ///< file, whose range products may leave
  Float32,
  BFloat16,
  Float16,
  File,  ///< as the head is stored, GGUF's blocks and bitmasks too
};

/// "auto", "float32", "bfloat16", "float16", "file". Throws InvalidArgument listing these.
ResidentDtype parse_resident_dtype(std::string_view name);
std::string_view resident_dtype_name(ResidentDtype dtype);

/// In what cached keys and values are held.
enum class KvDtype { Auto /* as weights are multiplied */, Float32, BFloat16, Float16 };

/// "auto", "float32", "bfloat16", "float16". Throws likewise.
KvDtype parse_kv_dtype(std::string_view name);
std::string_view kv_dtype_name(KvDtype dtype);

/// Of a model on `device`. Asked for as stored on a CPU, a GGUF file with matrices in F16 or in
/// blocks that row products read (packed_type()) keeps all as they are, and so does a checkpoint
/// with bitmasks; products are FP32 then. What is quantised otherwise is dequantised to BF16.
Residence residence(const Model& model, ResidentDtype asked, KvDtype kv, at::Device device);

/// FP32, BF16 or F16: of a model on `device`. The head's dtype stands for the file's; one that is
/// none of the three (FP64) counts as FP32.
at::ScalarType resident_dtype(const Model& model, ResidentDtype asked, at::Device device);

}  // namespace prunus
