#include "prunus/pipeline/score.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/expert_output_collector.h"
#include "prunus/calib/gradient_collector.h"
#include "prunus/model/head.h"

namespace prunus {
namespace {

// Large matrices that are cut by column only are scored so much at a time.
constexpr int64_t kBlockBytes = int64_t{64} << 20;

// A weight's part in a set.
struct Part {
  size_t set = 0;
  size_t member = 0;
};

// A bias goes with its row: as one more column. What is undefined stays so.
WeightStats with_bias_column(const WeightStats& stats) {
  WeightStats joined = stats;
  const auto join = [](at::Tensor& matrix, const at::Tensor& column) {
    if (matrix.defined()) matrix = at::cat({matrix, column.unsqueeze(1)}, 1);
  };
  join(joined.weight, stats.bias);
  join(joined.gradient, stats.bias_gradient);
  join(joined.squared_gradient, stats.squared_bias_gradient);
  return joined;
}

class Scorer {
 public:
  Scorer(const std::vector<GroupSet>& sets, const Criterion& criterion, const ScoreOptions& options)
      : sets_(sets), criterion_(criterion), options_(options), random_(options.seed) {
    for (size_t i = 0; i < sets.size(); ++i) {
      folded_.emplace_back(sets[i].members.size());
      for (const size_t member : scored(sets[i])) {
        const TensorInfo& tensor = sets[i].members[member].tensor;
        parts_[{tensor.layer, tensor.spec->role}].push_back({i, member});
      }
    }
  }

  bool wants(int layer, Role role) const { return parts_.contains({layer, role}); }

  // `stats` of a whole weight, or of some of its rows where only columns are cut.
  void add(int layer, Role role, const WeightStats& stats) {
    for (const Part& part : parts_.at({layer, role})) {
      const GroupSet& set = sets_[part.set];
      const GroupMember& member = set.members[part.member];
      const int64_t slices = member.tensor.shape[static_cast<size_t>(member.dim)];
      const bool biased = member.dim == 0 && stats.bias.defined();
      const at::Tensor scores =
          criterion_.score({biased ? with_bias_column(stats) : stats, member.dim, slices, random_});
      const at::Tensor units = fold(scores, set, member, options_.compat);
      at::Tensor& total = folded_[part.set][part.member];
      total = total.defined() ? total + units : units;
    }
  }

  // For criteria that look at the weights alone: one matrix, or a block of its rows, at a time.
  void add_weights(const Model& model) {
    Progress progress("score: weights", static_cast<int64_t>(parts_.size()));
    for (const auto& [key, parts] : parts_) {
      const GroupMember& member = sets_[parts[0].set].members[parts[0].member];
      add_weight(model, member.tensor, parts);
      model.source().release(member.tensor);
      progress.step();
    }
  }

  std::vector<ScoredSet> result() {
    std::vector<ScoredSet> results;
    for (size_t i = 0; i < sets_.size(); ++i) {
      const at::Tensor scores =
          criterion_.needs == Needs::Nothing ? drawn(sets_[i]) : reduced(i).contiguous();
      const double* data = scores.const_data_ptr<double>();
      results.push_back({sets_[i], std::vector<double>(data, data + scores.numel())});
      results.back().logarithmic =
          criterion_.needs != Needs::Nothing && options_.reduction == Reduction::Prod;
    }
    return results;
  }

  // What was gathered from the weights of one layer (−1: outside the layers): pairs of set and
  // member, then their tensors.
  std::vector<at::Tensor> gathered(int layer) const {
    std::vector<int64_t> places;
    std::vector<at::Tensor> tensors;
    for (const auto& [key, parts] : parts_) {
      for (const Part& part : parts) {
        const at::Tensor& one = folded_[part.set][part.member];
        if (key.first != layer || !one.defined()) continue;
        places.push_back(static_cast<int64_t>(part.set));
        places.push_back(static_cast<int64_t>(part.member));
        tensors.push_back(one);
      }
    }
    tensors.insert(tensors.begin(), at::tensor(places, at::kLong));
    return tensors;
  }

