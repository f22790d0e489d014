#include "prunus/pipeline/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/calib/stream.h"
#include "prunus/model/matmul.h"
#include "prunus/solve/part_tap.h"

namespace prunus {
namespace {

// A text on its way through the layers. `entered`: in front of the layer, where both its parts
// read that.
struct Stream {
  Hidden hidden;
  Hidden entered;

  const Hidden& inputs() const { return entered.empty() ? hidden : entered; }
};

at::Tensor mean_square(const at::Tensor& x) { return x.square().mean(-1, true); }

struct Candidate {
  size_t part = 0;
  size_t level = 0;
  Stream stream;
};

// One layer of the walk: the dense weights, and those of the base model.
class LayerMeter {
 public:
  // `base`: of the same shapes as the model that the levels of the base make.
  // `texts`: batches of the held-out text that candidates are measured on.
  LayerMeter(const Model& dense, const Model& base, const SensitivityMeter::Options& options,
             size_t texts)
      : dense_(dense),
        device_(options.device),
        options_(options),
        texts_(texts),
        base_decoder_(base.config()) {}

  void enter(int layer, const BlockWeights& whole) {
    layer_ = layer;
    whole_ = &whole;
  }

  // Chooses and fits the levels of a part, and takes the streams past it.
  void pass(PartLevels& part, size_t number, size_t base, const std::vector<size_t>& wanted,
            Stream& calibration, Stream& text, std::vector<Candidate>& candidates) {
    const PartRoles roles = roles_of(part.part);
    const Hidden inputs = tapped(part.part, calibration);
    const Moments moments = moments_of(roles, inputs, calibration.hidden);
    if (options_.choose != nullptr) {
      part = options_.choose(part, *whole_, moments.sums, moments.tokens);
    }
    const at::Tensor base_weight = fitted(roles, part.levels[base], moments.sums);
    const Hidden seen = tapped(part.part, text);
    if (!candidates.empty() && !part.levels[base].dropped()) {
      pass_base(part, base, base_weight, candidates);
    }
    for (const size_t level : wanted) {
      Candidate one{number, level, first_of(text)};
      advance(roles, one.stream, seen, part.levels[level].columns,
              level == base ? base_weight : fitted(roles, part.levels[level], moments.sums));
      candidates.push_back(std::move(one));
      check_interrupted();
    }
    advance(roles, text, seen, part.levels[base].columns, base_weight);
    advance(roles, calibration, inputs, part.levels[base].columns, base_weight);
  }

  // A whole part as pass() takes it.
  void pass_measured(Part part, Stream& text) const {
    const PartRoles roles = roles_of(part);
    const Hidden inputs = tapped(part, text);
    advance(roles, text, inputs, at::arange(inputs[0].size(-1), at::kLong),
            (*whole_)[roles.weight]);
  }

  // A part without levels.
  void pass_whole(Part part, Stream& stream) const {
    const PartForward forward{dense_decoder_, layer_, part};
    for (size_t i = 0; i < stream.hidden.size(); ++i) {
      const at::Tensor output = forward(*whole_, stream.inputs()[i].to(device_));
      stream.hidden[i] = to_host(stream.hidden[i].to(device_) + output);
    }
  }

 private:
  // Takes the candidates of earlier parts past the base's part.
  void pass_base(const PartLevels& part, size_t base, const at::Tensor& weight,
                 std::vector<Candidate>& candidates) {
    const bool whole = base == part.whole();
    BlockWeights cut;
    if (!whole) {
      cut =
          result_of(dense_, plan_of_levels(dense_, {part}, {base}), {}).load_block(layer_, device_);
      cut[roles_of(part.part).weight] = weight;
    }
    const PartForward forward{whole ? dense_decoder_ : base_decoder_, layer_, part.part};
    for (Candidate& one : candidates) {
      for (size_t i = 0; i < one.stream.hidden.size(); ++i) {
        const at::Tensor output =
            forward(whole ? *whole_ : cut, one.stream.inputs()[i].to(device_));
        one.stream.hidden[i] = to_host(one.stream.hidden[i].to(device_) + output);
      }
      check_interrupted();
    }
  }

  Stream first_of(const Stream& text) const {
    const auto some = [&](const Hidden& of) {
      return Hidden(of.begin(), of.begin() + static_cast<int64_t>(std::min(texts_, of.size())));
    };
    return {some(text.hidden), some(text.entered)};
  }

