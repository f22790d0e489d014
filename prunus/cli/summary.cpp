#include "prunus/cli/summary.h"

#include <algorithm>
#include <cstdio>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/quantity.h"
#include "prunus/cli/command.h"
#include "prunus/cli/forms_text.h"

namespace prunus {
namespace {

// "8 → 6", or "6 to 8" where layers differ.
std::string range_text(const Json& sizes) {
  const auto list = sizes.get<std::vector<int64_t>>();
  const auto [low, high] = std::minmax_element(list.begin(), list.end());
  return *low == *high ? std::to_string(*low) : c10::str(*low, " to ", *high);
}

void print_change(const char* what, const std::string& before, const std::string& after) {
  std::printf("%-16s %12s  ->  %s\n", what, before.c_str(), after.c_str());
}

}  // namespace

void print_sizes(const Json& before, const Json& after) {
  const auto number = [](const Json& json, const char* key) { return json.at(key).get<int64_t>(); };
  const double share = 1.0 - static_cast<double>(number(after, "parameters")) /
                                 static_cast<double>(number(before, "parameters"));
  char change[32];
  std::snprintf(change, sizeof change, share == 0 ? "  (none removed)" : "  (%+.1f %%)",
                -100 * share);
  print_change("parameters", human_count(number(before, "parameters")),
               human_count(number(after, "parameters")) + change);
  print_change("bytes", human_bytes(number(before, "bytes")), human_bytes(number(after, "bytes")));
  for (const auto& [what, key] :
       {std::pair{"layers", "num_hidden_layers"}, std::pair{"hidden size", "hidden_size"},
        std::pair{"head dim", "head_dim"}}) {
    if (before.at(key) == after.at(key)) continue;
    print_change(what, before.at(key).dump(), after.at(key).dump());
  }
  const auto macs = [](const Json& json) {
    return human_count(static_cast<int64_t>(json.at("macs_64_tokens").get<double>()));
  };
  print_change("MACs, 64 tokens", macs(before), macs(after));
  print_change("query heads", range_text(before.at("num_attention_heads")),
               range_text(after.at("num_attention_heads")));
  print_change("KV heads", range_text(before.at("num_key_value_heads")),
               range_text(after.at("num_key_value_heads")));
  print_change("FFN channels", range_text(before.at("intermediate_size")),
               range_text(after.at("intermediate_size")));
}

namespace {

// What became of the tokens, and of the text that they were chosen by.
void print_vocabulary(const Json& vocabulary) {
  const auto number = [](const Json& json, const char* key) { return json.at(key).get<int64_t>(); };
  print_change("tokens", std::to_string(number(vocabulary, "tokens_before")),
               std::to_string(number(vocabulary, "tokens")));
  if (!vocabulary.contains("text")) return;
  const Json& text = vocabulary.at("text");
  const auto before = static_cast<double>(std::max<int64_t>(1, number(text, "tokens_before")));
  std::printf("%-16s %.2f %% of its tokens are kept; it takes %.2f %% more tokens\n", "the text",
              100.0 * static_cast<double>(number(text, "kept")) / before,
              100.0 * (static_cast<double>(number(text, "tokens")) / before - 1));
}

}  // namespace

void print_prune_summary(const Json& record) {
  const auto number = [](const Json& json, const char* key) { return json.at(key).get<int64_t>(); };
  print_sizes(record.at("source"), record.at("result"));
  if (record.contains("vocabulary")) print_vocabulary(record.at("vocabulary"));
  if (record.contains("mask")) {
    const Json& mask = record.at("mask");
    const auto zeros = number(mask, "zeros");
    const auto weights = number(mask, "weights");
    std::printf("%-16s %s of %s weights of the layers' matrices (%.1f %%), pattern %s\n", "zeros",
                human_count(zeros).c_str(), human_count(weights).c_str(),
                100.0 * static_cast<double>(zeros) / static_cast<double>(weights),
                mask.at("pattern").get<std::string>().c_str());
  }
  double seconds = 0;
  for (const Json& stage : record.at("stages")) seconds += stage.at("seconds").get<double>();
  std::printf("%-16s %.1f s, peak memory %s\n", "took", seconds,
              human_bytes(number(record, "peak_memory_bytes")).c_str());
  const auto out = record.at("options").at("out").get<std::string>();
  const bool dry = record.at("options").value("dry_run", false);
  const auto model = record.at("options").at("model").get<std::string>();
  if (dry) {
    std::printf("%-16s %s/plan.json; run: prunus apply %s --plan %s/plan.json --out DIR\n",
                "planned", out.c_str(), model.c_str(), out.c_str());
  } else {
    std::printf("%-16s %s (reopened, logits equal)\n", "written", out.c_str());
  }
  std::printf("%s", forms_text(record.at("forms")).c_str());
}

}  // namespace prunus
