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

Generator::Generator(const Model& model, at::Device device, Residence where)
    : model_(model, device, where) {}

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
  std::vector<LayerCache> cache = model_.empty_cache();
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
  PRUNUS_CHECK(
      at::isfinite(logits).all().item<bool>(), Numeric,
      "logits are not finite; the weights are damaged or overflow in the dtype of the products");
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
