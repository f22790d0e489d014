#include "prunus/train/self_data.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "prunus/base/error.h"
#include "prunus/base/progress.h"
#include "prunus/base/rng.h"
#include "prunus/model/resident_model.h"

namespace prunus {
namespace {

void check_options(const SelfDataOptions& options, const ModelConfig& config) {
  PRUNUS_CHECK(options.rows >= 1, InvalidArgument, "generated rows: got ", options.rows,
               ", expected at least 1");
  PRUNUS_CHECK(options.row_tokens >= 2 && options.row_tokens <= config.max_position_embeddings,
               InvalidArgument, "generated row tokens: got ", options.row_tokens,
               ", expected 2 to the model's context of ", config.max_position_embeddings);
  PRUNUS_CHECK(options.temperature > 0 && std::isfinite(options.temperature), InvalidArgument,
               "temperature of generated rows: got ", options.temperature, ", expected above 0");
  PRUNUS_CHECK(options.batch_rows >= 1, InvalidArgument, "rows generated at a time: got ",
               options.batch_rows, ", expected at least 1");
}

// What stands at the beginning of a text.
struct Marks {
  std::optional<int64_t> first;  // in front of a row; nothing: any id
  std::optional<int64_t> end;    // after this one ...
  std::optional<int64_t> next;   // ... this one follows for certain
};

Marks marks_of(const Tokenizer& tokenizer, int64_t vocab_size) {
  const auto bos = tokenizer.bos_id();
  const auto eos = tokenizer.eos_id();
  for (const auto& id : {bos, eos}) {
    PRUNUS_CHECK(!id || *id < vocab_size, InvalidArgument, "the tokenizer's special id ", *id,
                 " is outside the model's vocabulary of ", vocab_size,
                 "; does the tokenizer belong to this model?");
  }
  Marks marks{.first = bos ? bos : eos, .end = {}, .next = {}};
  // One id for both, as in GPT-2, begins the new text itself.
  if (bos && eos && *bos != *eos) {
    marks.end = eos;
    marks.next = bos;
  }
  return marks;
}

// All random numbers of some rows: first ids int64 [rows], then a number in [0, 1) for every later
// place, FP64 [rows, places]. One that is not needed is drawn too, so that no place depends on ids.
struct Draws {
  at::Tensor first;
  at::Tensor uniform;
};

Draws draw_numbers(int64_t begin, int64_t rows, const SelfDataOptions& options,
                   int64_t vocab_size) {
  const int64_t places = options.row_tokens - 1;
  Draws draws{at::empty({rows}, at::kLong), at::empty({rows, places}, at::kDouble)};
  double* uniform = draws.uniform.data_ptr<double>();
  for (int64_t row = 0; row < rows; ++row) {
    PythonRandom random(splitmix64(options.seed, static_cast<uint64_t>(begin + row)));
    draws.first.data_ptr<int64_t>()[row] =
        static_cast<int64_t>(random.below(static_cast<uint64_t>(vocab_size)));
    for (int64_t place = 0; place < places; ++place) *uniform++ = random.uniform();
  }
  return draws;
}

// The first id whose cumulated probability exceeds the row's number. logits [rows, vocab];
// uniform FP64 [rows] on the same device → int64 [rows] there.
at::Tensor sample_rows(const at::Tensor& logits, const at::Tensor& uniform, double temperature) {
  const at::Tensor wide = logits.to(at::kDouble);
  // In FP64 no sum of finite FP32 numbers overflows, so this one shows any that is not.
  PRUNUS_CHECK(
      std::isfinite(wide.sum().item<double>()), Numeric,
      "generated rows: logits are not finite; the weights are damaged or overflow in FP32");
  // Nothing above 0 is left to divide, so a small temperature cannot overflow.
  const at::Tensor mass = ((wide - wide.amax(1, true)) / temperature).exp_().cumsum(1);
  const at::Tensor place = uniform.unsqueeze(1) * mass.narrow(1, mass.size(1) - 1, 1);
  const at::Tensor ids = at::searchsorted(mass, place, /*out_int32=*/false, /*right=*/true);
  return ids.squeeze(1).clamp_max(mass.size(1) - 1);
}

// Rows sampled side by side: int64 [rows, row_tokens].
at::Tensor sample_ids(const ResidentModel& model, const Draws& draws, const Marks& marks,
                      double temperature, Progress& progress) {
  const int64_t rows = draws.uniform.size(0);
  const int64_t places = draws.uniform.size(1);
  const at::Tensor uniform = draws.uniform.to(model.device());
  at::Tensor ids = at::empty({rows, places + 1}, at::kLong);
  ids.select(1, 0).copy_(marks.first ? at::full({rows}, *marks.first, at::kLong) : draws.first);
  std::vector<LayerCache> cache = model.empty_cache();
  for (int64_t place = 0; place < places; ++place) {
    const at::Tensor last = ids.select(1, place);
    const at::Tensor logits = model.next_logits(last.unsqueeze(1), place, cache);
    at::Tensor next = sample_rows(logits, uniform.select(1, place), temperature).cpu();
    if (marks.next) next.masked_fill_(last == *marks.end, *marks.next);
    ids.select(1, place + 1).copy_(next);
    progress.step(rows);
  }
  return ids;
}

void append_rows(const at::Tensor& ids, std::vector<TrainRow>& rows) {
  const auto tokens = static_cast<size_t>(ids.size(1));
  const int64_t* from = ids.const_data_ptr<int64_t>();
  for (int64_t row = 0; row < ids.size(0); ++row, from += tokens) {
    rows.push_back({.ids = {from, from + tokens}, .scored = std::vector<uint8_t>(tokens, 1)});
    rows.back().scored.front() = 0;
  }
}

}  // namespace

std::vector<TrainRow> generate_rows(const Model& model, const Tokenizer& tokenizer,
                                    at::Device device, const SelfDataOptions& options) {
  const int64_t vocab_size = model.config().vocab_size;
  check_options(options, model.config());
  const Marks marks = marks_of(tokenizer, vocab_size);
  const at::NoGradGuard no_grad;
  const ResidentModel resident(model, device);
  Progress progress("generate: tokens", options.rows * (options.row_tokens - 1));
  std::vector<TrainRow> rows;
  while (static_cast<int64_t>(rows.size()) < options.rows) {
    const auto begin = static_cast<int64_t>(rows.size());
    const int64_t count = std::min(options.batch_rows, options.rows - begin);
    const Draws draws = draw_numbers(begin, count, options, vocab_size);
    append_rows(sample_ids(resident, draws, marks, options.temperature, progress), rows);
  }
  return rows;
}

}  // namespace prunus
