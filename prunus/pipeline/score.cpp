#include "prunus/pipeline/score.h"

#include <algorithm>
#include <map>
#include <set>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/gradient_collector.h"
#include "prunus/calib/mean_loss.h"
#include "prunus/model/mixture.h"
#include "prunus/pipeline/layer_runs.h"
#include "prunus/pipeline/removal.h"

namespace prunus {
namespace {

// Large matrices that are cut by column only are scored so much at a time.
constexpr int64_t kBlockBytes = int64_t{64} << 20;

// A weight's part in a set.
struct MemberPlace {
  size_t set = 0;
  size_t member = 0;
};

// A bias goes with its row: as one more column of the weight and of the sums that have one.
WeightStats with_bias_column(const WeightStats& stats) {
  WeightStats joined = stats;
  const auto join = [](at::Tensor& matrix, const at::Tensor& column) {
    matrix = at::cat({matrix, column.unsqueeze(1)}, 1);
  };
  join(joined.weight, stats.bias);
  for (auto& [statistic, sums] : joined.sums) {
    for (size_t i = 0; i < sums.bias_sums.size(); ++i) join(sums.sums[i], sums.bias_sums[i]);
  }
  return joined;
}

// The slices' scores by the criterion's own function, or from its elements.
at::Tensor slice_scores(const Criterion& criterion, const SliceRequest& request) {
  if (criterion.slice != nullptr) return criterion.slice(request);
  return criterion.element(request.stats).sum(1 - request.dim);
}

// Column numbers of the units of a member that is cut by columns, [units, columns of a unit].
at::Tensor columns_of(const GroupSet& set, const GroupMember& member, int64_t columns) {
  return at::arange(columns, at::kLong)
      .view({set.shares, member.outer, set.units_per_share(), member.inner})
      .transpose(1, 2)
      .reshape({set.units, member.outer * member.inner});
}

// Of a weight that joins a mixture's experts, each scored by what entered it.
at::Tensor slice_scores(const Criterion& criterion, const SliceRequest& request,
                        const std::vector<ExpertPart>& experts) {
  if (experts.empty()) return slice_scores(criterion, request);
  std::vector<at::Tensor> scores;
  const bool apart = experts[0].dim == request.dim;  // else slices go through all experts
  const int64_t slices = request.slices / (apart ? static_cast<int64_t>(experts.size()) : 1);
  for (const ExpertPart& expert : experts) {
    const WeightStats stats = request.stats.of_expert(expert);
    scores.push_back(slice_scores(criterion, {stats, request.dim, slices, request.random}));
  }
  return apart ? at::cat(scores) : at::stack(scores).sum(0);
}

bool is_norm(Role role) {
  return role == Role::AttnNorm || role == Role::QNorm || role == Role::KNorm ||
         role == Role::PostAttnNorm || role == Role::MlpNorm || role == Role::PostMlpNorm;
}

void accumulate(at::Tensor& total, const at::Tensor& part) {
  total = total.defined() ? total + part : part;
}

// Of the matrices of a part that read the same input, in table order. The router of a mixture is
// the one that reads it of every token.
void drop_readers_behind_the_first(const GroupSet& set, std::vector<size_t>& members) {
  std::set<std::pair<int, SubLayer>> seen;
  std::erase_if(members, [&](size_t i) {
    const TensorInfo& tensor = set.members[i].tensor;
    return !seen.emplace(tensor.layer, *sub_layer_of(tensor.spec->role)).second;
  });
}

class Scorer {
 public:
  Scorer(const std::vector<GroupSet>& sets, const Criterion& criterion, const ScoreOptions& options)
      : sets_(sets), criterion_(criterion), options_(options), random_(options.seed) {
    for (size_t i = 0; i < sets.size(); ++i) {
      folded_.emplace_back(sets[i].members.size());
      slices_.emplace_back(sets[i].members.size());
      layers_.emplace_back(sets[i].label == AxisLabel::Layer ? sets[i].units : 0);
      for (const size_t member : scored(sets[i])) {
        const TensorInfo& tensor = sets[i].members[member].tensor;
        parts_[{tensor.layer, tensor.spec->role}].push_back({i, member});
      }
    }
  }

