#include "prunus/calib/stream.h"

#include <limits>
#include <memory>
#include <string>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/model/decoder.h"
#include "prunus/model/lm_head.h"
#include "prunus/model/matmul.h"

namespace prunus {
namespace {

// As statistics have it: FP32 at least, whatever the products are computed in.
at::Tensor wide(const at::Tensor& x) {
  return x.to(at::promote_types(x.scalar_type(), at::kFloat));
}

// Makes a site of each product.
class SiteHook : public LinearHook {
 public:
  SiteHook(int layer, int64_t samples, int64_t head_dim) : head_dim_(head_dim) {
    site_.layer = layer;
    site_.samples = samples;
  }
  void set_last(bool last) { site_.last_batch = last; }

  Experts experts() const final { return Experts::All; }
  at::Tensor linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                    const at::Tensor& bias) final {
    return pass(site(role, weight, bias), input);
  }
  at::Tensor expert_linear(Role role, const at::Tensor& input, const at::Tensor& weight,
                           const ExpertPart& part) final {
    LinearSite one = site(role, weight, {});
    one.part = part;
    return pass(one, input);
  }

 protected:
  // The product's output.
  virtual at::Tensor pass(const LinearSite& site, const at::Tensor& input) = 0;

  LinearSite site(Role role, const at::Tensor& weight, const at::Tensor& bias) const {
    LinearSite one = site_;
    one.role = role;
    one.weight = weight;
    one.bias = bias;
    one.group = role == Role::OProj ? head_dim_ : 1;
    return one;
  }
  int layer() const { return site_.layer; }

 private:
  LinearSite site_;
  int64_t head_dim_;
};

class ForwardHook : public SiteHook {
 public:
  ForwardHook(Collector& collector, int layer, int64_t samples, int64_t head_dim)
      : SiteHook(layer, samples, head_dim), collector_(collector) {}

  at::Tensor scale(Role role, const at::Tensor& normalised, const at::Tensor& gain,
                   const at::Tensor& bias) override {
    collector_.on_scale_forward(site(role, gain, bias), wide(normalised));
    return LinearHook::scale(role, normalised, gain, bias);
  }

 protected:
  at::Tensor pass(const LinearSite& site, const at::Tensor& input) override {
    const at::Tensor output = apply_linear(input, site.weight, site.bias);
    collector_.on_forward(site, wide(input), wide(output));
    return output;
  }

 private:
  Collector& collector_;
};

// Shows the products of one stage, and ends the pass where one of a later stage comes.
class StageHook : public ForwardHook {
 public:
  struct Passed {};
  /// `stops`: not where stages come mixed, as those of one expert after another do.
  StageHook(ForwardHook shows, Stage stage, bool stops)
      : ForwardHook(std::move(shows)), stage_(stage), stops_(stops) {}

  at::Tensor scale(Role role, const at::Tensor& normalised, const at::Tensor& gain,
                   const at::Tensor& bias) override {
    return LinearHook::scale(role, normalised, gain, bias);  // comes in every stage
  }

 protected:
  at::Tensor pass(const LinearSite& site, const at::Tensor& input) override {
    if (stops_ && stage_of(site.role) > stage_) throw Passed();
    return stage_of(site.role) == stage_ ? ForwardHook::pass(site, input)
                                         : apply_linear(input, site.weight, site.bias);
  }

 private:
  Stage stage_;
  bool stops_;
};

// Gives each product an input of its own (an alias), so that the gradient arriving there is the one
// through this product even where several products read the same tensor.
class BackwardHook : public SiteHook {
 public:
  BackwardHook(Collector& collector, int layer, int64_t samples, int64_t head_dim)
      : SiteHook(layer, samples, head_dim), collector_(collector) {}