  // What enters the whole part's last matrix.
  Hidden tapped(Part part, const Stream& stream) const {
    const PartForward forward{dense_decoder_, layer_, part};
    Hidden inputs;
    for (const at::Tensor& x : stream.inputs()) {
      PartTap tap(roles_of(part).weight, false);
      forward(*whole_, x.to(device_), &tap);
      inputs.push_back(to_host(tap.input));
      check_interrupted();
    }
    return inputs;
  }

  struct Moments {
    at::Tensor sums;  // FP64 [in, in], on the CPU
    int64_t tokens = 0;
  };

  // Tokens count by how small the stream behind the part is; where a norm follows, by what that
  // leaves of them, as in solve/refit.
  Moments moments_of(const PartRoles& roles, const Hidden& inputs, const Hidden& hidden) const {
    Moments moments;
    for (size_t i = 0; i < inputs.size(); ++i) {
      at::Tensor x = inputs[i].to(device_).flatten(0, 1).to(at::kFloat);
      moments.tokens += x.size(0);
      const at::Tensor& norm = (*whole_)[roles.post_norm];
      if (norm.defined() || options_.token_weights) {
        at::Tensor added =
            apply_linear(x, (*whole_)[roles.weight], (*whole_)[roles.bias]).to(at::kFloat);
        at::Tensor roots = at::ones({x.size(0), 1}, x.options());
        if (norm.defined()) {
          roots = mean_square(added).clamp_min(1e-30).rsqrt();
          added = dense_decoder_.norm(added, norm);
        }
        if (options_.token_weights) {
          const at::Tensor size =
              mean_square(hidden[i].to(device_).flatten(0, 1).to(at::kFloat) + added);
          roots = roots * size.clamp_min(1e-6 * size.mean().item<double>()).rsqrt();
        }
        x = x * roots;
      }
      const at::Tensor more = second_moments(x).to(at::kDouble);
      moments.sums = moments.sums.defined() ? moments.sums.add_(more) : more;
      check_interrupted();
    }
    moments.sums = moments.sums.to(at::kCPU);
    return moments;
  }

  // [out, columns]; undefined of a part that is dropped.
  at::Tensor fitted(const PartRoles& roles, const PartLevel& level, const at::Tensor& gram) const {
    if (level.dropped()) return {};
    const at::Tensor& weight = (*whole_)[roles.weight];
    if (level.columns.numel() == weight.size(1)) return weight;
    const at::Tensor all = weight.to(at::kCPU, at::kDouble);
    const at::Tensor columns = gram.index_select(1, level.columns);
    const Solved solved = find_solver("least-squares")
                              .solve({.weight = all.index_select(1, level.columns),
                                      .bias = {},
                                      .gram = columns.index_select(0, level.columns),
                                      .cross = at::matmul(all, columns),
                                      .options = {.ridge = options_.ridge}});
    return solved.weight.to(device_, weight.scalar_type());
  }

  void advance(const PartRoles& roles, Stream& stream, const Hidden& inputs,
               const at::Tensor& columns, const at::Tensor& weight) const {
    if (!weight.defined()) return;  // dropped
    const bool whole = columns.numel() == inputs[0].size(-1);
    for (size_t i = 0; i < stream.hidden.size(); ++i) {
      at::Tensor x = inputs[i].to(device_);
      if (!whole) x = x.index_select(-1, columns.to(device_));
      at::Tensor output = apply_linear(x, weight, (*whole_)[roles.bias]);
      const at::Tensor& norm = (*whole_)[roles.post_norm];
      if (norm.defined()) output = dense_decoder_.norm(output, norm);
      stream.hidden[i] = to_host(stream.hidden[i].to(device_) + output);
    }
  }