  void take_over(const std::vector<at::Tensor>& recorded) {
    const at::Tensor& places = recorded.at(0);
    for (size_t i = 1; i < recorded.size(); ++i) {
      const auto at = static_cast<int64_t>(2 * (i - 1));
      const auto set = static_cast<size_t>(places[at].item<int64_t>());
      const auto member = static_cast<size_t>(places[at + 1].item<int64_t>());
      folded_.at(set).at(member) = recorded[i];
    }
  }

 private:
  std::vector<size_t> scored(const GroupSet& set) const {
    std::vector<size_t> members = scored_members(set, options_.compat);
    // What is known of an expert as a whole is said once, at its row of the router.
    if (criterion_.needs == Needs::ExpertOutput) {
      std::erase_if(members, [&](size_t member) {
        return set.members[member].tensor.spec->role != Role::Router;
      });
      PRUNUS_CHECK(set.label == AxisLabel::Expert && !members.empty(), InvalidArgument,
                   "criterion ", criterion_.name, " scores whole experts, not ", set.name(),
                   "; cut the axis 'expert' (--structure expert)");
      return members;
    }
    // The reference's magnitudes of the embedding have the wrong length, and its aligner drops
    // them.
    // Calibration does not show the gradients of what the embedding adds.
    if (needs_calibration(criterion_.needs)) {
      std::erase_if(members, [&](size_t member) {
        const Role role = set.members[member].tensor.spec->role;
        return role == Role::EmbedPositions || role == Role::EmbedNorm;
      });
    }
    const bool drops = options_.compat == Compat::LlmPruner && criterion_.needs == Needs::Weights &&
                       set.label == AxisLabel::Hidden;
    if (drops) {
      std::erase_if(members, [&](size_t member) {
        return set.members[member].tensor.spec->role == Role::EmbedTokens;
      });
    }
    return members;
  }

  void add_weight(const Model& model, const TensorInfo& tensor, const std::vector<Part>& parts) {
    WeightStats stats;
    const bool columns_only = std::all_of(parts.begin(), parts.end(), [&](const Part& part) {
      return sets_[part.set].members[part.member].dim == 1;
    });
    if (!columns_only) {
      const at::Tensor weight = model.load(tensor, options_.device);
      stats.weight = weight.dim() == 1 ? weight.unsqueeze(1) : weight;
      add(tensor.layer, tensor.spec->role, stats);
      return;
    }
    const int64_t step = std::max<int64_t>(1, kBlockBytes / 4 / tensor.shape[1]);
    for (int64_t begin = 0; begin < tensor.shape[0]; begin += step) {
      const int64_t count = std::min(step, tensor.shape[0] - begin);
      stats.weight =
          model.source().read_rows(tensor, begin, count).to(options_.device).to(model.precision());
      check_finite(stats.weight, tensor.name);
      add(tensor.layer, tensor.spec->role, stats);
    }
  }

  at::Tensor reduced(size_t set) const {
    std::vector<at::Tensor> folded;
    for (const size_t member : scored(sets_[set])) folded.push_back(folded_[set][member]);
    return reduce(folded, options_.reduction);
  }

  // One draw per unit; the reference draws one per channel and adds them up.
  at::Tensor drawn(const GroupSet& set) {
    const int64_t width = options_.compat == Compat::LlmPruner ? set.width() : 1;
    return criterion_.score({{}, 0, set.units * width, random_})
        .to(at::kCPU, at::kDouble)
        .view({set.units, width})
        .sum(1);
  }

