#include "prunus/cli/inspect_text.h"

#include <map>

#include <ATen/ATen.h>

#include <nlohmann/json.hpp>

#include "prunus/base/quantity.h"
#include "prunus/cli/text_table.h"

namespace prunus {
namespace {

using Align = TextTable::Align;

int64_t integer(const Json& json, const char* key) { return json.at(key).get<int64_t>(); }
std::string commas(const Json& json, const char* key) { return with_commas(integer(json, key)); }
std::string bytes(const Json& json, const char* key) { return decimal_bytes(number_at(json, key)); }

/// Consecutive layers whose entries differ in nothing but the layer.
struct Run {
  int64_t first;
  int64_t last;
  Json entry;

  int64_t count() const { return last - first + 1; }
  std::string layers() const {
    return first == last ? std::to_string(first) : c10::str(first, "-", last);
  }
};

// `entries` are in the order of their layers.
std::vector<Run> fold(const std::vector<Json>& entries, bool every_layer) {
  std::vector<Run> runs;
  for (Json entry : entries) {
    const int64_t layer = integer(entry, "layer");
    entry.erase("layer");
    entry.erase("name");
    const bool same = !runs.empty() && runs.back().last + 1 == layer && runs.back().entry == entry;
    if (same && !every_layer) {
      runs.back().last = layer;
    } else {
      runs.push_back({layer, layer, std::move(entry)});
    }
  }
  return runs;
}

std::string origin(const Json& report) {
  const std::string source = word_at(report, "dtype_source");
  if (source == "weights") return "in " + word_at(report, "dtype") + ", as stored";
  if (source == "gguf") return "as they are read; in the file " + word_at(report, "dtype");
  if (source == "config.json") {
    return "in " + word_at(report, "dtype") + ", as config.json says; no weights looked at";
  }
  return "at 16 bit, assumed: no weights looked at, and config.json names no dtype";
}

std::string head_text(const Json& report) {
  const Json& config = report.at("config");
  const bool tied = config.at("tie_word_embeddings").get<bool>();
  TextTable table({{"", Align::Left}, {"", Align::Left}});
  table.add({"family", word_at(report, "family") + " (" + word_at(report, "architecture") + ")"});
  table.add({"shape",
             c10::str(integer(config, "num_hidden_layers"), " layers, hidden ",
                      commas(config, "hidden_size"), ", head_dim ", commas(config, "head_dim"))});
  table.add({"vocabulary", c10::str(commas(config, "vocab_size"), ", head ",
                                    tied ? "tied to the embedding" : "of its own")});
  table.add({"context", commas(config, "max_position_embeddings") + " tokens"});
  table.add({"parameters", c10::str(commas(report, "parameters"), " (",
                                    human_count(integer(report, "parameters")), ")")});
  table.add({"size", bytes(report, "bytes") + " " + origin(report)});
  return word_at(report, "model") + "\n" + table.text();
}

std::string parts_text(const Json& report) {
  TextTable table({{"role", Align::Left}, {"parameters"}, {"share"}, {"bytes"}});
  for (const Json& part : report.at("parts")) {
    const bool tied = integer(part, "parameters") == 0;
    table.add({word_at(part, "part"), tied ? "tied" : commas(part, "parameters"),
               tied ? "" : percent(number_at(part, "share")), tied ? "" : bytes(part, "bytes")});
  }
  table.add({"total", commas(report, "parameters"), percent(1), bytes(report, "bytes")});
  return "Parameters by role\n" + table.text();
}

std::string layers_text(const Json& report, bool every_layer) {
  TextTable table({{"layers", Align::Left},
                   {"heads"},
                   {"KV heads"},
                   {"FFN width"},
                   {"window"},
                   {"parameters"},
                   {"bytes"}});
  const auto layers = report.at("layers").get<std::vector<Json>>();
  for (const Run& run : fold(layers, every_layer)) {
    const Json& window = run.entry.at("sliding_window");
    table.add({run.layers(), commas(run.entry, "num_attention_heads"),
               commas(run.entry, "num_key_value_heads"), commas(run.entry, "intermediate_size"),
               window.is_null() ? "none" : with_commas(window.get<int64_t>()),
               commas(run.entry, "parameters"), bytes(run.entry, "bytes")});
  }
  return "Layers (sizes of one layer)\n" + table.text();
}

const char* unit_text(const std::string& axis) {
  if (axis == "kv_group") return "a KV head with its query heads";
  if (axis == "ffn") return "a feed-forward channel";
  if (axis == "query_head") return "a query head";
  if (axis == "rope_pair") return "a rotated pair, all heads";
  if (axis == "value_dim") return "a channel of a value head";
  if (axis == "hidden") return "a residual-stream channel";
  if (axis == "vocab") return "a token";
  return "";
}

// One row per axis and run of layers; a set of the whole model has no layer.
std::string groups_text(const Json& report, bool every_layer) {
  TextTable table({{"group", Align::Left},
                   {"layers", Align::Left},
                   {"sets"},
                   {"units"},
                   {"parameters"},
                   {"bytes"},
                   {"share"},
                   {"a unit is", Align::Left}});
  const auto add = [&](const Json& set, const std::string& layers, int64_t count) {
    const std::string axis = word_at(set, "axis");
    table.add({axis, layers, std::to_string(count), commas(set, "units"),
               commas(set, "parameters_per_unit"), bytes(set, "bytes_per_unit"),
               percent(number_at(set, "share") * static_cast<double>(count)), unit_text(axis)});
  };
  std::vector<std::string> axes;
  std::map<std::string, std::vector<Json>> sets;
  for (const Json& set : report.at("groups")) {
    const std::string axis = word_at(set, "axis");
    if (!sets.contains(axis)) axes.push_back(axis);
    sets[axis].push_back(set);
  }
  for (const std::string& axis : axes) {
    if (sets[axis][0].at("layer").is_null()) {
      for (const Json& set : sets[axis]) add(set, "model", 1);
      continue;
    }
    for (const Run& run : fold(sets[axis], every_layer)) add(run.entry, run.layers(), run.count());
  }
  return "Groups: what leaves the model together\n" + table.text() +
         "  units: in each set; parameters, bytes: freed with one unit; share: all units of all\n"
         "  sets in the row, of the whole model. A weight may lie in several groups (a matrix has\n"
         "  two axes), so the shares add up to more than 100 %.\n";
}

std::string macs_text(const Json& report) {
  const Json& macs = report.at("macs");
  const Json& exact = macs.at("exact");
  TextTable table({{"", Align::Left}, {"total"}, {"q, k, v, o"}, {"attention"}, {"FFN"}, {"head"}});
  std::vector<std::string> cells{"exact"};
  for (const char* key : {"total", "projections", "attention", "ffn", "head"}) {
    cells.push_back(decimal_count(number_at(exact, key)));
  }
  table.add(cells);
  table.add({"LLM-Pruner's", decimal_count(number_at(macs, "llm_pruner")), "", "", "", ""});
  return c10::str("Multiply-accumulates of one forward pass of ", integer(macs, "tokens"),
                  " tokens (G = 10^9)\n", table.text(),
                  "  exact: matrix products; attention over the keys that each query sees.\n"
                  "  LLM-Pruner's, to compare with its tables: also norms, activation and rotary\n"
                  "  embedding; no causality; a KV head for every query head.\n");
}

std::string weights_text(const Json& report) {
  TextTable table({{"", Align::Left}, {""}, {"", Align::Left}});
  for (const Json& one : report.at("memory").at("weights")) {
    const int64_t bits = integer(one, "bits");
    table.add({word_at(one, "format"), bytes(one, "bytes"),
               bits < 8 ? "without scales and zero points" : ""});
  }
  return "Memory: weights = parameters x bits / 8 (GB = 10^9 bytes)\n" + table.text();
}

std::string kv_cache_text(const Json& report) {
  const int64_t context = integer(report.at("config"), "max_position_embeddings");
  TextTable table({{"tokens"}, {"FP16"}, {"FP8"}, {"", Align::Left}});
  for (const Json& one : report.at("memory").at("kv_cache")) {
    const bool beyond = integer(one, "tokens") > context;
    table.add({commas(one, "tokens"), binary_bytes(number_at(one, "fp16_bytes")),
               binary_bytes(number_at(one, "fp8_bytes")), beyond ? "beyond the context" : ""});
  }
  std::string text =
      "Memory: KV cache of one sequence (GiB = 2^30 bytes)\n"
      "  = sum over layers of 2 x KV heads x head_dim x tokens x bytes per element\n" +
      table.text();
  for (const Json& layer : report.at("layers")) {
    if (layer.at("sliding_window").is_null()) continue;
    return text + "  A layer with a window holds that many tokens at most.\n";
  }
  return text;
}

std::string fine_tuning_text(const Json& report) {
  const Json& tuning = report.at("memory").at("fine_tuning");
  TextTable table({{"", Align::Left}, {""}, {"", Align::Left}});
  table.add({"full, BF16", bytes(tuning, "full_bf16_bytes"),
             "8 bytes a parameter: weight 2, gradient 2, two Adam states 4"});
  table.add({"full, mixed", bytes(tuning, "full_mixed_bytes"),
             "16 bytes a parameter: weight 2, gradient 2, FP32 master 4, FP32 Adam 8"});
  table.add({"LoRA", bytes(tuning, "lora_bytes"),
             "2 bytes a frozen parameter, 16 an adapter parameter (FP32, Adam)"});
  table.add({"QLoRA", bytes(tuning, "qlora_bytes"),
             "layers' matrices at 4.127 bits (NF4), the rest at 16; adapters as LoRA"});
  return c10::str("Memory: fine-tuning without activations (GB = 10^9 bytes)\n", table.text(),
                  "  Weights, gradients and optimiser states only; activations come on top.\n"
                  "  Adapters: rank ",
                  integer(tuning, "lora_rank"),
                  " on q, k, v, o, gate, up, down: ", commas(tuning, "lora_parameters"),
                  " parameters.\n");
}

}  // namespace

std::string inspect_text(const Json& report, bool every_layer) {
  std::string text = head_text(report);
  for (const std::string& section :
       {parts_text(report), layers_text(report, every_layer), groups_text(report, every_layer),
        macs_text(report), weights_text(report), kv_cache_text(report), fine_tuning_text(report)}) {
    text += '\n' + section;
  }
  return text;
}

}  // namespace prunus
