#include "prunus/cli/eval_text.h"

#include <cstdio>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/run_schema.h"
#include "prunus/cli/text_table.h"

namespace prunus {
namespace {

using Align = TextTable::Align;

std::string number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

// "+- 0.1234", or nothing where there is no such number.
std::string error_of(const Json& json, const char* key, const char* format, double factor = 1) {
  const Json value = json.value(key, Json());
  return value.is_number() ? "+- " + number(format, factor * value.get<double>()) : "";
}

// "97.31 %" of the unpruned model's, or nothing.
std::string relative_of(const Json& json, const std::string& key) {
  const Json value = json.value(key, Json());
  return value.is_number() ? number("%.2f %%", 100 * value.get<double>()) : "";
}

void print_perplexities(const Json& results) {
  TextTable table({{"protocol", Align::Left},
                   {"figure", Align::Left},
                   {"value"},
                   {"", Align::Left},
                   {"tokens"},
                   {"seconds"},
                   {"file", Align::Left},
                   {"", Align::Left}});
  const auto row = [&](const Json& one, const char* key, const char* error, const char* format) {
    if (!one.contains(key)) return;
    const std::string relative = relative_of(one.value("relative", Json::object()), key);
    table.add({word_at(one, "protocol"), key, number(format, number_at(one, key)),
               error_of(one, error, format), with_commas(one.at("tokens").get<int64_t>()),
               number("%.2f", number_at(one, "seconds")), word_at(one, "file"),
               relative.empty() ? "" : "(" + relative + " of the unpruned)"});
  };
  for (const Json& one : results) {
    row(one, "ppl", "ppl_stderr", "%.4f");
    row(one, "nll_per_token", "nll_per_token_stderr", "%.5f");
    row(one, "word_perplexity", "word_perplexity_stderr", "%.4f");
    row(one, "byte_perplexity", "byte_perplexity_stderr", "%.4f");
    row(one, "bits_per_byte", "bits_per_byte_stderr", "%.5f");
  }
  std::fputs(table.text().c_str(), stdout);
}

void print_tasks(const Json& tasks, const Json& relative) {
  TextTable table({{"task", Align::Left},
                   {"metric", Align::Left},
                   {"value"},
                   {"", Align::Left},
                   {"items"},
                   {"shots"},
                   {relative.empty() ? "" : "of the unpruned"}});
  for (const auto& [name, figures] : tasks.items()) {
    if (name == run_key::kLlmPrunerTable) continue;
    const Json fraction = relative.value(name, Json::object());
    const auto row = [&, &task = name, &task_figures = figures](const char* key, bool share) {
      if (!task_figures.contains(key)) return;
      table.add({task, key, number("%.2f", (share ? 100 : 1) * number_at(task_figures, key)),
                 error_of(task_figures, c10::str(key, "_stderr").c_str(), "%.2f", 100),
                 with_commas(task_figures.at("items").get<int64_t>()),
                 std::to_string(task_figures.at("few_shot").get<int64_t>()),
                 relative_of(fraction, key)});
    };
    row("acc", true);
    row("acc_norm", true);
    row("perplexity", false);
  }
  std::fputs(table.text().c_str(), stdout);
}

// One row of values under the tasks' names, in the order of the published table.
void print_llm_pruner_table(const Json& table, const Json& relative) {
  static constexpr std::pair<const char*, const char*> kColumns[] = {
      {"boolq", "BoolQ"},           {"piqa", "PIQA"},      {"hellaswag", "HellaSwag"},
      {"winogrande", "WinoGrande"}, {"arc_easy", "ARC-e"}, {"arc_challenge", "ARC-c"},
      {"openbookqa", "OBQA"},       {"mean", "Average"}};
  std::vector<TextTable::Column> columns{{"LLM-Pruner's table", Align::Left}};
  std::vector<std::string> values{"%"};
  std::vector<std::string> fractions{"of the unpruned"};
  for (const auto& [key, title] : kColumns) {
    columns.push_back({title});
    values.push_back(number("%.2f", 100 * number_at(table, key)));
    fractions.push_back(relative_of(relative, key));
  }
  TextTable text(columns);
  text.add(values);
  if (!relative.empty()) text.add(fractions);
  std::fputs(text.text().c_str(), stdout);
}

void print_divergence(const Json& kl) {
  TextTable table({{"divergence", Align::Left}, {"value"}, {"", Align::Left}, {"", Align::Left}});
  const std::string bound = kl.at("exact").get<bool>()
                                ? ""
                                : c10::str("(top ", kl.at("top_k").dump(), ": a lower bound)");
  table.add({"KL(dense || model), nats a token", number("%.6f", number_at(kl, "kl_per_token")),
             error_of(kl, "kl_per_token_stderr", "%.6f"), bound});
  table.add({"same likeliest token", number("%.2f %%", 100 * number_at(kl, "top1_agreement")),
             error_of(kl, "top1_agreement_stderr", "%.2f %%", 100), ""});
  table.add(
      {"perplexity", number("%.4f", number_at(kl, "ppl")), error_of(kl, "ppl_stderr", "%.4f"), ""});
  table.add({"perplexity of the dense model", number("%.4f", number_at(kl, "dense_ppl")),
             error_of(kl, "dense_ppl_stderr", "%.4f"), ""});
  std::fputs(table.text().c_str(), stdout);
  std::printf("  (%s, %s tokens of %s)\n", word_at(kl, "protocol").c_str(),
              with_commas(kl.at("tokens").get<int64_t>()).c_str(), word_at(kl, "file").c_str());
}

}  // namespace

void print_evaluation(const Json& evaluation) {
  const char* between = "";
  const auto begin_part = [&] {
    std::fputs(between, stdout);
    between = "\n";
  };
  if (!evaluation.at("results").empty()) {
    begin_part();
    print_perplexities(evaluation.at("results"));
  }
  if (evaluation.contains("tasks")) {
    const Json& tasks = evaluation.at("tasks");
    const Json relative = evaluation.value("relative", Json::object());
    begin_part();
    print_tasks(tasks, relative);
    if (tasks.contains(run_key::kLlmPrunerTable)) {
      begin_part();
      print_llm_pruner_table(tasks.at(run_key::kLlmPrunerTable),
                             relative.value(run_key::kLlmPrunerTable, Json::object()));
    }
  }
  if (evaluation.contains("kl")) {
    begin_part();
    print_divergence(evaluation.at("kl"));
  }
}

}  // namespace prunus