  bool wants(int layer, Role role) const {
    if (adds_up_layers()) return layer >= 0 && !is_norm(role);
    return parts_.contains({layer, role});
  }

  // `stats` of a whole weight, or of some of its rows where only columns are cut. `experts`: whose
  // parts of it are scored one by one.
  void add(int layer, Role role, const WeightStats& stats,
           const std::vector<ExpertPart>& experts = {}) {
    if (adds_up_layers()) {
      layers_[0][static_cast<size_t>(layer)] += criterion_.layer_matrix(stats);
      return;
    }
    for (const MemberPlace& part : parts_.at({layer, role})) {
      const GroupSet& set = sets_[part.set];
      const GroupMember& member = set.members[part.member];
      const int64_t slices = member.tensor.shape[static_cast<size_t>(member.dim)];
      if (criterion_.unit != nullptr) {
        accumulate(folded_[part.set][part.member], unit_scores(stats, part.set, member, experts));
        continue;
      }
      const bool biased = member.dim == 0 && stats.bias.defined();
      const at::Tensor scores = slice_scores(
          criterion_, {biased ? with_bias_column(stats) : stats, member.dim, slices, random_},
          experts);
      accumulate(folded_[part.set][part.member], options_.conventions->fold(scores, set, member));
      if (options_.deviations) {
        accumulate(slices_[part.set][part.member], scores.to(at::kCPU, at::kDouble));
      }
    }
  }

  bool adds_up_layers() const { return wants_layers() && criterion_.layer_matrix != nullptr; }
  bool wants_layers() const { return !sets_.empty() && sets_[0].label == AxisLabel::Layer; }

  // Of a layer under way, everything that the forward pass gathered.
  void add_layer(const ModelConfig& config, int layer, const BlockWeights& weights,
                 const LayerStatistics& statistics) {
    for (size_t i = 0; i < sets_.size(); ++i) {
      if (sets_[i].label != AxisLabel::Layer) continue;
      layers_[i][static_cast<size_t>(layer)] = criterion_.layer(statistics);
    }
    for (auto at = parts_.lower_bound({layer, Role::EmbedTokens});
         at != parts_.end() && at->first.first == layer; ++at) {
      const Role role = at->first.second;
      WeightStats known;
      known.weight = weights[role];
      known.role = role;
      known.layer = &statistics;
      add(layer, role, known, experts_of(config, layer, role, known.weight));
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
      results.push_back({.set = sets_[i], .scores = scores_of(i)});
      const bool reduces = sets_[i].label != AxisLabel::Layer && needs_anything();
      results.back().logarithmic = reduces && options_.reduction == Reduction::Prod;
      results.back().deviation = deviation(i);
    }
    return results;
  }

  // What was gathered from the weights of one layer (−1: outside the layers): triples of set,
  // member and kind (0: folded, 1: slices, 2: the layer itself), then their tensors.
  std::vector<at::Tensor> gathered(int layer) const {
    std::vector<int64_t> places;
    std::vector<at::Tensor> tensors;
    const auto keep = [&](size_t set, size_t member, int64_t kind, const at::Tensor& one) {
      if (!one.defined()) return;
      places.insert(places.end(), {static_cast<int64_t>(set), static_cast<int64_t>(member), kind});
      tensors.push_back(one);
    };
    for (const auto& [key, parts] : parts_) {
      if (key.first != layer) continue;
      for (const MemberPlace& part : parts) {
        keep(part.set, part.member, 0, folded_[part.set][part.member]);
        keep(part.set, part.member, 1, slices_[part.set][part.member]);
      }
    }
    for (size_t i = 0; layer >= 0 && i < sets_.size(); ++i) {
      const auto at = static_cast<size_t>(layer);
      if (at < layers_[i].size()) keep(i, at, 2, at::tensor(layers_[i][at], at::kDouble));
    }
    tensors.insert(tensors.begin(), at::tensor(places, at::kLong));
    return tensors;
  }