  const std::vector<GroupSet>& sets_;
  const Criterion& criterion_;
  const ScoreOptions& options_;
  PythonRandom random_;
  std::vector<std::vector<at::Tensor>> folded_;  // [set][member]
  std::map<std::pair<int, Role>, std::vector<Part>> parts_;
};

// Scores as the backward pass goes, and leaves them in the store layer by layer.
class ScoringCollector : public GradientCollector {
 public:
  ScoringCollector(Scorer& scorer, Needs needs, Biases biases, int layers, StreamStore& store)
      : GradientCollector(
            needs, [&scorer](int layer, Role role) { return scorer.wants(layer, role); },
            [&scorer](const LinearSite& site, const WeightStats& stats) {
              scorer.add(site.layer, site.role, stats);
            },
            biases),
        scorer_(scorer),
        layers_(layers),
        store_(store) {}

  void on_layer_done(int layer) override {
    store_.record(c10::str("scores-", layer), scorer_.gathered(layer == layers_ ? -1 : layer));
  }
  void on_resume(int layer) override {
    for (int one = layers_; one >= layer; --one) {
      scorer_.take_over(store_.get(c10::str("scores-", one), at::kCPU));
    }
  }

 private:
  Scorer& scorer_;
  int layers_;
  StreamStore& store_;
};

// Mean next-token loss, in nats, of the last layer's hidden states.
double mean_loss(const Model& model, at::Device device, const std::vector<TokenBatch>& batches,
                 const std::vector<at::Tensor>& hidden) {
  const Head head(model, device);
  double sum = 0;
  int64_t predicted = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    const int64_t last = batches[i].ids.size(1) - 1;
    const at::Tensor targets = batches[i].ids.narrow(1, 1, last).to(device).flatten();
    const at::Tensor states = hidden[i].to(device).narrow(1, 0, last).flatten(0, 1);
    const at::Tensor nll = head.token_nll(states, targets);
    sum += nll.sum(at::kDouble).item<double>();
    predicted += targets.size(0);
  }
  const double loss = sum / static_cast<double>(predicted);
  PRUNUS_CHECK(std::isfinite(loss), Numeric, "the calibration loss is ", loss,
               "; the model overflows on this text, or its weights are damaged");
  return loss;
}

// Shows the scorer what the experts put out, and returns the loss.
double forward_pass(Scorer& scorer, const Model& model, const std::vector<TokenBatch>& batches,
                    at::Device device) {
  ExpertOutputCollector collector(model.config(), [&](int layer, const WeightStats& stats) {
    if (scorer.wants(layer, Role::Router)) scorer.add(layer, Role::Router, stats);
  });
  const BlockStream stream(model, device);
  std::vector<at::Tensor> hidden = stream.embed(batches);
  stream.forward(hidden, &collector);
  return mean_loss(model, device, batches, hidden);
}

}  // namespace

Scores score_groups(const Model& model, const std::vector<GroupSet>& sets,
                    const Criterion& criterion, const std::vector<TokenBatch>& batches,
                    LayerRange range, const ScoreOptions& options) {
  const at::NoGradGuard no_grad;
  Scorer scorer(sets, criterion, options);
  Scores scores;
  if (criterion.needs == Needs::Weights) scorer.add_weights(model);
  PRUNUS_CHECK(!needs_calibration(criterion.needs) || !batches.empty(), InvalidArgument,
               "criterion ", criterion.name, " needs calibration text; pass --calib FILE");
  if (criterion.needs == Needs::ExpertOutput) {
    scores.loss = forward_pass(scorer, model, batches, options.device);
  } else if (needs_calibration(criterion.needs)) {
    StreamStore in_ram(StreamStore::in_ram());
    StreamStore& store = options.store != nullptr ? *options.store : in_ram;
    const Biases biases = options.compat == Compat::LlmPruner ? Biases::Ignored : Biases::Counted;
    ScoringCollector collector(scorer, criterion.needs, biases,
                               static_cast<int>(model.layer_count()), store);
    scores.loss = BlockStream(model, options.device).backward(batches, range, collector, store);
  }
  scores.sets = scorer.result();
  return scores;
}

}  // namespace prunus
