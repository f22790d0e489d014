#include "prunus/calib/vocab_pass.h"

#include <algorithm>
#include <cmath>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/calib/host_states.h"
#include "prunus/model/matmul.h"

namespace prunus {
namespace {

constexpr int64_t kUsedRows = 2048;

// 1 where ids equals rows: ids [batch, seq], rows [n] → [batch, seq, n].
at::Tensor one_hot(const at::Tensor& ids, const at::Tensor& rows,
                   const at::TensorOptions& options) {
  return (ids.unsqueeze(2) == rows.view({1, 1, -1})).to(options);
}

}  // namespace

VocabPass::VocabPass(const Model& model, at::Device device, const std::vector<TokenBatch>& batches,
                     Objective objective, uint64_t seed)
    : model_(model),
      device_(device),
      batches_(batches),
      objective_(objective),
      seed_(seed),
      head_(model, device) {
  for (const TokenBatch& batch : batches) {
    const int64_t last = batch.ids.size(1) - 1;
    text_.push_back(batch.ids.narrow(1, 1, last).to(device).flatten());
    predicted_ += batch.ids.size(0) * last;
    samples_ += batch.ids.size(0);
  }
}

VocabPass::Predictions VocabPass::predictions(const std::vector<at::Tensor>& hidden) const {
  Predictions all;
  const double scale = 1.0 / static_cast<double>(predicted_);
  for (size_t i = 0; i < hidden.size(); ++i) {
    const at::Tensor used = hidden[i].to(device_).narrow(1, 0, hidden[i].size(1) - 1).flatten(0, 1);
    const bool drawn = objective_ == Objective::Divergence;
    all.targets.push_back(drawn ? head_.draw(used, seed_ + i) : text_[i]);
    LmHead::Loss loss = objective_ == Objective::Entropy
                            ? head_.entropy_and_gradient(used, scale)
                            : head_.loss_and_gradient(used, all.targets[i], scale);
    for (at::Tensor* part : {&loss.grad_hidden, &loss.normalised, &loss.grad_normed}) {
      *part = to_host(*part);
    }
    all.losses.push_back(std::move(loss));
  }
  return all;
}

VocabPass::Result VocabPass::head(const std::vector<at::Tensor>& hidden,
                                  Collector& collector) const {
  const Predictions all = predictions(hidden);
  const std::vector<LmHead::Loss>& losses = all.losses;
  Result result;
  for (size_t i = 0; i < losses.size(); ++i) {
    result.loss += losses[i].nll_sum;
    const int64_t last = hidden[i].size(1) - 1;
    at::Tensor grad = at::zeros_like(hidden[i]);
    grad.narrow(1, 0, last).copy_(losses[i].grad_hidden.view({-1, last, hidden[i].size(2)}));
    result.grads.push_back(grad);
  }
  result.loss /= static_cast<double>(predicted_);
  PRUNUS_CHECK(std::isfinite(result.loss), Numeric, "the calibration loss is ", result.loss,
               "; the model overflows on this text in FP32, or its weights are damaged");
  if (model_.config().final_norm && collector.wants(-1, Role::FinalNorm))
    show_final_norm(losses, collector);
  const bool untied = !model_.config().tie_word_embeddings;
  if (untied && collector.wants(-1, Role::LmHead)) show_head(all, {}, collector);
  return result;
}

void VocabPass::show_final_norm(const std::vector<LmHead::Loss>& losses,
                                Collector& collector) const {
  for (size_t i = 0; i < losses.size(); ++i) {
    const int64_t rows = batches_[i].ids.size(0);
    const auto by_sample = [&](const at::Tensor& x) {
      return x.to(device_).view({rows, -1, x.size(1)});
    };
    collector.on_scale_backward({{-1, Role::FinalNorm, head_.norm().gain(), head_.norm().bias(),
                                  i + 1 == losses.size(), true, samples_},
                                 by_sample(losses[i].normalised),
                                 by_sample(losses[i].grad_normed)});
  }
}

// `grads`: of the embedding's output where the head is tied to it, else empty.
void VocabPass::show_head(const Predictions& predictions, const std::vector<at::Tensor>& grads,
                          Collector& collector) const {
  const std::vector<LmHead::Loss>& losses = predictions.losses;
  const Role role = grads.empty() ? Role::LmHead : Role::EmbedTokens;
  const auto use = [&](int64_t begin, const at::Tensor& weight, size_t i,
                       const at::Tensor& grad_logits) {
    const int64_t count = weight.size(0);
    const at::Tensor& ids = batches_[i].ids;
    at::Tensor input = head_.norm()
                           .scaled(losses[i].normalised.to(device_))
                           .view({ids.size(0), -1, weight.size(1)});
    at::Tensor grad = grad_logits.view({ids.size(0), -1, count});
    if (!grads.empty()) {
      const at::Tensor rows = at::arange(begin, begin + count, ids.options()).to(device_);
      input = at::cat({input, grads[i].to(device_)}, 1);
      grad = at::cat({grad, one_hot(ids.to(device_), rows, grad.options())}, 1);
    }
    const LinearSite site{-1,
                          role,
                          weight,
                          {},
                          i + 1 == losses.size(),
                          begin + count == model_.config().vocab_size,
                          samples_};
    at::Tensor grad_input;
    if (collector.wants_grad_input()) {
      grad_input = product(grad.flatten(0, -2), weight.to(grad.scalar_type()))
                       .view({grad.size(0), grad.size(1), -1});
    }
    collector.on_backward({site, input, {}, grad, grad_input});
  };
  head_.for_each_weight_rows(losses, predictions.targets, 1.0 / static_cast<double>(predicted_),
                             use);
}

// Rows of tokens that do not occur have no gradient.
void VocabPass::show_used_rows(const std::vector<at::Tensor>& grads, Collector& collector) const {
  std::vector<at::Tensor> all;
  for (const TokenBatch& batch : batches_) all.push_back(batch.ids.flatten());
  const at::Tensor used = std::get<0>(at::_unique(at::cat(all)));
  const TensorInfo& info = model_.tensor(Role::EmbedTokens);
  for (int64_t begin = 0; begin < used.size(0); begin += kUsedRows) {
    const int64_t count = std::min(kUsedRows, used.size(0) - begin);
    const at::Tensor rows = used.narrow(0, begin, count);
    const at::Tensor weight =
        model_.source().select_rows(info, rows).to(device_).to(model_.precision());
    for (size_t i = 0; i < grads.size(); ++i) {
      const at::Tensor grad_output = grads[i].to(device_);
      const at::Tensor grad =
          one_hot(batches_[i].ids.to(device_), rows.to(device_), grad_output.options());
      const LinearSite site{-1,      Role::EmbedTokens,     weight,
                            {},      i + 1 == grads.size(), begin + count == used.size(0),
                            samples_};
      at::Tensor grad_input;
      if (collector.wants_grad_input()) {
        grad_input = product(grad.flatten(0, -2), weight.to(grad.scalar_type()))
                         .view({grad.size(0), grad.size(1), -1});
      }
      collector.on_backward({site, grad_output, {}, grad, grad_input});
    }
  }
  model_.source().release(info);
}

void VocabPass::embedding(const std::vector<at::Tensor>& grads,
                          const std::vector<at::Tensor>& hidden, Collector& collector) const {
  if (model_.config().tie_word_embeddings) {
    show_head(predictions(hidden), grads, collector);
  } else {
    show_used_rows(grads, collector);
  }
}

}  // namespace prunus