  void take_over(const std::vector<at::Tensor>& recorded) {
    const at::Tensor places = recorded.at(0).view({-1, 3});
    for (size_t i = 1; i < recorded.size(); ++i) {
      const at::Tensor place = places[static_cast<int64_t>(i - 1)];
      const auto set = static_cast<size_t>(place[0].item<int64_t>());
      const auto member = static_cast<size_t>(place[1].item<int64_t>());
      const int64_t kind = place[2].item<int64_t>();
      if (kind == 2) {
        layers_.at(set).at(member) = recorded[i].item<double>();
      } else {
        (kind == 0 ? folded_ : slices_).at(set).at(member) = recorded[i];
      }
    }
  }

 private:
  // [units, 1]
  at::Tensor unit_scores(const WeightStats& stats, size_t at, const GroupMember& member,
                         const std::vector<ExpertPart>& experts) const {
    const GroupSet& set = sets_[at];
    if (experts.empty()) {
      const at::Tensor columns = columns_of(set, member, stats.weight.size(1));
      const int64_t removed = options_.removed.empty() ? 0 : options_.removed.at(at);
      return criterion_.unit({stats, columns, removed}).unsqueeze(1);
    }
    // A unit is an expert, or a channel of every expert.
    const bool whole = set.label == AxisLabel::Expert;
    std::vector<at::Tensor> scores;
    for (const ExpertPart& expert : experts) {
      const WeightStats one = stats.of_expert(expert);
      const at::Tensor columns = at::arange(one.weight.size(1), at::kLong);
      scores.push_back(criterion_.unit({one, columns.view({whole ? 1 : set.units, -1})}));
    }
    return (whole ? at::cat(scores) : at::stack(scores).sum(0)).unsqueeze(1);
  }

  bool needs_anything() const { return criterion_.needs.weights || criterion_.needs.calibration(); }

  // What is known of an expert as a whole is said once, at its row of the router.
  bool whole_experts() const {
    const auto& asked = criterion_.needs.statistics;
    return std::any_of(asked.begin(), asked.end(), [](const Statistic* one) {
      return one != nullptr && one->of == StatisticOf::Expert;
    });
  }

  // Whether the pass that the criterion needs shows this member, and shows what it needs of it.
  bool shown(const GroupMember& member) const {
    const Role role = member.tensor.spec->role;
    // Calibration does not show the gradients of what the embedding adds.
    const bool added = role == Role::EmbedPositions || role == Role::EmbedNorm;
    if (criterion_.needs.in(Pass::Backward)) return !added;
    if (whole_experts()) return role == Role::Router;
    if (criterion_.needs.in(Pass::Forward)) {
      return member.tensor.layer >= 0 && member.tensor.spec->rank == 2;
    }
    return true;
  }

  bool named(const GroupMember& member) const {
    if (criterion_.unit != nullptr && member.dim != 1) return false;  // it scores columns
    switch (options_.members) {
      case Members::All:
        return true;
      case Members::Consumers:
      case Members::Inputs:
        return member.dim == 1;
      case Members::Router:
        return member.tensor.spec->role == Role::Router;
    }
    return false;
  }

  std::vector<size_t> scored(const GroupSet& set) const {
    if (set.label == AxisLabel::Layer) {
      PRUNUS_CHECK(criterion_.scores_layers(), InvalidArgument, "criterion ", criterion_.name,
                   " does not score whole layers");
      return {};
    }
    PRUNUS_CHECK(criterion_.scores_slices(), InvalidArgument, "criterion ", criterion_.name,
                 " scores no parts of a layer such as ", set.name());
    const bool experts = options_.members == Members::Router || whole_experts();
    PRUNUS_CHECK(!experts || set.label == AxisLabel::Expert, InvalidArgument, "criterion ",
                 criterion_.name, " scores whole experts, not ", set.name(),
                 "; cut the axis 'expert' (--structure expert)");
    std::vector<size_t> members = scored_members(set);
    std::erase_if(members, [&](size_t i) {
      const GroupMember& member = set.members[i];
      const Conventions& by = *options_.conventions;
      return !named(member) || !shown(member) ||
             (by.scores != nullptr && !by.scores(set, member, criterion_.needs));
    });
    if (options_.members == Members::Inputs) drop_readers_behind_the_first(set, members);
    PRUNUS_CHECK(!members.empty(), InvalidArgument, "criterion ", criterion_.name, ": of ",
                 set.name(), " there is nothing that it can score");
    if (options_.conventions->order != nullptr) options_.conventions->order(set, members);
    return members;
  }