  const Model& dense_;
  at::Device device_;
  const SensitivityMeter::Options& options_;
  size_t texts_;
  Decoder dense_decoder_{dense_.config()};
  Decoder base_decoder_;
  int layer_ = 0;
  const BlockWeights* whole_ = nullptr;
};

}  // namespace

SensitivityMeter::SensitivityMeter(const Model& dense, std::vector<PartLevels> parts,
                                   const std::vector<TokenBatch>& calibration,
                                   const std::vector<TokenBatch>& held_out, Options options)
    : dense_(dense),
      parts_(std::move(parts)),
      calibration_(calibration),
      held_out_(held_out),
      options_(std::move(options)),
      divergence_(dense, {&calibration, &held_out}, options_.vocabulary, options_.device) {
  PRUNUS_CHECK(dense.config().pre_norm, Unsupported, "model_type '",
               dense.config().family->model_type,
               "' has its norms behind the sum of part and stream: its parts cannot be measured "
               "one by one; use --budget uniform");
}

Sensitivity SensitivityMeter::measure(const std::vector<size_t>& base,
                                      const std::vector<std::vector<size_t>>& wanted,
                                      size_t texts) {
  const at::NoGradGuard no_grad;
  const Model cut = result_of(dense_, plan_of_levels(dense_, parts_, base), {});
  const BlockStream stream(dense_, options_.device);
  Stream calibration{stream.embed(calibration_), {}};
  Stream text{stream.embed(held_out_), {}};
  std::vector<Candidate> candidates;
  LayerMeter meter(dense_, cut, options_, texts);
  const bool parallel = dense_.config().parallel_residual;
  Progress progress("search: layers", dense_.layer_count());
  const auto act = [&](int layer, BlockWeights& weights) {
    meter.enter(layer, weights);
    std::vector<Stream*> streams{&calibration, &text};
    for (Candidate& one : candidates) streams.push_back(&one.stream);
    for (Stream* one : streams) one->entered = parallel ? one->hidden : Hidden();
    for (const Part part : kParts) {
      const auto same = [&](const PartLevels& one) {
        return one.layer == layer && one.part == part;
      };
      const auto at = std::find_if(parts_.begin(), parts_.end(), same);
      if (at == parts_.end()) {
        meter.pass_whole(part, calibration);
        meter.pass_whole(part, text);
        for (Candidate& one : candidates) meter.pass_whole(part, one.stream);
        continue;
      }
      const auto p = static_cast<size_t>(at - parts_.begin());
      meter.pass(*at, p, base[p], wanted[p], calibration, text, candidates);
    }
    progress.note(c10::str(candidates.size(), " levels under way"));
    progress.step();
  };
  for_each_layer(dense_, options_.device, {0, dense_.layer_count()}, LayerOrder::FirstToLast, act);
  if (!divergence_.has_dense()) {
    bool whole = true;
    for (size_t p = 0; p < parts_.size(); ++p) whole = whole && base[p] == parts_[p].whole();
    divergence_.set_dense(whole ? text.hidden : dense_text());
  }
  Sensitivity result{.base = divergence_.of(text.hidden), .kl = {}};
  for (const PartLevels& part : parts_) {
    result.kl.emplace_back(part.levels.size(), std::numeric_limits<double>::quiet_NaN());
  }
  for (const Candidate& one : candidates) {
    result.kl[one.part][one.level] = divergence_.of(one.stream.hidden);
    PRUNUS_CHECK(std::isfinite(result.kl[one.part][one.level]), Numeric, "search: layer ",
                 parts_[one.part].layer, " ", part_name(parts_[one.part].part), " at ",
                 parts_[one.part].levels[one.level].parameters,
                 " parameters: the divergence is not finite");
  }
  return result;
}

// The held-out text behind the dense model's layers, to the bits of a base of whole parts.
std::vector<at::Tensor> SensitivityMeter::dense_text() const {
  Stream text{BlockStream(dense_, options_.device).embed(held_out_), {}};
  LayerMeter meter(dense_, dense_, options_, 0);
  for_each_layer(dense_, options_.device, {0, dense_.layer_count()}, LayerOrder::FirstToLast,
                 [&](int layer, BlockWeights& weights) {
                   meter.enter(layer, weights);
                   text.entered = dense_.config().parallel_residual ? text.hidden : Hidden();
                   for (const Part part : kParts) {
                     const bool cut =
                         std::any_of(parts_.begin(), parts_.end(), [&](const PartLevels& one) {
                           return one.layer == layer && one.part == part;
                         });
                     cut ? meter.pass_measured(part, text) : meter.pass_whole(part, text);
                   }
                 });
  return text.hidden;
}

Plan plan_of_levels(const Model& model, const std::vector<PartLevels>& parts,
                    const std::vector<size_t>& levels) {
  Plan plan;
  std::map<Part, std::vector<int64_t>> dropped;
  for (size_t p = 0; p < parts.size(); ++p) {
    const PartLevel& level = parts[p].levels[levels[p]];
    if (level.dropped()) dropped[parts[p].part].push_back(parts[p].layer);
    plan.entries.insert(plan.entries.end(), level.entries.begin(), level.entries.end());
  }
  for (const auto& [part, layers] : dropped) {
    const SubLayer kind = part == Part::Attention ? SubLayer::Attention : SubLayer::FeedForward;
    plan.entries.push_back({.keep = without_sub_layer(model, kind, layers),
                            .units = model.layer_count(),
                            .scores = {}});
  }
  return plan;
}

}  // namespace prunus
