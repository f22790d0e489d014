#include "prunus/graph/layer_sums.h"

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/graph/shrink.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/tiny_model.h"

namespace prunus::test::layer_sums_test {
namespace {

TEST(LayerSums, AddMatricesAndBiasesButKeepNorms) {
  for (const char* family : {"llama", "qwen2", "gpt2"}) {
    const Model model = tiny_model({.family = family, .layers = 4});
    const Model made = with_layer_sums(model, {{1, {{1, -1}, {2, 1}, {3, 1}}}});
    int matrices = 0;
    for (const TensorInfo& tensor : made.tensors()) {
      const at::Tensor got = made.source().read(tensor);
      const Role role = tensor.spec->role;
      const at::Tensor own = model.source().read(model.tensor(role, tensor.layer));
      const bool norm = role == Role::AttnNorm || role == Role::MlpNorm ||
                        role == Role::AttnNormBias || role == Role::MlpNormBias;
      if (tensor.layer != 1 || norm) {
        EXPECT_TRUE(at::equal(got, own)) << tensor.name;
        continue;
      }
      ++matrices;
      const at::Tensor wanted = model.source().read(model.tensor(role, 2)) +
                                model.source().read(model.tensor(role, 3)) - own;
      EXPECT_TRUE(at::allclose(got, wanted, 1e-5, 1e-6)) << tensor.name;
    }
    EXPECT_GE(matrices, 6);
  }
}

TEST(LayerSums, RefuseWhatHasNoSum) {
  const Model model = tiny_model({.layers = 3});
  expect_error(ErrorKind::InvalidArgument, "layers 0 to 2", [&] {
    with_layer_sums(model, {{1, {{1, 1}, {3, 1}}}});
  });
  const Model uneven = shrink(model, {{AxisLabel::Ffn, 2, {0, 1, 2}}});
  expect_error(ErrorKind::Unsupported, "cannot be added", [&] {
    with_layer_sums(uneven, {{1, {{1, 0}, {2, 1}}}});
  });
  const Model mixture = open_model(golden_dir("mixtral"));
  expect_error(ErrorKind::Unsupported, "a mixture of experts", [&] {
    with_layer_sums(mixture, {{0, {{0, 1}, {1, 1}}}});
  });
}

}  // namespace
}  // namespace prunus::test::layer_sums_test
