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

}  // namespace

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