  at::Tensor scale(Role role, const at::Tensor& normalised, const at::Tensor& gain,
                   const at::Tensor& bias) override {
    const at::Tensor output = LinearHook::scale(role, normalised, gain, bias);
    if (!collector_.wants(layer(), role)) return output;
    auto event = std::make_shared<BackwardGain>();
    event->site = site(role, gain, bias);
    event->normalised = wide(normalised.detach());
    output.register_hook([event, this](const at::Tensor& grad) {
      const at::NoGradGuard no_grad;
      event->grad_output = wide(grad);
      collector_.on_scale_backward(*event);
      *event = {};
    });
    return output;
  }

 protected:
  at::Tensor pass(const LinearSite& site, const at::Tensor& input) override {
    const at::Tensor own = at::alias(input);
    const at::Tensor output = apply_linear(own, site.weight, site.bias);
    if (!collector_.wants(site.layer, site.role)) return output;  // and nothing is held
    auto event = std::make_shared<BackwardProduct>();
    event->site = site;
    event->input = wide(own.detach());
    event->output = wide(output.detach());
    output.register_hook([event](const at::Tensor& grad) { event->grad_output = wide(grad); });
    own.register_hook([event, this](const at::Tensor& grad) {
      const at::NoGradGuard no_grad;
      event->grad_input = wide(grad);
      collector_.on_backward(*event);
      *event = {};
    });
    return output;
  }

 private:
  Collector& collector_;
};

std::string hidden_name(int64_t layer) { return c10::str("hidden-", layer); }
std::string gradient_name(int64_t layer) { return c10::str("gradient-", layer); }

// What a backward pass leaves for resuming: gradients per batch, then the loss.
void record_gradients(StreamStore& store, int64_t layer, std::vector<at::Tensor> grads,
                      double loss) {
  grads.push_back(at::tensor(loss, at::kDouble));
  store.record(gradient_name(layer), grads);
  store.drop(gradient_name(layer + 1));
}

// Leaves what enters each layer of a range, and what leaves the last layer, in a store.
class StoringVisitor : public LayerVisitor {
 public:
  StoringVisitor(StreamStore& store, LayerRange range) : store_(store), range_(range) {}
  void after(int layer, const std::vector<at::Tensor>& hidden) override {
    const int64_t next = layer + 1;
    if (next >= range_.begin) {
      store_.put(hidden_name(next), hidden);
    } else {
      store_.record(hidden_name(next), hidden);
    }
    if (layer < range_.begin) store_.drop(hidden_name(layer));
  }

