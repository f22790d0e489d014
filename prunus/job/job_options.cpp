#include "prunus/job/job_options.h"

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/named.h"

namespace prunus {
namespace {

using NamedPrecision = std::pair<std::string_view, at::ScalarType>;

constexpr NamedPrecision kPrecisions[] = {
    {"float32", at::kFloat}, {"bfloat16", at::kBFloat16}, {"float64", at::kDouble}};

}  // namespace

at::Device parse_device(const std::string& text, const std::string& where) {
  const bool cpu = text == "cpu";
  const bool cuda = text.starts_with("cuda");
  PRUNUS_CHECK(cpu || cuda, InvalidArgument, where, " ", text, ", expected cpu, cuda or cuda:N");
  PRUNUS_CHECK(cpu || at::hasCUDA(), InvalidArgument, where, " ", text,
               ": this libtorch sees no CUDA device");
  try {
    return at::Device(text);
  } catch (const c10::Error&) {
    PRUNUS_FAIL(InvalidArgument, where, " ", text, ", expected cpu, cuda or cuda:N");
  }
}

at::ScalarType parse_precision(std::string_view name) {
  return parse_named(kPrecisions, name, "--precision");
}

std::string_view name_of_precision(at::ScalarType precision) {
  return name_of(kPrecisions, precision);
}

}  // namespace prunus
