#include "prunus/pipeline/level_budget.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include <nlohmann/json.hpp>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/eval/latency.h"
#include "prunus/model/positions.h"

namespace prunus {
namespace {

// Parameters or bytes, known from the shapes.
class SizeBudget : public LevelBudget {
 public:
  SizeBudget(const std::vector<PartLevels>& parts, int64_t PartLevel::*size, int64_t capacity)
      : capacity_(capacity) {
    for (const PartLevels& part : parts) {
      weights_.emplace_back();
      for (const PartLevel& level : part.levels) weights_.back().push_back(level.*size);
    }
  }

  int64_t weight(size_t part, size_t level) const override { return weights_[part][level]; }
  int64_t capacity() const override { return capacity_; }
  bool adjust(const std::vector<size_t>&) override { return false; }
  Json json() const override { return nullptr; }

 private:
  std::vector<std::vector<int64_t>> weights_;
  int64_t capacity_;
};

// Time of decoding or of a prompt, measured: of models in which every part of a kind is at one
// level, beside the dense one. What a level saves is the difference shared by those parts.
class LatencyBudget : public LevelBudget {
 public:
  LatencyBudget(const Model& dense, const PruneRecipe& recipe, const std::vector<PartLevels>& parts)
      : dense_(dense),
        recipe_(recipe),
        parts_(parts),
        where_(where_to_hold(dense, recipe.device)),
        probe_(dense, recipe.device, where_) {
    for (const Part kind : kParts) measure(kind);
    double all = 0;
    for (size_t p = 0; p < parts_.size(); ++p) all += saved_of(p).front();
    PRUNUS_CHECK(1 - all <= *recipe.target_latency, InvalidArgument, "--target-latency ",
                 *recipe.target_latency, "x is out of reach: with all of its parts at the least ",
                 "the model takes ", 1 - all, " of the time; raise it, or widen --layers");
    capacity_ = units(all - (1 - *recipe.target_latency));
  }

  int64_t weight(size_t part, size_t level) const override {
    const std::vector<double>& saved = saved_of(part);
    return units(saved.front() - saved[level]);
  }
  int64_t capacity() const override { return capacity_; }

  bool adjust(const std::vector<size_t>& levels) override {
    if (levels == last_) return false;
    last_ = levels;
    measured_ = relative(levels);
    log_info(c10::str("search: ", name(), " takes ", measured_, " of the dense model's time, ",
                      *recipe_.target_latency, " was asked for"));
    if (std::abs(measured_ / *recipe_.target_latency - 1) <= kNearEnough) return false;
    int64_t taken = 0;
    int64_t least = 0;
    for (size_t p = 0; p < levels.size(); ++p) {
      taken += weight(p, levels[p]);
      least += weight(p, 0);
    }
    capacity_ = std::max(least, taken + units(*recipe_.target_latency - measured_));
    return true;
  }

  Json json() const override {
    return {{"of", latency_name(recipe_.latency_of)},
            {"target", *recipe_.target_latency},
            {"measured", measured_}};
  }

 private:
  static constexpr double kNearEnough = 0.015;
  static constexpr int64_t kRounds = 5;
  static constexpr size_t kWidthStride = 3;  // of feed-forward levels; lines between

  static int64_t units(double share) { return std::llround(share * 1e9); }

  static Residence where_to_hold(const Model& dense, at::Device device) {
    Residence where = residence(dense, ResidentDtype::Auto, KvDtype::Auto, device);
    where.packed = false;  // what is cut has no whole blocks
    return where;
  }

  const char* name() const {
    return recipe_.latency_of == LatencyOf::Decode ? "a step of decoding" : "a prompt";
  }

  LatencyRun run(const LatencyProbe& probe) const {
    const int64_t half = longest_sequence(dense_.config()) / 2;
    const bool decode = recipe_.latency_of == LatencyOf::Decode;
    return probe.run({.batch = 1,
                      .prompt_tokens = std::min<int64_t>(half, decode ? 32 : 512),
                      .new_tokens = std::min<int64_t>(half, decode ? 16 : 1)},
                     recipe_.seed);
  }
  double seconds(const LatencyRun& one) const {
    return recipe_.latency_of == LatencyOf::Decode ? one.decode_s : one.prefill_s;
  }

