// Where hidden states are while a text passes through the layers: at work on the device, batch by
// batch; waiting in host memory.
#include <cmath>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/base/memory.h"
#include "prunus/calib/host_states.h"
#include "prunus/calib/stream.h"

#include "support/device.h"
#include "support/tiny_model.h"

namespace prunus::test::stream_device_test {
namespace {

// What is shown must be on the device, all of it.
class Watcher : public Collector {
 public:
  void on_forward(const LinearSite& site, const at::Tensor& input,
                  const at::Tensor& output) override {
    look({site.weight, input, output});
  }
  void on_backward(const BackwardProduct& one) override {
    look({one.site.weight, one.input, one.output, one.grad_output, one.grad_input});
    sum_ += one.grad_output.square().sum(at::kDouble).item<double>();
  }
  void on_scale_backward(const BackwardGain& one) override {
    look({one.site.weight, one.normalised, one.grad_output});
  }

  int64_t seen = 0;
  double size() const { return std::sqrt(sum_); }  // of all gradients together

 private:
  void look(const std::vector<at::Tensor>& tensors) {
    for (const at::Tensor& tensor : tensors) {
      if (!tensor.defined()) continue;
      EXPECT_EQ(tensor.device().type(), kTestDevice);
      ++seen;
    }
  }
  double sum_ = 0;
};

void expect_on_host(const std::vector<at::Tensor>& tensors) {
  for (const at::Tensor& tensor : tensors) {
    EXPECT_TRUE(tensor.is_cpu());
    EXPECT_EQ(tensor.is_pinned(), kTestDevice == at::kCUDA);
  }
}

TEST(ToHost, IsTheTensorItselfOnTheCpuAndAPinnedCopyFromCuda) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  const at::Tensor tensor = at::arange(6, at::device(kTestDevice).dtype(at::kFloat)).view({2, 3});
  const at::Tensor host = to_host(tensor);
  expect_on_host({host});
  EXPECT_EQ(host.is_alias_of(tensor), kTestDevice == at::kCPU);
  EXPECT_TRUE(at::equal(host, at::arange(6, at::kFloat).view({2, 3})));
  EXPECT_EQ(host_bytes(tensor), kTestDevice == at::kCPU ? 24 : 32);  // pinned: a power of two
}

TEST(StreamStoreOnTheDevice, KeepsItsTensorsInHostMemory) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  StreamStore store(StreamStore::in_ram());
  const at::Tensor tensor = at::arange(6, at::device(kTestDevice).dtype(at::kFloat));
  store.put("a", {tensor, tensor + 1});
  const std::vector<at::Tensor> host = store.get("a", at::kCPU);
  expect_on_host(host);
  EXPECT_EQ(host[0].is_alias_of(tensor), kTestDevice == at::kCPU);  // no copy where none is needed
  EXPECT_TRUE(at::equal(host[1], at::arange(1, 7, at::kFloat)));
  const std::vector<at::Tensor> back = store.get("a", kTestDevice);
  EXPECT_EQ(back[0].device().type(), kTestDevice);
  EXPECT_TRUE(at::equal(back[0], tensor));
}

TEST(StreamStoreOnTheDevice, CountsWhatTheHostMemoryTakes) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  StreamStore store({.ram_bytes = 63});
  const at::Tensor tensor = at::zeros({6}, at::device(kTestDevice).dtype(at::kFloat));
  store.put("a", {tensor});  // 24 bytes, pinned 32
  store.put("b", {tensor});
  EXPECT_EQ(store.spilled_bytes(), kTestDevice == at::kCPU ? 0 : 24);
  store.drop("a");
  store.put("c", {tensor});
  EXPECT_EQ(store.spilled_bytes(), kTestDevice == at::kCPU ? 0 : 24);
}

TEST(BlockStreamOnTheDevice, LeavesHiddenStatesInHostMemory) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  const Model model = tiny_model({.kv_heads = 2});
  const std::vector<TokenBatch> batches{{random_ids(model, 2, 7)}, {random_ids(model, 1, 7, 9)}};
  const BlockStream stream(model, kTestDevice);
  std::vector<at::Tensor> hidden = stream.embed(batches);
  expect_on_host(hidden);
  Watcher watcher;
  stream.forward(hidden, &watcher);
  expect_on_host(hidden);
  EXPECT_GT(watcher.seen, 0);
  const BlockStream on_cpu(model, at::kCPU);
  std::vector<at::Tensor> wanted = on_cpu.embed(batches);
  on_cpu.forward(wanted);
  for (size_t i = 0; i < hidden.size(); ++i) {
    EXPECT_LT(relative_error(hidden[i], wanted[i]), 1e-4);
  }
}

TEST(BlockStreamOnTheDevice, GivesTheLossAndGradientsOfTheCpu) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  for (const bool tied : {false, true}) {
    const Model model = tiny_model({.kv_heads = 2, .tied = tied});
    const std::vector<TokenBatch> batches{{random_ids(model, 2, 7)}, {random_ids(model, 1, 7, 9)}};
    Watcher watcher;
    const double loss =
        BlockStream(model, kTestDevice).backward(batches, {0, model.layer_count()}, watcher);
    struct : Watcher {
      void on_scale_backward(const BackwardGain&) override {}
      void on_backward(const BackwardProduct& product) override {
        sum += product.grad_output.square().sum(at::kDouble).item<double>();
      }
      double sum = 0;
    } plain;
    const double wanted =
        BlockStream(model, at::kCPU).backward(batches, {0, model.layer_count()}, plain);
    EXPECT_NEAR(loss, wanted, 1e-4 * wanted);
    EXPECT_NEAR(watcher.size(), std::sqrt(plain.sum), 1e-3 * std::sqrt(plain.sum));
    EXPECT_GT(watcher.seen, 0);
  }
}

// More text takes more host memory, not more of the device's.
TEST(BlockStreamOnTheDevice, HoldsOneBatchHoweverManyThereAre) {
  PRUNUS_NEED_DEVICE(kTestDevice);
  const Model model = tiny_model({.hidden = 64, .head_dim = 16});
  const auto peak_of = [&](int64_t count) {
    std::vector<TokenBatch> batches;
    for (int64_t i = 0; i < count; ++i) batches.push_back({random_ids(model, 64, 64)});
    Collector collector;
    BlockStream(model, kTestDevice).backward(batches, {0, model.layer_count()}, collector);
    return peak_device_bytes(kTestDevice);
  };
  const auto few = peak_of(2);
  const auto many = peak_of(12);
  if (!few) return;                              // the CPU, or a libtorch that does not tell
  EXPECT_LT(*many, *few + (uint64_t{1} << 20));  // ten more batches' states: 10 MiB a layer
}

}  // namespace
}  // namespace prunus::test::stream_device_test
