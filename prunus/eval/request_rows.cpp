#include "prunus/eval/request_rows.h"

#include <algorithm>
#include <numeric>

#include <ATen/ATen.h>

namespace prunus {
namespace {

// Keeps a row's mask, of places² bytes, within 4 MiB (16 as the FP32 that attention makes of it).
constexpr int64_t kMaxTreePlaces = 2048;

int64_t common_inputs(const CutRequest& a, const CutRequest& b) {
  const int64_t shorter = std::min(a.inputs(), b.inputs());
  int64_t common = 0;
  while (common < shorter && a.id(common) == b.id(common)) ++common;
  return common;
}

bool dictionary_order(const CutRequest& a, const CutRequest& b) {
  const int64_t common = common_inputs(a, b);
  if (common == a.inputs() || common == b.inputs()) return a.inputs() < b.inputs();
  return a.id(common) < b.id(common);
}

// A place costs about 24·hidden² operations in a layer's matrix products, a pair of places
// 4·hidden in attention, which, small and masked, runs at about a third of the speed.
bool worth_joining(const ScoreRow& row, int64_t shared, int64_t inputs, int64_t hidden_size) {
  const int64_t added = inputs - shared;
  if (added == 0) return true;
  if (row.places + added > kMaxTreePlaces || 4 * shared < added) return false;
  const int64_t saved = 2 * hidden_size * shared + inputs * inputs;
  return saved > added * (2 * row.places + added);
}

// Writes one row of a batch, member by member.
class RowWriter {
 public:
  RowWriter(ScoreBatch& batch, std::vector<int64_t>& scored, int64_t row)
      : batch_(batch), scored_(scored), row_(row), length_(batch.ids.size(1)) {
    scored_at_.assign(static_cast<size_t>(length_), -1);
    ids_ = batch.ids.mutable_data_ptr<int64_t>() + row * length_;
    if (!batch.tree) return;
    positions_ = batch.tree->positions.mutable_data_ptr<int64_t>() + row * length_;
    visible_ = batch.tree->visible.mutable_data_ptr<bool>() + row * length_ * length_;
  }

  void add(const CutRequest& request, const ScoreRow::Member& member) {
    path_.resize(static_cast<size_t>(member.shared));
    for (int64_t depth = member.shared; depth < request.inputs(); ++depth) {
      add_place(request.id(depth), depth);
    }
    for (int64_t i = request.inputs() - request.scored(); i < request.inputs(); ++i) {
      batch_.targets.push_back(
          {member.request, scored(path_[static_cast<size_t>(i)]), request.id(i + 1)});
    }
  }

  // Attention of a place that sees nothing is not a number, so what is padded sees itself.
  void pad() {
    if (visible_ == nullptr) return;
    for (int64_t place = used_; place < length_; ++place) visible_[place * length_ + place] = true;
  }

 private:
  void add_place(int64_t id, int64_t depth) {
    const int64_t place = used_++;
    ids_[place] = id;
    if (visible_ != nullptr) {
      positions_[place] = depth;
      bool* row = visible_ + place * length_;
      // It sees what its parent sees, and itself.
      if (depth > 0) std::copy_n(visible_ + path_.back() * length_, path_.back() + 1, row);
      row[place] = true;
    }
    path_.push_back(place);
  }

  int64_t scored(int64_t place) {
    int64_t& index = scored_at_[static_cast<size_t>(place)];
    if (index < 0) {
      index = static_cast<int64_t>(scored_.size());
      scored_.push_back(row_ * length_ + place);
    }
    return index;
  }

  ScoreBatch& batch_;
  std::vector<int64_t>& scored_;
  int64_t row_;
  int64_t length_;
  int64_t used_ = 0;
  int64_t* ids_ = nullptr;
  int64_t* positions_ = nullptr;
  bool* visible_ = nullptr;
  std::vector<int64_t> path_;       // places of the last member, by depth
  std::vector<int64_t> scored_at_;  // position in scored_, or −1
};

}  // namespace

CutRequest::CutRequest(const ScoreRequest& request, int64_t context_size) : request_(&request) {
  const auto continuation = static_cast<int64_t>(request.continuation.size());
  const int64_t total = static_cast<int64_t>(request.context.size()) + continuation;
  skipped_ = std::max<int64_t>(0, total - context_size - 1);
  inputs_ = total - skipped_ - 1;
  scored_ = std::min(continuation, inputs_);
}

int64_t CutRequest::id(int64_t place) const {
  const auto index = static_cast<size_t>(skipped_ + place);
  const size_t split = request_->context.size();
  return index < split ? request_->context[index] : request_->continuation[index - split];
}

std::vector<ScoreRow> make_score_rows(std::span<const CutRequest> requests, int64_t hidden_size) {
  std::vector<size_t> order(requests.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return dictionary_order(requests[a], requests[b]); });
  std::vector<ScoreRow> rows;
  for (size_t i = 0; i < order.size(); ++i) {
    const CutRequest& request = requests[order[i]];
    const int64_t before = i == 0 ? 0 : requests[order[i - 1]].inputs();
    const int64_t shared = i == 0 ? 0 : common_inputs(requests[order[i - 1]], request);
    if (i == 0 || !worth_joining(rows.back(), shared, request.inputs(), hidden_size)) {
      rows.push_back({{{order[i], 0}}, request.inputs(), true});
      continue;
    }
    ScoreRow& row = rows.back();
    row.members.push_back({order[i], shared});
    row.places += request.inputs() - shared;
    row.plain = row.plain && shared == before;
  }
  return rows;
}

ScoreBatch make_score_batch(std::span<const CutRequest> requests, std::span<const ScoreRow> rows) {
  const auto count = static_cast<int64_t>(rows.size());
  int64_t length = 0;
  for (const ScoreRow& row : rows) length = std::max(length, row.places);
  ScoreBatch batch;
  batch.ids = at::zeros({count, length}, at::kLong);  // causal attention hides what is padded
  if (!rows.front().plain) {
    batch.tree = TokenTree{at::zeros({count, length}, at::kLong),
                           at::zeros({count, 1, length, length}, at::kBool)};
  }
  std::vector<int64_t> scored;
  for (int64_t i = 0; i < count; ++i) {
    RowWriter writer(batch, scored, i);
    for (const ScoreRow::Member& member : rows[static_cast<size_t>(i)].members) {
      writer.add(requests[member.request], member);
    }
    writer.pad();
  }
  batch.scored = at::tensor(scored, at::kLong);
  return batch;
}

}  // namespace prunus
