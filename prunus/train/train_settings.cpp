#include "prunus/train/train_settings.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace prunus {
namespace {

Json settings_json(const TrainerOptions& options) {
  const ScheduleOptions& schedule = options.schedule;
  return {{"max_steps", options.max_steps},
          {"schedule", schedule_name(schedule.kind)},
          {"lr", schedule.lr},
          {"warmup_steps", schedule.warmup_steps},
          {"final_fraction", schedule.final_fraction},
          {"decay_fraction", schedule.decay_fraction},
          {"clip", options.clip},
          {"valid_every", options.valid_every},
          {"patience", options.patience}};
}

}  // namespace

std::map<std::string, std::string> changeable_settings(const TrainerOptions& options) {
  std::map<std::string, std::string> settings;
  const Json json = settings_json(options);
  for (const auto& [name, value] : json.items()) settings[name] = value.dump();
  return settings;
}

std::vector<OptionChange> changed_settings(const std::map<std::string, std::string>& before,
                                           const std::map<std::string, std::string>& now,
                                           int64_t step) {
  std::vector<OptionChange> changes;
  for (const auto& [name, value] : now) {
    const auto earlier = before.find(name);
    if (earlier == before.end() || earlier->second == value) continue;
    changes.push_back({step, name, earlier->second, value});
  }
  return changes;
}

void add_changes(std::vector<OptionChange>& all, const std::vector<OptionChange>& more) {
  for (const OptionChange& one : more) {
    const auto same = std::find_if(all.begin(), all.end(), [&](const OptionChange& other) {
      return other.step == one.step && other.option == one.option;
    });
    if (same == all.end()) {
      all.push_back(one);
    } else if (same->before == one.after) {
      all.erase(same);
    } else {
      same->after = one.after;
    }
  }
}

std::string to_text(const std::vector<OptionChange>& changes) {
  std::string text;
  for (const OptionChange& one : changes) {
    text += text.empty() ? "" : ", ";
    text += one.option + " " + one.before + " -> " + one.after;
  }
  return text;
}

Json to_json(const std::vector<OptionChange>& changes) {
  Json json = Json::array();
  for (const OptionChange& one : changes) {
    if (json.empty() || json.back().at("step") != one.step) json.push_back({{"step", one.step}});
    json.back()[one.option] =
        Json::array({Json::parse(one.before, nullptr, /*allow_exceptions=*/false),
                     Json::parse(one.after, nullptr, /*allow_exceptions=*/false)});
  }
  return json;
}

}  // namespace prunus
