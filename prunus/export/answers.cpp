#include "prunus/export/answers.h"

namespace prunus {

FormAnswer answer(std::string_view software, const std::vector<std::string>& obstacles,
                  std::string how) {
  if (obstacles.empty()) return {software, true, std::move(how)};
  std::string why;
  for (const std::string& one : obstacles) why += (why.empty() ? "" : "; ") + one;
  return {software, false, why};
}

std::string load_in_transformers(bool code) {
  return std::string("from_pretrained(\"OUT\"") + (code ? ", trust_remote_code=True)" : ")");
}

std::string load_in_vllm(bool code) {
  return std::string("vllm serve OUT") + (code ? " --trust-remote-code" : "");
}

}  // namespace prunus
