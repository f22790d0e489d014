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

}  // namespace prunus
