#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "prunus/base/json.h"
#include "prunus/calib/vocab_pass.h"

namespace prunus {

/// The text that a plan is carried out on: windows drawn from a file by a seed, known by a hash, so
/// that the same plan gives the same weights.
struct PlanText {
  std::string file;  ///< as it was named
  int64_t samples = 0;
  int64_t tokens = 0;  ///< of a sample
  uint64_t seed = 0;
  std::string windows_sha256;  ///< of the windows' ids, windows_sha256()
};

/// SHA-256 that a plan knows windows of token ids by.
std::string windows_sha256(const std::vector<std::vector<int64_t>>& windows);

Json to_json(const PlanText& text);
/// Throws Corrupt naming `where`; json's own errors for fields that are missing or ill-typed.
PlanText plan_text_from(const Json& json, const std::string& where);

/// Draws the windows again, from `file` where that is given, by the tokenizer of `model_dir`.
/// Throws NotFound where there is no such file; InvalidArgument where the windows are others.
std::vector<TokenBatch> rows_of(const PlanText& text, const std::string& file,
                                const std::string& model_dir);

}  // namespace prunus
