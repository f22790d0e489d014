#include "prunus/model/resident_dtype.h"

#include <utility>

#include "prunus/base/named.h"

namespace prunus {
namespace {

constexpr std::pair<std::string_view, ResidentDtype> kResidentDtypes[] = {
    {"auto", ResidentDtype::Auto},
    {"float32", ResidentDtype::Float32},
    {"bfloat16", ResidentDtype::BFloat16},
    {"float16", ResidentDtype::Float16},
    {"file", ResidentDtype::File}};

constexpr std::pair<std::string_view, KvDtype> kKvDtypes[] = {{"auto", KvDtype::Auto},
                                                              {"float32", KvDtype::Float32},
                                                              {"bfloat16", KvDtype::BFloat16},
                                                              {"float16", KvDtype::Float16}};

// Whether a file has a matrix that row products alone read as it is: in blocks, without zeros, or
// in F16, whose range products in F16 may leave.
bool has_packed(const Model& model) {
  for (const TensorInfo& tensor : model.tensors()) {
    if (tensor.shape.size() != 2) continue;
    const auto packed = model.source().read_packed(tensor);
    if (packed && packed->type >= kernel::Stored::Half) return true;
  }
  return false;
}

}  // namespace

KvDtype parse_kv_dtype(std::string_view name) { return parse_named(kKvDtypes, name, "--kv-dtype"); }

std::string_view kv_dtype_name(KvDtype dtype) { return name_of(kKvDtypes, dtype); }

Residence residence(const Model& model, ResidentDtype asked, KvDtype kv, at::Device device) {
  const bool as_stored = asked == ResidentDtype::Auto || asked == ResidentDtype::File;
  const bool packed = as_stored && device.is_cpu() && has_packed(model);
  Residence where(packed ? at::kFloat : resident_dtype(model, asked, device));
  where.packed = packed;
  switch (kv) {
    case KvDtype::Auto:
      return where;
    case KvDtype::Float32:
      where.kv = at::kFloat;
      return where;
    case KvDtype::BFloat16:
      where.kv = at::kBFloat16;
      return where;
    case KvDtype::Float16:
      where.kv = at::kHalf;
      return where;
  }
  return where;
}

ResidentDtype parse_resident_dtype(std::string_view name) {
  return parse_named(kResidentDtypes, name, "--dtype");
}

std::string_view resident_dtype_name(ResidentDtype dtype) {
  return name_of(kResidentDtypes, dtype);
}

at::ScalarType resident_dtype(const Model& model, ResidentDtype asked, at::Device device) {
  if (asked == ResidentDtype::Float32) return at::kFloat;
  if (asked == ResidentDtype::BFloat16) return at::kBFloat16;
  if (asked == ResidentDtype::Float16) return at::kHalf;
  const at::ScalarType stored = model.source().dtype(model.tensor(Role::LmHead));
  if (stored == at::kBFloat16) return stored;
  const bool half = stored == at::kHalf && (asked == ResidentDtype::File || !device.is_cpu());
  return half ? stored : at::kFloat;
}

}  // namespace prunus
