#include "prunus/job/job_options.h"

#include <ATen/ATen.h>

#include "prunus/base/error.h"

namespace prunus {

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

at::ScalarType parse_precision(std::string_view text) {
  for (const at::ScalarType one : {at::kFloat, at::kBFloat16, at::kDouble}) {
    if (text == name_of_precision(one)) return one;
  }
  PRUNUS_FAIL(InvalidArgument, "--precision ", text, ", expected float32, bfloat16 or float64");
}

std::string name_of_precision(at::ScalarType precision) {
  return precision == at::kDouble ? "float64" : precision == at::kFloat ? "float32" : "bfloat16";
}

}  // namespace prunus
