#include "prunus/calib/stream.h"

#include <cmath>
#include <memory>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/model/decoder.h"
#include "prunus/model/head.h"

namespace prunus {
namespace {

class ForwardTap : public LinearTap {
 public:
  ForwardTap(Collector& collector, int layer) : collector_(collector), layer_(layer) {}
  void set_last(bool last) { last_ = last; }

  at::Tensor linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                    const at::Tensor& bias) override {
    const at::Tensor output =
        bias.defined() ? at::linear(input, weight, bias) : at::linear(input, weight);
    collector_.on_forward({layer_, role, weight, bias, last_}, input, output);
    return output;
  }

 private:
  Collector& collector_;
  int layer_;
  bool last_ = true;
};

// Gives each product an input of its own (an alias), so that the gradient arriving there is the one
// through this product even where several products read the same tensor.
class BackwardTap : public LinearTap {
 public:
  BackwardTap(Collector& collector, int layer) : collector_(collector), layer_(layer) {}
  void set_last(bool last) { last_ = last; }

  at::Tensor linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                    const at::Tensor& bias) override {
    const at::Tensor own = at::alias(input);
    const at::Tensor output =
        bias.defined() ? at::linear(own, weight, bias) : at::linear(own, weight);
    struct Event {
      LinearSite site;
      at::Tensor input, output, grad_output;
    };
    auto event = std::make_shared<Event>(
        Event{{layer_, role, weight, bias, last_}, own.detach(), output.detach(), {}});
    output.register_hook([event](const at::Tensor& grad) { event->grad_output = grad; });
    own.register_hook([event, this](const at::Tensor& grad) {
      const at::NoGradGuard no_grad;
      collector_.on_backward(event->site, event->input, event->output, event->grad_output, grad);
      *event = {};
    });
    return output;
  }

 private:
  Collector& collector_;
  int layer_;
  bool last_ = true;
};

}  // namespace

std::vector<TokenBatch> make_batches(const std::vector<std::vector<int64_t>>& windows,
                                     int64_t max_tokens) {
  PRUNUS_CHECK(!windows.empty() && windows[0].size() >= 2, InvalidArgument,
               "calibration needs at least one window of two tokens");
  const auto length = static_cast<int64_t>(windows[0].size());
  const auto rows = static_cast<size_t>(std::max<int64_t>(1, max_tokens / length));
  std::vector<TokenBatch> batches;
  for (size_t begin = 0; begin < windows.size(); begin += rows) {
    const size_t end = std::min(windows.size(), begin + rows);
    at::Tensor ids = at::empty({static_cast<int64_t>(end - begin), length}, at::kLong);
    for (size_t i = begin; i < end; ++i) {
      PRUNUS_CHECK(static_cast<int64_t>(windows[i].size()) == length, InvalidArgument,
                   "calibration window ", i, " has ", windows[i].size(), " tokens, the first has ",
                   length);
      ids[static_cast<int64_t>(i - begin)].copy_(at::tensor(windows[i], at::kLong));
    }
    batches.push_back({ids});
  }
  return batches;
}

std::vector<at::Tensor> BlockStream::embed(const std::vector<TokenBatch>& batches) const {
  std::vector<at::Tensor> hidden;
  hidden.reserve(batches.size());
  for (const TokenBatch& batch : batches)
    hidden.push_back(prunus::embed(model_, batch.ids, device_));
  return hidden;
}

void BlockStream::forward(std::vector<at::Tensor>& hidden, Collector* collector) const {
  const at::NoGradGuard no_grad;
  const Decoder decoder(model_.config());
  Progress progress("forward: layer × batch",
                    model_.layer_count() * static_cast<int64_t>(hidden.size()));
  BlockWeights weights;
  for (int layer = 0; layer < model_.layer_count(); ++layer) {
    model_.prefetch_block(layer + 1);
    weights = model_.load_block(layer, device_, std::move(weights));
    std::unique_ptr<ForwardTap> tap;
    if (collector != nullptr) tap = std::make_unique<ForwardTap>(*collector, layer);
    for (size_t i = 0; i < hidden.size(); ++i) {
      if (tap) tap->set_last(i + 1 == hidden.size());
      hidden[i] = decoder.block(layer, weights, hidden[i], tap.get());
      progress.step();
    }
    model_.release_block(layer);
  }
}

