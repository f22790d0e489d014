#include "prunus/cli/recover_summary.h"

#include <cmath>
#include <cstdio>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/quantity.h"
#include "prunus/cli/forms_text.h"
#include "prunus/cli/summary.h"

namespace prunus {
namespace {

void print_loss(const char* what, const Json& nll) {
  if (!nll.is_number()) return;
  const auto loss = nll.get<double>();
  std::printf("%-22s %.4f nats a token (perplexity %.4g)\n", what, loss, std::exp(loss));
}

void print_training(const Json& training) {
  print_loss("validation before", training.at("valid_loss_before"));
  print_loss("validation after", training.at("valid_loss"));
  const auto kept = training.at("kept_after_step").get<int64_t>();
  const auto steps = training.at("steps").get<int64_t>();
  std::printf("%-22s %lld%s, %s tokens, %.0f tokens/s, MFU %.0f %%\n", "steps",
              static_cast<long long>(steps),
              training.at("stopped_early").get<bool>() ? " (stopped early)" : "",
              human_count(training.at("tokens").get<int64_t>()).c_str(),
              training.at("tokens_per_second").get<double>(),
              100 * training.at("mfu").get<double>());
  if (kept != steps)
    std::printf("%-22s those after step %lld\n", "weights kept", static_cast<long long>(kept));
}

void print_sub_blocks(const Json& parts) {
  std::printf("%5s  %-10s %12s %12s  %s\n", "layer", "part", "error before", "after", "steps");
  for (const Json& part : parts) {
    std::printf("%5lld  %-10s %12.5f %12.5f  %lld%s\n", part.at("layer").get<long long>(),
                part.at("part").get<std::string>().c_str(), part.at("error_before").get<double>(),
                part.at("error_after").get<double>(), part.at("steps").get<long long>(),
                part.at("kept").get<bool>() ? "" : " (not better: left as it was)");
  }
}

}  // namespace

void print_recover_summary(const Json& record) {
  if (record.contains("training")) print_training(record.at("training"));
  if (record.contains("sub_blocks")) print_sub_blocks(record.at("sub_blocks"));
  if (record.contains("valid_loss_before")) {
    print_loss("validation before", record.at("valid_loss_before"));
  }
  if (record.contains("valid_loss_written")) {
    print_loss("as written", record.at("valid_loss_written"));
  }
  if (record.contains("merge") && record.at("merge").at("sparse_weights").get<int64_t>() > 0) {
    const Json& merge = record.at("merge");
    const auto whole = merge.at("update_norm").get<double>();
    std::printf("%-22s %s zeros in %lld sparse weights (%.1f %% of their update's norm left out)\n",
                "kept", human_count(merge.at("kept_zeros").get<int64_t>()).c_str(),
                merge.at("sparse_weights").get<long long>(),
                whole > 0 ? 100 * merge.at("masked_norm").get<double>() / whole : 0.0);
  }
  double seconds = 0;
  for (const Json& stage : record.at("stages")) seconds += stage.at("seconds").get<double>();
  std::printf("%-22s %.1f s, peak memory %s\n", "took", seconds,
              human_bytes(record.at("peak_memory_bytes").get<int64_t>()).c_str());
  std::printf("%-22s %s\n", "written", record.at("options").at("out").get<std::string>().c_str());
}

void print_prune_recover_summary(const Json& record) {
  const Json& prune = record.at("prune");
  print_sizes(prune.at("source"), record.at("result"));
  double seconds = 0;
  for (const Json& stage : prune.at("stages")) seconds += stage.at("seconds").get<double>();
  std::printf("%-22s %.1f s, peak memory %s; then\n", "pruning took", seconds,
              human_bytes(prune.at("peak_memory_bytes").get<int64_t>()).c_str());
  print_recover_summary(record);
  std::printf("%s", forms_text(prune.at("forms")).c_str());
}

}  // namespace prunus
