#include "prunus/model/added_biases.h"

#include <algorithm>
#include <memory>
#include <string>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/model/layout.h"
#include "prunus/model/overlay.h"

namespace prunus {
namespace {

// A model's weights and biases of zeros that it lacks, by their roles.
class ZeroBiases : public WeightSource {
 public:
  ZeroBiases(Model model, std::set<Role> added)
      : model_(std::move(model)), added_(std::move(added)) {}

  at::Tensor read(const TensorInfo& tensor) const override {
    return adds(tensor) ? at::zeros(tensor.shape, dtype(tensor)) : base().read(tensor);
  }
  at::Tensor read_rows(const TensorInfo& tensor, int64_t begin, int64_t count) const override {
    return adds(tensor) ? WeightSource::read_rows(tensor, begin, count)
                        : base().read_rows(tensor, begin, count);
  }
  at::Tensor select_rows(const TensorInfo& tensor, const at::Tensor& rows) const override {
    return adds(tensor) ? WeightSource::select_rows(tensor, rows)
                        : base().select_rows(tensor, rows);
  }
  bool has(const TensorInfo& tensor) const override { return adds(tensor) || base().has(tensor); }
  at::ScalarType dtype(const TensorInfo& tensor) const override {
    return base().dtype(adds(tensor) ? weight_of(tensor) : tensor);
  }
  void prefetch(const TensorInfo& tensor) const override {
    if (!adds(tensor)) base().prefetch(tensor);
  }
  void release(const TensorInfo& tensor) const override {
    if (!adds(tensor)) base().release(tensor);
  }

 private:
  const WeightSource& base() const { return model_.source(); }
  bool adds(const TensorInfo& tensor) const { return added_.contains(tensor.spec->role); }
  const TensorInfo& weight_of(const TensorInfo& bias) const {
    return model_.tensor(*projection_of(bias.spec->role), bias.layer);
  }

  Model model_;
  std::set<Role> added_;
};

Role checked_bias(Role projection) {
  const std::optional<Role> bias = bias_of(projection);
  PRUNUS_CHECK(bias, InvalidArgument, "a bias of ", role_name(projection),
               " was asked for; the decoder adds biases to q_proj, k_proj, v_proj, o_proj, "
               "gate_proj, up_proj and down_proj");
  return *bias;
}

bool is_of_experts(const TensorInfo& tensor) { return tensor.stored.experts > 0; }

void check_projection(const Model& model, Role projection) {
  checked_bias(projection);
  bool found = false;
  for (const TensorInfo& tensor : model.tensors()) {
    found = found || (tensor.spec->role == projection && !is_of_experts(tensor));
  }
  PRUNUS_CHECK(found, Unsupported, "a bias of ", role_name(projection), " in a ",
               model.config().family->model_type,
               " was asked for; it is that of experts in every layer, and experts have no biases. "
               "Attention can have one (o_proj)");
}

void check_value(const Model& model, const BiasPlace& place, const at::Tensor& value) {
  const std::string what =
      c10::str("bias of ", role_name(place.projection), " in layer ", place.layer);
  PRUNUS_CHECK(place.layer >= 0 && place.layer < model.layer_count(), InvalidArgument, what,
               ": the model has layers 0 to ", model.layer_count() - 1);
  checked_bias(place.projection);
  const TensorInfo& weight = model.tensor(place.projection, place.layer);
  PRUNUS_CHECK(!is_of_experts(weight), Unsupported, what, ": this layer has ",
               weight.stored.experts, " experts, and experts have no biases; leave the place out");
  PRUNUS_CHECK(value.defined() && value.is_floating_point(), InvalidArgument, what,
               ": expected a tensor of floating-point numbers");
  PRUNUS_CHECK(value.sizes() == c10::IntArrayRef({weight.shape[0]}), InvalidArgument, what,
               ": shape ", value.sizes(), ", expected [", weight.shape[0], "], the rows of '",
               weight.name, "'");
}

// What is new against stock software's reading it.
void warn(const ModelConfig& before, const ModelConfig& after) {
  const std::vector<std::string> known = stock_obstacles(before);
  std::string news;
  for (const std::string& one : stock_obstacles(after)) {
    if (std::find(known.begin(), known.end(), one) != known.end()) continue;
    news += (news.empty() ? "" : "; ") + one;
  }
  if (news.empty()) return;
  log_warning(
      c10::str("only Prunus will read what is written, since the stock class of model_type "
               "'",
               after.family->model_type, "' has no place for ", news));
}

// The bias that is there and the one given, in the dtype of the former.
at::Tensor sum(const Model& model, const TensorInfo& bias, const at::Tensor& given) {
  const at::ScalarType dtype = model.source().dtype(bias);
  const at::Tensor exact =
      model.source().read(bias).to(at::kDouble) + given.detach().to(at::kCPU, at::kDouble);
  model.source().release(bias);
  const at::Tensor rounded = exact.to(dtype);
  PRUNUS_CHECK(at::isfinite(rounded).all().item<bool>(), Numeric, "'", bias.name,
               "': the bias holds values that are not finite in ", dtype, "; the largest is ",
               exact.abs().max().item<double>());
  return rounded;
}

Model with_source(const Model& model, ModelConfig config,
                  std::shared_ptr<const WeightSource> source) {
  Model changed(std::move(config), std::move(source));
  changed.set_precision(model.precision());
  return changed;
}

}  // namespace

Model with_zero_biases(const Model& model, const std::set<Role>& projections) {
  std::set<Role> asked;
  for (const Role projection : projections) {
    check_projection(model, projection);
    asked.insert(checked_bias(projection));
  }
  ModelConfig config = model.config();
  std::set<Role> added;
  for (const Role bias : with_added_biases(config, asked)) {
    if (config.biases.insert(bias).second) added.insert(bias);
  }
  if (added.empty()) return model;
  warn(model.config(), config);
  return with_source(model, std::move(config),
                     std::make_shared<ZeroBiases>(model, std::move(added)));
}

Model with_biases(const Model& model, const std::map<BiasPlace, at::Tensor>& biases) {
  std::set<Role> projections;
  for (const auto& [place, value] : biases) {
    check_value(model, place, value);
    projections.insert(place.projection);
  }
  const Model room = with_zero_biases(model, projections);
  std::map<std::string, at::Tensor> sums;
  for (const auto& [place, value] : biases) {
    const TensorInfo& bias = room.tensor(*bias_of(place.projection), place.layer);
    sums[bias.name] = sum(room, bias, value);
  }
  return with_source(room, room.config(),
                     std::make_shared<OverlaySource>(room.shared_source(), std::move(sums)));
}

}  // namespace prunus
