#include "prunus/cli/bench_text.h"

#include <utility>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/cli/text_table.h"

namespace prunus {
namespace {

using Align = TextTable::Align;

std::string whole(const Json& json, const char* key) {
  return with_commas(json.at(key).get<int64_t>());
}

// "12.3 (11.9 to 12.8)"
std::string spread(const Json& json, int decimals, const char* unit = "") {
  return c10::str(fixed(number_at(json, "median"), decimals), unit, " (",
                  fixed(number_at(json, "min"), decimals), " to ",
                  fixed(number_at(json, "max"), decimals), ")");
}

std::string sizes_text(const Json& models) {
  TextTable table({{"model", Align::Left},
                   {"parameters"},
                   {"file"},
                   {"in memory"},
                   {"as"},
                   {"MACs, 64 tokens"}});
  for (const Json& model : models) {
    table.add({word_at(model, "model"), whole(model, "parameters"),
               decimal_bytes(number_at(model, "bytes")),
               decimal_bytes(number_at(model, "resident_bytes")), word_at(model, "resident_dtype"),
               decimal_count(number_at(model, "macs_64_tokens"))});
  }
  return table.text();
}

std::string speeds_text(const Json& model) {
  TextTable table({{"batch"},
                   {"prompt"},
                   {"new"},
                   {"KV cache"},
                   {"prefill tokens/s"},
                   {"first token ms"},
                   {"decode tokens/s"}});
  for (const Json& one : model.at("cases")) {
    table.add({whole(one, "batch"), whole(one, "prompt_tokens"), whole(one, "new_tokens"),
               decimal_bytes(number_at(one, "kv_bytes")),
               spread(one.at("prefill_tokens_per_second"), 1), spread(one.at("first_token_ms"), 2),
               spread(one.at("decode_tokens_per_second"), 1)});
  }
  return word_at(model, "model") + ": median (min to max)\n" + table.text();
}

constexpr std::pair<const char*, const char*> kParts[] = {
    {"attention projections", "projections_ms"},
    {"attention itself", "attention_ms"},
    {"feed-forward", "ffn_ms"},
    {"head", "head_ms"},
    {"norms and the rest", "rest_ms"},
    {"whole", "whole_ms"}};

// A row per kind of operation; of two models, how much faster the second is at it.
std::string parts_text(const Json& models, size_t place) {
  const bool two = models.size() == 2;
  const Json& setting = models[0].at("cases")[place];
  std::vector<TextTable::Column> columns = {{"", Align::Left}};
  for (const char* stage : {"prefill", "decode step"}) {
    columns.push_back({c10::str(stage, " ms")});
    if (two) columns.insert(columns.end(), {{"other ms"}, {"ratio"}});
  }
  TextTable table(columns);
  for (const auto& [name, key] : kParts) {
    std::vector<std::string> cells = {name};
    for (const char* stage : {"prefill", "decode_step"}) {
      std::vector<double> times;
      for (const Json& model : models) {
        times.push_back(number_at(model.at("cases")[place].at("breakdown").at(stage), key));
        cells.push_back(fixed(times.back(), 3));
      }
      if (two) cells.push_back(fixed(times[0] / times[1], 2) + "x");
    }
    table.add(cells);
  }
  return c10::str("Where the time goes, batch ", whole(setting, "batch"), ", prompt ",
                  whole(setting, "prompt_tokens"), " (a run of its own)\n", table.text());
}

std::string ratios_text(const Json& ratios) {
  TextTable table({{"batch"},
                   {"prompt"},
                   {"prefill"},
                   {"ideal (MACs)"},
                   {"decode"},
                   {"ideal (bytes)"},
                   {"ideal (MACs)"}});
  for (const Json& one : ratios) {
    const Json& prefill = one.at("prefill");
    const Json& decode = one.at("decode");
    table.add({whole(one, "batch"), whole(one, "prompt_tokens"), spread(prefill, 2, "x"),
               fixed(number_at(prefill, "ideal_macs"), 2) + "x", spread(decode, 2, "x"),
               fixed(number_at(decode, "ideal_bytes"), 2) + "x",
               fixed(number_at(decode, "ideal_macs"), 2) + "x"});
  }
  return "Speed of the second model over the first, of runs in turn: median (min to max)\n" +
         table.text();
}

}  // namespace

std::string bench_text(const Json& report) {
  const Json& models = report.at("models");
  std::string text = c10::str(word_at(report, "device"), ", ", whole(report, "threads"),
                              " threads, greedy decoding of random prompts, ",
                              whole(report.at("options"), "repeat"), " runs\n\n");
  text += sizes_text(models) + '\n';
  for (const Json& model : models) text += speeds_text(model) + '\n';
  for (size_t i = 0; i < models[0].at("cases").size(); ++i) text += parts_text(models, i) + '\n';
  if (report.contains("ratios")) text += ratios_text(report.at("ratios")) + '\n';
  text += "peak memory " + decimal_bytes(number_at(report, "peak_memory_bytes"));
  if (report.contains("peak_device_bytes")) {
    text += ", on the device " + decimal_bytes(number_at(report, "peak_device_bytes"));
  }
  return text + (models.size() == 2 ? ", both models\n" : "\n");
}

}  // namespace prunus
