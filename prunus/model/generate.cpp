#include "prunus/model/generate.h"

#include <algorithm>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/model/positions.h"

namespace prunus {
namespace {

void check_options(const GenerateOptions& options) {
  PRUNUS_CHECK(options.max_tokens >= 1, InvalidArgument, "--max-tokens ", options.max_tokens,
               ", expected 1 or more");
  PRUNUS_CHECK(options.temperature >= 0, InvalidArgument, "--temperature ", options.temperature,
               ", expected 0 or more");
  PRUNUS_CHECK(options.top_p > 0 && options.top_p <= 1, InvalidArgument, "--top-p ", options.top_p,
               ", expected above 0 and at most 1");
}

}  // namespace

at::Tensor WeightDtypeTap::linear(Role, const at::Tensor& input, const at::Tensor& weight,
                                  const at::Tensor& bias) {
  const at::Tensor x = input.to(weight.scalar_type());
  return bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
}

ResidentModel::ResidentModel(const Model& model, at::Device device, at::ScalarType dtype)
    : model_(model), device_(device) {
  model_.set_precision(dtype);
  Progress progress("load: layers", model_.layer_count());
  for (int layer = 0; layer < model_.layer_count(); ++layer) {
    blocks_.push_back(model_.load_block(layer, device));
    progress.step();
  }
  norm_.emplace(model_, device);
  embedding_end_.emplace(model_, device);
  head_ = model_.load(model_.tensor(Role::LmHead), device);
  projection_ = norm_->head_rows(head_);
  if (config().tie_word_embeddings) {
    embedding_ = head_;
  } else if (!device.is_cpu()) {
    embedding_ = model_.load(model_.tensor(Role::EmbedTokens), device);
  }
}

at::Tensor ResidentModel::embedded(const at::Tensor& ids, int64_t position) const {
  const at::Tensor places = at::arange(position, position + ids.size(1), at::kLong).unsqueeze(0);
  if (!embedding_.defined()) {
    return embedding_end_->finish(embedding_rows(model_, ids, device_), places).to(at::kFloat);
  }
  if (ids.device().is_cpu()) {
    const auto low = ids.min().item<int64_t>();
    const auto high = ids.max().item<int64_t>();
    PRUNUS_CHECK(low >= 0 && high < config().vocab_size, InvalidArgument, "token id ",
                 low < 0 ? low : high, " is outside the model's vocabulary of ",
                 config().vocab_size, "; does the tokenizer belong to this model?");
  }
  const at::Tensor rows = embedding_.index_select(0, ids.flatten().to(device_));
  return embedding_end_->finish(rows.to(at::kFloat).view({ids.size(0), ids.size(1), -1}), places)
      .to(at::kFloat);
}

at::Tensor ResidentModel::next_logits(const at::Tensor& ids, int64_t position,
                                      std::vector<LayerCache>& cache, LinearTap* tap) const {
  const Decoder decoder(config());
  WeightDtypeTap casting;
  if (tap == nullptr && dtype() != at::kFloat) tap = &casting;
  at::Tensor hidden = embedded(ids, position);
  for (int layer = 0; layer < layer_count(); ++layer) {
    const auto at = static_cast<size_t>(layer);
    hidden = decoder.block(layer, blocks_[at], hidden, tap, &cache[at], position);
  }
  const at::Tensor last = hidden.select(1, hidden.size(1) - 1);
  const at::Tensor normed = norm_->scaled(norm_->normalised(last), tap);
  at::Tensor logits = tap == nullptr ? at::linear(normed, projection_)
                                     : tap->linear(Role::LmHead, normed, projection_, {});
  logits = logits.to(at::kFloat);
  norm_->cap(logits);
  return logits;
}

int64_t ResidentModel::step_bytes() const {
  int64_t bytes = norm_->bytes() + static_cast<int64_t>(head_.nbytes());
  for (const BlockWeights& block : blocks_) {
    for (int role = 0; role < kRoleCount; ++role) {
      const at::Tensor& weight = block[static_cast<Role>(role)];
      if (weight.defined()) bytes += static_cast<int64_t>(weight.nbytes());
    }
  }
  return bytes;
}

int64_t ResidentModel::bytes() const {
  const bool apart = embedding_.defined() && !config().tie_word_embeddings;
  return step_bytes() + embedding_end_->bytes() +
         (apart ? static_cast<int64_t>(embedding_.nbytes()) : 0);
}

Generator::Generator(const Model& model, at::Device device) : model_(model, device) {}

std::vector<int64_t> Generator::generate(const std::vector<int64_t>& prompt,
                                         const GenerateOptions& options,
                                         const std::function<void(int64_t)>& on_token) {
  check_options(options);
  PRUNUS_CHECK(!prompt.empty(), InvalidArgument, "the prompt has no tokens");
  const auto next_logits = [&](const std::vector<int64_t>& ids, int64_t at,
                               std::vector<LayerCache>& kept) {
    return model_.next_logits(at::tensor(ids, at::kLong).unsqueeze(0), at, kept).squeeze(0).cpu();
  };
  const int64_t context = longest_sequence(model_.config());
  auto position = static_cast<int64_t>(prompt.size());
  PRUNUS_CHECK(position <= context, InvalidArgument, "the prompt has ", position,
               " tokens, the model's context ends at ", context);
  const at::NoGradGuard no_grad;
  PythonRandom random(options.seed);
  std::vector<LayerCache> cache(static_cast<size_t>(model_.layer_count()));
  std::vector<int64_t> out;
  at::Tensor logits = next_logits(prompt, 0, cache);
  while (true) {
    check_interrupted();
    const int64_t token = sample_token(logits, options, random);
    out.push_back(token);
    if (on_token) on_token(token);
    if (std::count(options.stop_ids.begin(), options.stop_ids.end(), token) > 0) return out;
    if (static_cast<int64_t>(out.size()) == options.max_tokens || position == context) return out;
    logits = next_logits({token}, position++, cache);
  }
}

int64_t sample_token(const at::Tensor& logits, const GenerateOptions& options,
                     PythonRandom& random) {
  PRUNUS_CHECK(at::isfinite(logits).all().item<bool>(), Numeric,
               "logits are not finite; the weights are damaged or overflow in FP32");
  if (options.temperature == 0) return logits.argmax().item<int64_t>();
  const at::Tensor scaled = logits.to(at::kDouble) / options.temperature;
  const auto [sorted, ids] = at::softmax(scaled, 0).sort(0, true);
  const double* mass = sorted.const_data_ptr<double>();
  int64_t count = 0;
  double total = 0;
  while (count < sorted.numel() && (count == 0 || total < options.top_p)) total += mass[count++];
  double draw = random.uniform() * total;
  int64_t pick = 0;
  while (pick + 1 < count && draw >= mass[pick]) draw -= mass[pick++];
  return ids[pick].item<int64_t>();
}

}  // namespace prunus
