#pragma once
// The plain way to score requests: each one alone, through the whole model. An oracle.
#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/eval/request.h"

#include "support/tiny_model.h"

namespace prunus::test {

inline ScoreResult score_alone(const Model& model, const ScoreRequest& request) {
  std::vector<int64_t> ids = request.context;
  ids.insert(ids.end(), request.continuation.begin(), request.continuation.end());
  const auto keep = static_cast<size_t>(model.config().max_position_embeddings) + 1;
  if (ids.size() > keep) ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(keep));
  const at::Tensor input = at::tensor(ids, at::kLong).view({1, -1});
  const auto inputs = static_cast<int64_t>(ids.size()) - 1;
  const auto scored = static_cast<int64_t>(request.continuation.size());
  const at::Tensor log_p = logits_of(model, input.narrow(1, 0, inputs))[0]
                               .narrow(0, inputs - scored, scored)
                               .to(at::kDouble)
                               .log_softmax(1);
  const at::Tensor targets = input[0].narrow(0, inputs + 1 - scored, scored);
  return {log_p.gather(1, targets.unsqueeze(1)).sum().item<double>(),
          at::equal(log_p.argmax(1), targets)};
}

inline std::vector<ScoreResult> score_each_alone(const Model& model,
                                                 std::span<const ScoreRequest> requests) {
  std::vector<ScoreResult> results;
  for (const ScoreRequest& request : requests) results.push_back(score_alone(model, request));
  return results;
}

/// One record a line.
inline void write_records(const std::string& path, const Json& records) {
  std::string text;
  for (const Json& record : records) text += record.dump() + "\n";
  write_file(path, text);
}

}  // namespace prunus::test
