#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <c10/core/Device.h>

#include "prunus/base/json.h"
#include "prunus/eval/compare_logits.h"

namespace prunus {

/// One whole `prunus verify`.
struct VerifyJob {
  std::string model_dir;
  std::string other_dir;
  std::string data = {};               ///< text file; empty: verify_sample()
  bool random = false;                 ///< ids drawn by `seed` in place of a text
  int64_t tokens = 2048;               ///< at most so many
  std::optional<int64_t> seqlen = {};  ///< ids a sequence; none: 512, or the shorter context
  uint64_t seed = 0;
  std::optional<double> tolerance = {};  ///< of max_abs_diff; none: nothing is judged
  at::Device device = at::kCPU;
  std::string recipe = {};  ///< file that options were read from, for the record
  std::string model_asked =
      {};  ///< the model as it was asked for, for the record; empty: model_dir
  std::string other_asked = {};  ///< likewise
};

/// Compares vocabularies, tokenizers and logits. → run.json's content (docs/verify.md); writes
/// nothing. verify.passed: with a tolerance, whether max_abs_diff is within it, both vocabularies
/// have one size, and both tokenizers, where there are two, give the same ids.
/// Throws InvalidArgument: lengths; a data file where ids are random; NotFound: neither model has a
/// tokenizer and ids are not random; as open_model, load_tokenizer, compare_logits.
Json run_verify(const VerifyJob& job);

/// A page of several scripts, digits and code, for where no text is given. UTF-8.
std::string_view verify_sample();

}  // namespace prunus