  // Time of the model with these levels over that of the dense one.
  double relative(const std::vector<size_t>& levels) const {
    const Model cut = result_of(dense_, plan_of_levels(dense_, parts_, levels), {});
    const LatencyProbe other(cut, recipe_.device, where_);
    const std::function<LatencyRun()> both[] = {[&] { return run(probe_); },
                                                [&] { return run(other); }};
    const auto runs = interleave(both, 1, kRounds);
    std::vector<double> ratios;
    for (size_t i = 0; i < runs[0].size(); ++i) {
      ratios.push_back(seconds(runs[1][i]) / seconds(runs[0][i]));
    }
    return spread_of(ratios).median;
  }

  // Parts of a kind with as many levels are alike.
  void measure(Part kind) {
    std::vector<size_t> counts;
    for (const PartLevels& part : parts_) {
      if (part.part == kind) counts.push_back(part.levels.size());
    }
    if (counts.empty()) return;
    const size_t most = *std::max_element(counts.begin(), counts.end());
    std::vector<std::optional<double>> saved(most);  // by how far from the whole
    saved[0] = 0.0;
    for (size_t down = 1; down < most; ++down) {
      const bool dropped = down + 1 == most;
      if (kind == Part::FeedForward && down % kWidthStride != 0 && down + 2 < most && !dropped) {
        continue;
      }
      std::vector<size_t> levels;
      int64_t changed = 0;
      for (const PartLevels& part : parts_) {
        const bool goes = part.part == kind && part.levels.size() > down;
        levels.push_back(goes ? part.whole() - down : part.whole());
        changed += goes ? 1 : 0;
      }
      saved[down] = (1 - relative(levels)) / static_cast<double>(changed);
    }
    keep(kind, filled(saved));
  }

  // Lines between what was measured; noise must not make a smaller level slower.
  static std::vector<double> filled(const std::vector<std::optional<double>>& known) {
    std::vector<double> all(known.size());
    size_t before = 0;
    for (size_t i = 1; i < known.size(); ++i) {
      if (!known[i]) continue;
      all[i] = std::max(*known[i], all[before]);
      for (size_t j = before + 1; j < i; ++j) {
        const double at = static_cast<double>(j - before) / static_cast<double>(i - before);
        all[j] = all[before] + at * (all[i] - all[before]);
      }
      before = i;
    }
    return all;
  }

  void keep(Part kind, const std::vector<double>& by_distance) {
    saved_.resize(parts_.size());
    for (size_t p = 0; p < parts_.size(); ++p) {
      if (parts_[p].part != kind) continue;
      for (size_t level = 0; level < parts_[p].levels.size(); ++level) {
        saved_[p].push_back(by_distance[parts_[p].whole() - level]);
      }
    }
  }

  const std::vector<double>& saved_of(size_t part) const { return saved_[part]; }

  const Model& dense_;
  const PruneRecipe& recipe_;
  const std::vector<PartLevels> parts_;
  Residence where_;
  LatencyProbe probe_;
  std::vector<std::vector<double>> saved_;  // [part][level], of the dense model's time
  int64_t capacity_ = 0;
  std::vector<size_t> last_;
  double measured_ = 0;
};

}  // namespace

std::unique_ptr<LevelBudget> level_budget(const Model& model, const PruneRecipe& recipe,
                                          const std::vector<PartLevels>& parts) {
  if (recipe.target_latency) return std::make_unique<LatencyBudget>(model, recipe, parts);
  int64_t PartLevel::*size = recipe.target_bytes ? &PartLevel::bytes : &PartLevel::parameters;
  int64_t whole = 0;
  for (const PartLevels& part : parts) whole += part.levels.back().*size;
  int64_t capacity = static_cast<int64_t>(static_cast<double>(whole) * (1 - recipe.ratio));
  if (recipe.target_params) capacity = *recipe.target_params - (model.parameters() - whole);
  if (recipe.target_bytes) capacity = *recipe.target_bytes - (model.bytes() - whole);
  return std::make_unique<SizeBudget>(parts, size, capacity);
}

}  // namespace prunus