  std::vector<double> scores_of(size_t set) {
    if (sets_[set].label == AxisLabel::Layer) return layers_[set];
    const at::Tensor scores = (needs_anything() ? reduced(set) : drawn(sets_[set])).contiguous();
    const double* data = scores.const_data_ptr<double>();
    return {data, data + scores.numel()};
  }

  // The standard deviation of the slices' scores, times the slices of a unit; 0: not asked for.
  double deviation(size_t set) const {
    if (!options_.deviations || sets_[set].label == AxisLabel::Layer) return 0;
    const std::vector<size_t> members = scored(sets_[set]);
    if (members.size() != 1 || !slices_[set][members[0]].defined()) return 0;
    const auto per_unit = static_cast<double>(sets_[set].members[members[0]].slices_per_unit());
    return slices_[set][members[0]].std().item<double>() * per_unit;
  }

  void add_weight(const Model& model, const TensorInfo& tensor,
                  const std::vector<MemberPlace>& parts) {
    WeightStats stats;
    const bool columns_only = std::all_of(parts.begin(), parts.end(), [&](const MemberPlace& part) {
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
    const int64_t width = options_.conventions->draws_per_slice ? set.width() : 1;
    return criterion_.slice({{}, 0, set.units * width, random_})
        .to(at::kCPU, at::kDouble)
        .view({set.units, width})
        .sum(1);
  }

  const std::vector<GroupSet>& sets_;
  const Criterion& criterion_;
  const ScoreOptions& options_;
  PythonRandom random_;
  std::vector<std::vector<at::Tensor>> folded_;  // [set][member]
  std::vector<std::vector<at::Tensor>> slices_;  // likewise, where deviations are asked for
  std::vector<std::vector<double>> layers_;      // [set][layer], of sets of layers
  std::map<std::pair<int, Role>, std::vector<MemberPlace>> parts_;
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

// Scores each layer as it is passed, and leaves the scores in the store.
class ScoringVisitor : public LayerVisitor {
 public:
  ScoringVisitor(Scorer& scorer, const Criterion& criterion, const Model& model, StreamStore& store)
      : scorer_(scorer),
        criterion_(criterion),
        model_(model),
        store_(store),
        statistics_([this](int layer, Role role) { return wanted(layer, role); },
                    [this](int, const LayerStatistics& gathered) { gathered_ = gathered; }) {}

  Collector* collector(int /*layer*/) override { return &statistics_; }
  void visit(int layer, Stage /*stage*/, BlockWeights& weights) override {
    scorer_.add_layer(model_.config(), layer, weights, gathered_);
    gathered_ = {};
  }
  void after(int layer, const std::vector<at::Tensor>& hidden) override {
    store_.record(c10::str("scores-", layer), scorer_.gathered(layer));
    store_.record(c10::str("hidden-", layer + 1), hidden);
    if (store_.resumable()) store_.drop(c10::str("hidden-", layer));
  }

 private:
  std::vector<const Statistic*> wanted(int layer, Role role) const {
    std::vector<const Statistic*> wanted;
    for (const Statistic* one : criterion_.needs.statistics) {
      if (one != nullptr && wants(*one, layer, role)) wanted.push_back(one);
    }
    return wanted;
  }

  bool wants(const Statistic& statistic, int layer, Role role) const {
    switch (statistic.of) {
      case StatisticOf::Input:
        return scorer_.wants(layer, role);
      case StatisticOf::Block:
        return scorer_.wants_layers();
      case StatisticOf::Expert:  // said of the router's rows
        return role == Role::DownProj && scorer_.wants(layer, Role::Router);
      case StatisticOf::Weight:
        return false;
    }
    return false;
  }

  Scorer& scorer_;
  const Criterion& criterion_;
  const Model& model_;
  StreamStore& store_;
  StatisticsCollector statistics_;
  LayerStatistics gathered_;
};

// Shows the scorer what the forward pass gathers, layer by layer, and returns the loss.
double forward_pass(Scorer& scorer, const Criterion& criterion, const Model& model,
                    const std::vector<TokenBatch>& batches, at::Device device, StreamStore& store) {
  const BlockStream stream(model, device);
  const int64_t done = store.last("hidden-").value_or(0);
  for (int64_t layer = 0; layer < done; ++layer) {
    scorer.take_over(store.get(c10::str("scores-", layer), at::kCPU));
  }
  std::vector<at::Tensor> hidden =
      done > 0 ? store.get(c10::str("hidden-", done), at::kCPU) : stream.embed(batches);
  ScoringVisitor visitor(scorer, criterion, model, store);
  stream.walk(hidden, {done, model.layer_count()}, visitor, "calibrate, forward");
  return mean_loss(model, device, batches, hidden);
}

}  // namespace

Scores score_groups(const Model& model, const std::vector<GroupSet>& sets,
                    const Criterion& criterion, const std::vector<TokenBatch>& batches,
                    LayerRange range, const ScoreOptions& options) {
  const at::NoGradGuard no_grad;
  const Needs& needs = criterion.needs;
  PRUNUS_CHECK(!needs.calibration() || !batches.empty(), InvalidArgument, "criterion ",
               criterion.name, " needs calibration text; pass --calib FILE");
  const bool numbers = !sets.empty() && numbers_layers(sets[0].label);
  if (needs.removals && numbers) {
    return removal_scores(model, sets, batches,
                          {.device = options.device, .ram_bytes = options.ram_bytes});
  }
  if (needs.last_tokens && sets.size() == 1 && sets[0].label == AxisLabel::Layer) {
    return run_scores(model, sets[0], criterion, batches, options.run, options.device);
  }
  Scorer scorer(sets, criterion, options);
  Scores scores;
  TORCH_INTERNAL_ASSERT(!(needs.in(Pass::Forward) && needs.in(Pass::Backward)));
  StreamStore in_ram(StreamStore::in_ram());
  StreamStore& store = options.store != nullptr ? *options.store : in_ram;
  if (needs.in(Pass::Backward)) {
    ScoringCollector collector(scorer, needs, options.conventions->biases,
                               static_cast<int>(model.layer_count()), store);
    scores.loss = BlockStream(model, options.device)
                      .backward(batches, range, collector, store, options.objective, options.seed);
  } else if (needs.in(Pass::Forward)) {
    scores.loss = forward_pass(scorer, criterion, model, batches, options.device, store);
  } else if (needs.weights) {
    scorer.add_weights(model);
  }
  scores.sets = scorer.result();
  return scores;
}

bool scores_by_moments(const Criterion& criterion, Members members) {
  const auto& asked = criterion.needs.statistics;
  return members == Members::Consumers && criterion.unit != nullptr &&
         std::all_of(asked.begin(), asked.end(),
                     [](const Statistic* one) { return one == nullptr || one == &stats::hessian; });
}

std::vector<ScoredSet> score_by_moments(const Model& model, const std::vector<GroupSet>& sets,
                                        const Criterion& criterion, const BlockWeights& weights,
                                        Role role, const at::Tensor& moments, int64_t tokens,
                                        const ScoreOptions& options) {
  TORCH_INTERNAL_ASSERT(scores_by_moments(criterion, options.members) && !sets.empty());
  const LayerStatistics statistics(stats::hessian, role, {.sums = {moments}, .tokens = tokens});
  Scorer scorer(sets, criterion, options);
  scorer.add_layer(model.config(), sets[0].layer, weights, statistics);
  return scorer.result();
}

}  // namespace prunus
