#pragma once
#include <string_view>

#include "prunus/model/model.h"

namespace prunus {

/// What the weights of a model are held in that stays in memory, and what its products are in.
enum class ResidentDtype {
  Auto,  ///< as stored; but FP32 on the CPU for F16, whose range products may leave
  Float32,
  BFloat16,
  Float16,
  File,  ///< as the head is stored
};

/// "auto", "float32", "bfloat16", "float16", "file". Throws InvalidArgument listing these.
ResidentDtype parse_resident_dtype(std::string_view name);
std::string_view resident_dtype_name(ResidentDtype dtype);

/// FP32, BF16 or F16: of a model on `device`. The head's dtype stands for the file's; one that is
/// none of the three (FP64) counts as FP32.
at::ScalarType resident_dtype(const Model& model, ResidentDtype asked, at::Device device);

}  // namespace prunus
