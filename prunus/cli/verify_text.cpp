#include "prunus/cli/verify_text.h"

#include <cstdio>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/run_schema.h"
#include "prunus/cli/text_table.h"

namespace prunus {
namespace {

std::string number(const char* format, const Json& value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value.get<double>());
  return text;
}

std::string tokenizer_text(const Json& verify) {
  if (!verify.contains("tokenizer")) return "not compared (drawn ids)";
  const Json& tokenizer = verify.at("tokenizer");
  if (tokenizer.at("same_ids").is_null()) return "not compared (one has none)";
  if (tokenizer.at("same_ids") == true) {
    return c10::str("same ids of the text (", tokenizer.at("tokens").get<int64_t>(), ")");
  }
  return c10::str("different ids from token ", tokenizer.at("first_difference").get<int64_t>(),
                  " on");
}

std::string vocabulary_text(const Json& sizes) {
  const auto one = sizes[0].get<int64_t>(), other = sizes[1].get<int64_t>();
  return one == other ? c10::str(one) : c10::str(one, " and ", other, ": different");
}

}  // namespace

std::string verify_report(const Json& record) {
  using Align = TextTable::Align;
  const Json& verify = record.at(run_key::kVerify);
  const Json& worst = verify.at("worst");
  TextTable table({{"figure", Align::Left}, {"value", Align::Left}});
  table.add({"tokens compared", c10::str(verify.at("tokens").get<int64_t>())});
  table.add({"vocabulary", vocabulary_text(verify.at("vocab_size"))});
  table.add({"tokenizer", tokenizer_text(verify)});
  table.add({"max |logit difference|", number("%.3g", verify.at("max_abs_diff")) +
                                           " (relative to the largest logit " +
                                           number("%.3g", verify.at("max_relative_diff")) + ")"});
  table.add(
      {"  at",
       c10::str("sequence ", worst.at("sequence").get<int64_t>(), ", place ",
                worst.at("place").get<int64_t>(), ", id ", worst.at("id").get<int64_t>(), ": ",
                number("%.6g", worst.at("logit")), " and ", number("%.6g", worst.at("other")))});
  table.add({"mean |logit difference|", number("%.3g", verify.at("mean_abs_diff"))});
  table.add({"KL, nats a token", number("%.3g", verify.at("mean_kl")) + " (largest " +
                                     number("%.3g", verify.at("max_kl")) + ")"});
  Json percent = 100 * verify.at("top1_agreement").get<double>();
  table.add({"same likeliest token", number("%.2f %%", percent)});
  table.add({"-log p, nats a token",
             number("%.5f", verify.at("nll")) + " and " + number("%.5f", verify.at("other_nll"))});
  return table.text();
}

}  // namespace prunus