 private:
  StreamStore& store_;
  LayerRange range_;
};

int64_t samples_in(const std::vector<at::Tensor>& batches) {
  int64_t samples = 0;
  for (const at::Tensor& batch : batches) samples += batch.size(0);
  return samples;
}

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

std::vector<TokenBatch> first_tokens(const std::vector<TokenBatch>& batches, int64_t tokens) {
  std::vector<TokenBatch> some;
  for (const TokenBatch& batch : batches) {
    if (tokens <= 0) break;
    const int64_t rows =
        std::min(batch.ids.size(0), (tokens + batch.ids.size(1) - 1) / batch.ids.size(1));
    some.push_back({batch.ids.narrow(0, 0, rows)});
    tokens -= rows * batch.ids.size(1);
  }
  return some;
}

std::vector<at::Tensor> BlockStream::embed(const std::vector<TokenBatch>& batches) const {
  std::vector<at::Tensor> hidden;
  hidden.reserve(batches.size());
  const InputEmbedding end(model_, device_);  // its weights are read once for all batches
  for (const TokenBatch& batch : batches) {
    hidden.push_back(to_host(end.finish(embedding_rows(model_, batch.ids, device_))));
  }
  return hidden;
}

// One pass of all batches through a layer. Without `propagate` what leaves it is dropped.
void BlockStream::walk_layer(int layer, BlockWeights& weights, std::vector<at::Tensor>& hidden,
                             Collector* collector, bool propagate) const {
  const Decoder decoder(model_.config());
  std::unique_ptr<ForwardHook> hook;
  if (collector != nullptr) {
    hook = std::make_unique<ForwardHook>(*collector, layer, samples_in(hidden),
                                         model_.config().head_dim);
  }
  for (size_t i = 0; i < hidden.size(); ++i) {
    const bool last = i + 1 == hidden.size();
    if (hook) hook->set_last(last);
    const at::Tensor before = hidden[i].to(device_);
    const at::Tensor after = decoder.block(layer, weights, before, hook.get());
    if (collector != nullptr) collector->on_block(layer, before, after, last);
    if (propagate) hidden[i] = to_host(after);
    check_interrupted();
  }
}

// The parts of a layer, each run up to the stage that is to be seen, and in the end as a whole.
void BlockStream::walk_by_stage(int layer, BlockWeights& weights, std::vector<at::Tensor>& hidden,
                                LayerVisitor& visitor) const {
  const Decoder decoder(model_.config());
  Collector* collector = visitor.collector(layer);
  const LayerShape& shape = model_.config().layers[static_cast<size_t>(layer)];
  const bool mixture = shape.experts > 0;
  std::vector<at::Tensor> attention(hidden.size());
  const auto part = [&](size_t i, Stage stage, LinearHook* hook) {
    const at::Tensor input = hidden[i].to(device_);
    if (stage <= Stage::Output) return decoder.attention_part(layer, weights, input, hook);
    return decoder.finish_block(layer, weights, input, attention[i].to(device_), hook);
  };
  const auto show = [&](Stage stage) {
    if (collector != nullptr) {
      StageHook hook({*collector, layer, samples_in(hidden), model_.config().head_dim}, stage,
                     !mixture);
      for (size_t i = 0; i < hidden.size(); ++i) {
        hook.set_last(i + 1 == hidden.size());
        try {
          part(i, stage, &hook);
        } catch (const StageHook::Passed&) {  // the stage has been seen: the rest is not needed
        }
        collector->on_stage(layer, i + 1 == hidden.size());
        check_interrupted();
      }
    }
    visitor.visit(layer, stage, weights);
  };
  if (shape.has(SubLayer::Attention)) {
    show(Stage::QueryKeyValue);
    show(Stage::Output);
  }
  for (size_t i = 0; i < hidden.size(); ++i) {
    attention[i] = to_host(part(i, Stage::Output, nullptr));
  }
  if (shape.has(SubLayer::FeedForward)) {
    show(Stage::GateUp);
    show(Stage::Down);
  }
  for (size_t i = 0; i < hidden.size(); ++i) hidden[i] = to_host(part(i, Stage::Down, nullptr));
}

void BlockStream::walk(std::vector<at::Tensor>& hidden, LayerRange range, LayerVisitor& visitor,
                       std::string_view what) const {
  const at::NoGradGuard no_grad;
  Progress progress(c10::str(what, ": layers"), range.end - range.begin);
  const auto pass = [&](int layer, BlockWeights& weights) {
    Collector* collector = visitor.collector(layer);
    switch (visitor.edits(layer)) {
      case LayerVisitor::Edits::None:
        walk_layer(layer, weights, hidden, collector, true);
        visitor.visit(layer, Stage::Layer, weights);
        break;
      case LayerVisitor::Edits::Layer:
        if (collector != nullptr) walk_layer(layer, weights, hidden, collector, false);
        visitor.visit(layer, Stage::Layer, weights);
        walk_layer(layer, weights, hidden, nullptr, true);
        break;
      case LayerVisitor::Edits::ByStage:
        walk_by_stage(layer, weights, hidden, visitor);
        break;
    }
    visitor.after(layer, hidden);
    progress.step();
  };
  for_each_layer(model_, device_, range, LayerOrder::FirstToLast, pass);
}

void BlockStream::forward(std::vector<at::Tensor>& hidden, Collector* collector) const {
  class Watching : public LayerVisitor {
   public:
    explicit Watching(Collector* watched) : watched_(watched) {}
    Collector* collector(int /*layer*/) override { return watched_; }

   private:
    Collector* watched_;
  } visitor(collector);
  walk(hidden, {0, model_.layer_count()}, visitor);
}

void BlockStream::backward_block(int layer, const BlockWeights& weights,
                                 std::vector<at::Tensor>& inputs, std::vector<at::Tensor>& grads,
                                 bool need_input_grad, Collector& collector) const {
  const Decoder decoder(model_.config());
  BackwardHook hook(collector, layer, samples_in(inputs), model_.config().head_dim);
  for (size_t i = 0; i < inputs.size(); ++i) {
    hook.set_last(i + 1 == inputs.size());
    const at::AutoGradMode on(true);
    at::Tensor input = inputs[i].to(device_).detach().requires_grad_(true);
    const at::Tensor output = decoder.block(layer, weights, input, &hook);
    output.backward(grads[i].to(device_));
    if (need_input_grad) grads[i] = to_host(input.grad());
    inputs[i] = at::Tensor();
  }
}

// Leaves "hidden-N", the input of layer N, in the store: for N in the range and for N = layers.
void BlockStream::forward_to_store(const std::vector<TokenBatch>& batches, LayerRange range,
                                   StreamStore& store) const {
  const int64_t layers = model_.layer_count();
  const int64_t done = store.last("hidden-").value_or(0);
  std::vector<at::Tensor> hidden =
      done > 0 ? store.get(hidden_name(done), at::kCPU) : embed(batches);
  if (done == 0 && range.begin == 0) store.put(hidden_name(0), hidden);
  StoringVisitor visitor(store, range);
  walk(hidden, {done, layers}, visitor, "calibrate, forward");
}

double BlockStream::backward(const std::vector<TokenBatch>& batches, LayerRange range,
                             Collector& collector, StreamStore& store, Objective objective,
                             uint64_t seed) const {
  const at::NoGradGuard no_grad;
  const int64_t layers = model_.layer_count();
  const bool embedding = range.begin == 0 && collector.wants(-1, Role::EmbedTokens);
  const bool tied = model_.config().tie_word_embeddings;
  const VocabPass ends(model_, device_, batches, objective, seed);
  int64_t done = layers;
  std::vector<at::Tensor> grads;
  double loss = 0;
  if (const auto resumed = store.first("gradient-")) {
    done = *resumed;
    grads = store.get(gradient_name(done), at::kCPU);
    loss = grads.back().item<double>();
    grads.pop_back();
    collector.on_resume(static_cast<int>(done));
  } else {
    forward_to_store(batches, range, store);
    VocabPass::Result head = ends.head(store.get(hidden_name(layers), at::kCPU), collector);
    grads = std::move(head.grads);
    loss = head.loss;
    if (!(embedding && tied)) store.drop(hidden_name(layers));
    collector.on_layer_done(static_cast<int>(layers));
    record_gradients(store, layers, grads, loss);
  }
  Progress progress("calibrate, backward: layers", done - range.begin);
  const auto pass = [&](int layer, BlockWeights& weights) {
    std::vector<at::Tensor> inputs = store.get(hidden_name(layer), at::kCPU);
    backward_block(layer, weights, inputs, grads, layer > range.begin || embedding, collector);
    collector.on_layer_done(layer);
    record_gradients(store, layer, grads, loss);
    store.drop(hidden_name(layer));
    progress.step();
  };
  for_each_layer(model_, device_, {range.begin, done}, LayerOrder::LastToFirst, pass);
  if (embedding) {
    const std::vector<at::Tensor> last =
        tied ? store.get(hidden_name(layers), at::kCPU) : std::vector<at::Tensor>();
    ends.embedding(grads, last, collector);
  }
  return loss;
}

double BlockStream::backward(const std::vector<TokenBatch>& batches, LayerRange range,
                             Collector& collector) const {
  StreamStore store(StreamStore::in_ram());
  return backward(batches, range, collector, store);
}

}  // namespace prunus
