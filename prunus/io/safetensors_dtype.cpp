#include "prunus/io/safetensors_dtype.h"

namespace prunus {
namespace {

using at::ScalarType;

constexpr SafetensorsDtype kDtypes[] = {
    {"BOOL", 8, ScalarType::Bool},
    {"F4", 4, ScalarType::Undefined},
    {"F6_E2M3", 6, ScalarType::Undefined},
    {"F6_E3M2", 6, ScalarType::Undefined},
    {"U8", 8, ScalarType::Byte},
    {"I8", 8, ScalarType::Char},
    {"F8_E5M2", 8, ScalarType::Float8_e5m2},
    {"F8_E4M3", 8, ScalarType::Float8_e4m3fn},
    {"F8_E8M0", 8, ScalarType::Undefined},
    {"F8_E4M3FNUZ", 8, ScalarType::Float8_e4m3fnuz},
    {"F8_E5M2FNUZ", 8, ScalarType::Float8_e5m2fnuz},
    {"I16", 16, ScalarType::Short},
    {"U16", 16, ScalarType::UInt16},
    {"F16", 16, ScalarType::Half},
    {"BF16", 16, ScalarType::BFloat16},
    {"I32", 32, ScalarType::Int},
    {"U32", 32, ScalarType::UInt32},
    {"F32", 32, ScalarType::Float},
    {"C64", 64, ScalarType::ComplexFloat},
    {"F64", 64, ScalarType::Double},
    {"I64", 64, ScalarType::Long},
    {"U64", 64, ScalarType::UInt64},
};

}  // namespace

std::span<const SafetensorsDtype> safetensors_dtypes() { return kDtypes; }

const SafetensorsDtype* find_safetensors_dtype(std::string_view name) {
  for (const auto& dtype : kDtypes) {
    if (dtype.name == name) return &dtype;
  }
  return nullptr;
}

bool is_weight_dtype(at::ScalarType type) {
  return type == ScalarType::Float || type == ScalarType::Half || type == ScalarType::BFloat16;
}

}  // namespace prunus