// Replaces each hidden state by the gradient of the mean loss there.
double BlockStream::backward_head(const std::vector<TokenBatch>& batches,
                                  std::vector<at::Tensor>& hidden) const {
  int64_t predicted = 0;
  for (const TokenBatch& batch : batches) predicted += batch.ids.size(0) * (batch.ids.size(1) - 1);
  const Head head(model_, device_);
  double nll = 0;
  for (size_t i = 0; i < batches.size(); ++i) {
    const int64_t last = batches[i].ids.size(1) - 1;
    const at::Tensor targets = batches[i].ids.narrow(1, 1, last).to(device_).flatten();
    const at::Tensor used = hidden[i].narrow(1, 0, last).flatten(0, 1);
    const Head::Loss loss =
        head.loss_and_gradient(used, targets, 1.0 / static_cast<double>(predicted));
    nll += loss.nll_sum;
    at::Tensor grad = at::zeros_like(hidden[i]);
    grad.narrow(1, 0, last).copy_(loss.grad_hidden.view({-1, last, hidden[i].size(2)}));
    hidden[i] = grad;
  }
  nll /= static_cast<double>(predicted);
  PRUNUS_CHECK(std::isfinite(nll), Numeric, "the calibration loss is ", nll,
               "; the model overflows on this text in FP32, or its weights are damaged");
  return nll;
}

void BlockStream::backward_block(int layer, const BlockWeights& weights,
                                 std::vector<at::Tensor>& inputs, std::vector<at::Tensor>& grads,
                                 bool need_input_grad, Collector& collector) const {
  const Decoder decoder(model_.config());
  BackwardTap tap(collector, layer);
  for (size_t i = 0; i < inputs.size(); ++i) {
    tap.set_last(i + 1 == inputs.size());
    const at::AutoGradMode on(true);
    at::Tensor input = inputs[i].detach().requires_grad_(true);
    const at::Tensor output = decoder.block(layer, weights, input, &tap);
    output.backward(grads[i]);
    if (need_input_grad) grads[i] = input.grad();
    inputs[i] = at::Tensor();
  }
}

double BlockStream::backward(const std::vector<TokenBatch>& batches, LayerRange range,
                             Collector& collector) const {
  const at::NoGradGuard no_grad;
  const Decoder decoder(model_.config());
  const int64_t layers = model_.layer_count();
  Progress progress("calibrate: layer passes", layers + layers - range.begin);
  std::vector<at::Tensor> hidden = embed(batches);
  std::vector<std::vector<at::Tensor>> inputs(static_cast<size_t>(layers));
  BlockWeights weights;
  for (int layer = 0; layer < layers; ++layer) {
    if (layer >= range.begin) inputs[static_cast<size_t>(layer)] = hidden;
    model_.prefetch_block(layer + 1);
    weights = model_.load_block(layer, device_, std::move(weights));
    for (at::Tensor& one : hidden) one = decoder.block(layer, weights, one);
    model_.release_block(layer);
    progress.step();
  }
  const double loss = backward_head(batches, hidden);
  for (auto layer = static_cast<int>(layers) - 1; layer >= range.begin; --layer) {
    if (layer > range.begin) model_.prefetch_block(layer - 1);
    weights = model_.load_block(layer, device_, std::move(weights));
    backward_block(layer, weights, inputs[static_cast<size_t>(layer)], hidden, layer > range.begin,
                   collector);
    model_.release_block(layer);
    progress.step();
  }
  return loss;
}

}  // namespace prunus
