#include "prunus/export/gguf_forms.h"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "prunus/base/progress.h"
#include "prunus/export/gguf_file.h"
#include "prunus/export/shell.h"

namespace prunus {
namespace {

std::string joined(const std::vector<std::string>& reasons) {
  std::string text;
  for (const std::string& reason : reasons) text += (text.empty() ? "" : "; ") + reason;
  return text;
}

// Of layers that `config` gives a sub-layer of zeros, in words.
std::string zeros_added(const ModelConfig& before, const ModelConfig& config) {
  std::string text;
  for (const auto& [part, name] : {std::pair{SubLayer::Attention, "attention of one head"},
                                   std::pair{SubLayer::FeedForward, "feed-forward part"}}) {
    int64_t count = 0;
    for (size_t i = 0; i < config.layers.size(); ++i) {
      count += config.layers[i].has(part) && !before.layers[i].has(part);
    }
    if (count > 0) text += c10::str(", zeros for the ", name, " of ", count, " layers");
  }
  return text;
}

}  // namespace

GgufChoice gguf_choice_for(const ModelConfig& config, bool by_layer,
                           bool (*accept)(const GgufArchitecture&)) {
  std::vector<GgufChoice> choices = gguf_choices(config, by_layer);
  std::erase_if(choices, [&](const GgufChoice& one) { return !accept(*one.architecture); });
  if (choices.empty())
    return {nullptr, config, false, {"has no such architecture for this family"}};
  const auto legal = std::find_if(choices.begin(), choices.end(),
                                  [](const GgufChoice& one) { return one.legal(); });
  return std::move(legal == choices.end() ? choices.front() : *legal);
}

std::vector<FormAnswer> gguf_answers(const GgufChoice& choice, const ModelConfig& config) {
  FormAnswer answer{.software = "llama.cpp", .yes = choice.legal(), .text = {}};
  if (!answer.yes) {
    const std::string_view name = choice.architecture == nullptr ? "" : choice.architecture->name;
    answer.text = c10::str(name, name.empty() ? "" : ": ", joined(choice.obstacles));
    return {answer};
  }
  const std::vector<std::string> remarks = gguf_remarks(choice.config, *choice.architecture);
  answer.text = c10::str("llama-cli -m OUT (architecture ", choice.architecture->name,
                         zeros_added(config, choice.config), ")", remarks.empty() ? "" : "; ",
                         joined(remarks));
  return {answer};
}

void write_gguf_form(const Model& model, const GgufChoice& choice, const FormJob& job) {
  ModelConfig complete = model.config();
  complete.layers = choice.config.layers;
  const bool same = complete.layers == model.config().layers;
  const GgufReport report = write_gguf(same ? model : padded(model, complete), choice, job);
  for (const std::string& line : remarks(report)) log_info(line);
  if (job.record == nullptr) return;
  *job.record = to_json(report);
  (*job.record)["architecture"] = choice.architecture->name;
}

}  // namespace prunus
