#include "prunus/pipeline/score.h"

#include <map>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/gradient_collector.h"

namespace prunus {
namespace {

// A matrix's part in a set.
struct Part {
  size_t set = 0;
  const GroupMember* member = nullptr;
};

class Scorer {
 public:
  Scorer(const std::vector<GroupSet>& sets, const Criterion& criterion, uint64_t seed)
      : sets_(sets), criterion_(criterion), random_(seed) {
    totals_.resize(sets.size());
    for (size_t i = 0; i < sets.size(); ++i) {
      totals_[i].assign(static_cast<size_t>(sets[i].units), 0.0);
      for (const GroupMember& member : sets[i].members) {
        if (member.tensor.spec->rank != 2) continue;
        parts_[{member.tensor.layer, member.tensor.spec->role}].push_back({i, &member});
      }
    }
  }

  bool wants(int layer, Role role) const { return parts_.contains({layer, role}); }

  void add(int layer, Role role, const WeightStats& stats) {
    for (const Part& part : parts_.at({layer, role})) {
      const GroupMember& member = *part.member;
      const int64_t slices = member.tensor.shape[static_cast<size_t>(member.dim)];
      const at::Tensor units = criterion_.score({stats, member.dim, slices, random_})
                                   .to(at::kCPU, at::kDouble)
                                   .view({-1, member.slices_per_unit})
                                   .sum(1);
      auto& total = totals_[part.set];
      for (size_t u = 0; u < total.size(); ++u) total[u] += units.const_data_ptr<double>()[u];
    }
  }

  // For criteria that look at the weights at most: one matrix at a time.
  void add_without_calibration(const Model& model, at::Device device) {
    Progress progress("score: matrices", static_cast<int64_t>(parts_.size()));
    for (const auto& [key, parts] : parts_) {
      WeightStats stats;
      const TensorInfo& tensor = parts[0].member->tensor;
      if (criterion_.needs == Needs::Weights) stats.weight = model.load(tensor, device);
      add(key.first, key.second, stats);
      model.source().release(tensor);
      progress.step();
    }
  }

  std::vector<ScoredSet> result() && {
    std::vector<ScoredSet> scored;
    for (size_t i = 0; i < sets_.size(); ++i) scored.push_back({sets_[i], std::move(totals_[i])});
    return scored;
  }

 private:
  const std::vector<GroupSet>& sets_;
  const Criterion& criterion_;
  PythonRandom random_;
  std::vector<std::vector<double>> totals_;
  std::map<std::pair<int, Role>, std::vector<Part>> parts_;
};

}  // namespace

Scores score_groups(const Model& model, const std::vector<GroupSet>& sets,
                    const Criterion& criterion, const std::vector<TokenBatch>& batches,
                    LayerRange range, const ScoreOptions& options) {
  const at::NoGradGuard no_grad;
  Scorer scorer(sets, criterion, options.seed);
  Scores scores;
  if (criterion.needs == Needs::Nothing || criterion.needs == Needs::Weights) {
    scorer.add_without_calibration(model, options.device);
  } else {
    PRUNUS_CHECK(!batches.empty(), InvalidArgument, "criterion ", criterion.name,
                 " needs calibration text; pass --calib FILE");
    GradientCollector collector(
        criterion.needs,
        [&](const LinearSite& site) { return scorer.wants(site.layer, site.role); },
        [&](const LinearSite& site, const WeightStats& stats) {
          scorer.add(site.layer, site.role, stats);
        });
    scores.loss = BlockStream(model, options.device).backward(batches, range, collector);
  }
  scores.sets = std::move(scorer).result();
  return scores;
}

}  // namespace prunus
