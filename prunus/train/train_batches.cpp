// Which rows a step takes, and rows as padded tensors (declared in train_data.h).
#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>

#include "prunus/base/error.h"
#include "prunus/base/rng.h"
#include "prunus/train/train_data.h"

namespace prunus {
namespace {

TrainBatch pad(const std::vector<const TrainRow*>& rows) {
  const auto count = static_cast<int64_t>(rows.size());
  size_t longest = 0;
  for (const TrainRow* row : rows) longest = std::max(longest, row->ids.size());
  TrainBatch batch{.ids = at::zeros({count, static_cast<int64_t>(longest)}, at::kLong),
                   .scored = at::zeros({count, static_cast<int64_t>(longest)}, at::kBool)};
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto& [ids, scored] = *rows[i];
    TORCH_INTERNAL_ASSERT(ids.size() == scored.size() && !ids.empty() && scored.front() == 0);
    std::copy(ids.begin(), ids.end(), batch.ids.data_ptr<int64_t>() + i * longest);
    std::transform(scored.begin(), scored.end(), batch.scored.data_ptr<bool>() + i * longest,
                   [](uint8_t one) { return one != 0; });
    batch.targets += std::count_if(scored.begin(), scored.end(), [](uint8_t one) { return one; });
  }
  return batch;
}

}  // namespace

RowOrder::RowOrder(int64_t rows, int64_t per_step, uint64_t seed)
    : rows_(rows), per_step_(per_step), seed_(seed) {
  PRUNUS_CHECK(rows >= 1, InvalidArgument, "training data: got ", rows,
               " rows, expected at least 1");
  PRUNUS_CHECK(per_step >= 1, InvalidArgument, "rows a step: got ", per_step,
               ", expected at least 1");
}

std::vector<int64_t> RowOrder::rows_of(int64_t step) const {
  TORCH_INTERNAL_ASSERT(step >= 0);
  std::vector<int64_t> rows;
  for (int64_t place = step * per_step_; place < (step + 1) * per_step_; ++place) {
    if (const int64_t epoch = place / rows_; epoch != epoch_) {
      order_.resize(static_cast<size_t>(rows_));
      std::iota(order_.begin(), order_.end(), int64_t{0});
      PythonRandom(splitmix64(seed_, static_cast<uint64_t>(epoch))).shuffle(order_);
      epoch_ = epoch;
    }
    rows.push_back(order_[static_cast<size_t>(place % rows_)]);
  }
  return rows;
}

std::vector<TrainBatch> make_train_batches(const std::vector<TrainRow>& rows,
                                           const std::vector<int64_t>& numbers,
                                           int64_t micro_rows) {
  PRUNUS_CHECK(micro_rows >= 1, InvalidArgument, "rows at a time: got ", micro_rows,
               ", expected at least 1");
  std::vector<const TrainRow*> chosen;
  chosen.reserve(numbers.size());
  for (const int64_t number : numbers) {
    PRUNUS_CHECK(number >= 0 && number < static_cast<int64_t>(rows.size()), InvalidArgument,
                 "training row ", number, " of ", rows.size());
    chosen.push_back(&rows[static_cast<size_t>(number)]);
  }
  std::stable_sort(chosen.begin(), chosen.end(), [](const TrainRow* a, const TrainRow* b) {
    return a->ids.size() > b->ids.size();
  });
  std::vector<TrainBatch> batches;
  for (size_t begin = 0; begin < chosen.size();) {
    const size_t count = std::min(static_cast<size_t>(micro_rows), chosen.size() - begin);
    const auto first = chosen.begin() + static_cast<std::ptrdiff_t>(begin);
    batches.push_back(pad({first, first + static_cast<std::ptrdiff_t>(count)}));
    begin += count;
  }
  return batches;
}

}  // namespace prunus
