#include "prunus/solve/stream_scale.h"

#include <cmath>
#include <string>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/calib/host_states.h"
#include "prunus/calib/stream.h"
#include "prunus/model/combined.h"
#include "prunus/model/decoder.h"
#include "prunus/solve/two_streams.h"

namespace prunus {
namespace {

std::string scale_obstacle(const Model& model) {
  if (!model.config().pre_norm) return "its norms stand behind the sums";
  if (!model.config().final_norm) return "its head reads the stream without a norm";
  for (const TensorInfo& tensor : model.tensors()) {
    const Role role = tensor.spec->role;
    if (role == Role::PostAttnNorm || role == Role::PostMlpNorm) {
      return c10::str("'", tensor.name, "' normalises what a part adds to the stream");
    }
  }
  return {};
}

bool adds_to_stream(Role role) {
  return role == Role::OProj || role == Role::OBias || role == Role::DownProj ||
         role == Role::DownBias || role == Role::SharedDownProj;
}

void pass(const Decoder& decoder, int layer, const BlockWeights& weights, at::Device device,
          Hidden& stream) {
  for (at::Tensor& x : stream) {
    x = to_host(decoder.block(layer, weights, x.to(device)));
    check_interrupted();
  }
}

// Mean of ‖wanted‖ / ‖got‖ over the tokens.
double growth(const Hidden& wanted, const Hidden& got) {
  double sum = 0;
  int64_t tokens = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const at::Tensor ratio = at::linalg_vector_norm(wanted[i].to(at::kDouble), 2, {2}) /
                             at::linalg_vector_norm(got[i].to(at::kDouble), 2, {2});
    sum += ratio.sum().item<double>();
    tokens += ratio.numel();
  }
  const double mean = sum / static_cast<double>(tokens);
  PRUNUS_CHECK(std::isfinite(mean) && mean > 0, Numeric,
               "solver prune-comp: the stream behind layers that went is ", mean,
               " times as large as in front of them");
  return mean;
}

}  // namespace

void check_stream_scale(const Model& model) {
  const std::string why = scale_obstacle(model);
  PRUNUS_CHECK(why.empty(), Unsupported, "--solver prune-comp: the residual stream of this ",
               model.config().family->model_type, " cannot be scaled: ", why,
               "; --solver least-squares can be used");
}

std::vector<double> stream_scales(const Model& pruned, const Model& dense,
                                  const std::vector<int64_t>& dense_layers,
                                  const std::vector<TokenBatch>& rows, at::Device device) {
  check_two_streams(pruned, dense, dense_layers, rows, "solver prune-comp");
  check_stream_scale(dense);
  const at::NoGradGuard no_grad;
  const Decoder decoder(pruned.config());
  const Decoder dense_decoder(dense.config());
  Hidden stream = BlockStream(pruned, device).embed(rows);
  Hidden dense_stream = BlockStream(dense, device).embed(rows);
  std::vector<double> scales(dense_layers.size(), 1.0);
  Progress progress("solve: layers", dense.layer_count());
  LayerCursor kept(pruned, device);
  size_t next = 0;
  bool gap = false;
  const auto act = [&](int layer, BlockWeights& weights) {
    const bool stays = next < dense_layers.size() && dense_layers[next] == layer;
    if (stays && gap) {
      scales[next] = growth(dense_stream, stream);
      for (at::Tensor& x : stream) x.mul_(scales[next]);
    }
    if (stays) {
      const auto number = static_cast<int>(next++);
      pass(decoder, number, kept.open(number, -1), device, stream);
      kept.close();
    }
    gap = !stays;
    pass(dense_decoder, layer, weights, device, dense_stream);
    progress.step();
  };
  for_each_layer(dense, device, {0, dense.layer_count()}, LayerOrder::FirstToLast, act);
  return scales;
}

Model with_scaled_stream(const Model& model, const std::vector<double>& scales) {
  std::vector<double> factors;
  for (const double scale : scales) {
    factors.push_back((factors.empty() ? 1.0 : factors.back()) / scale);
  }
  return combined(model, [factors](const TensorInfo& tensor) {
    if (tensor.layer < 0 || !adds_to_stream(tensor.spec->role)) return WeightTerms();
    const double factor = factors[static_cast<size_t>(tensor.layer)];
    return factor == 1 ? WeightTerms() : WeightTerms{{factor, tensor}};
  });
}

}  // namespace prunus
