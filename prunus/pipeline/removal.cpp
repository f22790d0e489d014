#include "prunus/pipeline/removal.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/memory.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/calib/mean_loss.h"
#include "prunus/calib/stream.h"
#include "prunus/model/decoder.h"

namespace prunus {
namespace {

using States = std::vector<at::Tensor>;  // of a text, batch by batch, in host memory

ModelConfig without_parts(const Model& model, SubLayer part) {
  ModelConfig config = model.config();
  for (LayerShape& layer : config.layers) layer.drop(part);
  return config;
}

// Units under way at once, beside the whole model's stream.
size_t room_for(const States& base, int64_t ram_bytes) {
  int64_t each = 1;
  for (const at::Tensor& one : base) each += host_bytes(one);
  if (ram_bytes < 0) ram_bytes = static_cast<int64_t>(available_memory_bytes() / 2);
  return static_cast<size_t>(std::max<int64_t>(1, ram_bytes / each - 1));
}

// Layers that the streams of all units pass, and the whole model's.
int64_t steps_of(const Model& model, const std::vector<Removal>& units) {
  int64_t steps = model.layer_count();
  for (const Removal& unit : units) steps += model.layer_count() - unit.layer;
  return steps;
}

class RemovalWalk {
 public:
  RemovalWalk(const Model& model, const std::vector<Removal>& units,
              const std::vector<TokenBatch>& batches, const RemovalOptions& options)
      : model_(model),
        units_(units),
        batches_(batches),
        device_(options.device),
        base_(BlockStream(model, options.device).embed(batches)),
        room_(room_for(base_, options.ram_bytes)),
        progress_("measure: layers passed", steps_of(model, units)) {}

  RemovalLosses run() {
    RemovalLosses losses;
    for (size_t first = 0; first < units_.size();) {
      const size_t end = std::min(units_.size(), first + room_);
      wave(first, end);
      for (const States& one : under_way_) losses.without.push_back(loss(one));
      under_way_.clear();
      first = end;
    }
    if (units_.empty()) wave(0, 0);
    losses.whole = loss(base_);
    return losses;
  }

 private:
  // Takes the units from first to end through to the last layer, and the whole model's stream to
  // where the next unit begins.
  void wave(size_t first, size_t end) {
    const int64_t stop = end < units_.size() ? units_[end].layer : model_.layer_count();
    size_t next = first;
    const auto act = [&](int layer, BlockWeights& weights) {
      for (States& one : under_way_) one = passed(whole_, layer, weights, one);
      for (; next < end && units_[next].layer == layer; ++next) {
        under_way_.push_back(begun(units_[next], weights));
      }
      if (layer < stop) base_ = passed(whole_, layer, weights, base_);
    };
    for_each_layer(model_, device_, {at_, model_.layer_count()}, LayerOrder::FirstToLast, act);
    at_ = stop;
  }

  States begun(const Removal& unit, const BlockWeights& weights) {
    if (!unit.part) {
      progress_.step();
      return base_;
    }
    const bool attention = *unit.part == SubLayer::Attention;
    return passed(attention ? no_attention_ : no_feed_forward_, unit.layer, weights, base_);
  }

  States passed(const Decoder& decoder, int layer, const BlockWeights& weights,
                const States& stream) {
    States output;
    for (const at::Tensor& one : stream) {
      output.push_back(to_host(decoder.block(layer, weights, one.to(device_))));
      check_interrupted();
    }
    progress_.step();
    return output;
  }

  double loss(const States& stream) const {
    check_interrupted();
    return mean_loss(model_, device_, batches_, stream);
  }

  const Model& model_;
  const std::vector<Removal>& units_;
  const std::vector<TokenBatch>& batches_;
  at::Device device_;
  const ModelConfig config_without_attention_ = without_parts(model_, SubLayer::Attention);
  const ModelConfig config_without_feed_forward_ = without_parts(model_, SubLayer::FeedForward);
  const Decoder whole_{model_.config()};
  const Decoder no_attention_{config_without_attention_};
  const Decoder no_feed_forward_{config_without_feed_forward_};
  States base_;
  size_t room_;
  int64_t at_ = 0;  // the layer that the whole model's stream stands in front of
  std::vector<States> under_way_;
  Progress progress_;
};

}  // namespace

RemovalLosses losses_without(const Model& model, const std::vector<Removal>& units,
                             const std::vector<TokenBatch>& batches,
                             const RemovalOptions& options) {
  const at::NoGradGuard no_grad;
  TORCH_INTERNAL_ASSERT(
      std::is_sorted(units.begin(), units.end(),
                     [](const Removal& a, const Removal& b) { return a.layer < b.layer; }));
  return RemovalWalk(model, units, batches, options).run();
}

Scores removal_scores(const Model& model, const std::vector<GroupSet>& sets,
                      const std::vector<TokenBatch>& batches, const RemovalOptions& options) {
  struct Place {
    Removal unit;
    size_t set;
  };
  std::vector<Place> places;
  for (size_t i = 0; i < sets.size(); ++i) {
    const auto part = sub_layer_of(sets[i].label);
    for (int64_t unit = 0; unit < sets[i].units; ++unit) {
      const int64_t layer = part ? layers_with(model, *part)[static_cast<size_t>(unit)] : unit;
      places.push_back({{static_cast<int>(layer), part}, i});
    }
  }
  std::stable_sort(places.begin(), places.end(),
                   [](const Place& a, const Place& b) { return a.unit.layer < b.unit.layer; });
  std::vector<Removal> units;
  for (const Place& place : places) units.push_back(place.unit);
  const RemovalLosses losses = losses_without(model, units, batches, options);
  Scores scores{.sets = {}, .loss = losses.whole};
  for (const GroupSet& set : sets) scores.sets.push_back({.set = set});
  for (size_t i = 0; i < places.size(); ++i) {
    scores.sets[places[i].set].scores.push_back(losses.without[i]);
  }
  return scores;
}

extern const Criterion loss_without{.name = "loss_without",
                                    .source =
                                        "Kim et al., arXiv:2402.02834; Song et al., "
                                        "arXiv:2402.09025",
                                    .needs = {.removals = true}};

}  // namespace prunus
