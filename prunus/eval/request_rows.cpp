#include "prunus/eval/request_rows.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include <ATen/ATen.h>

namespace prunus {
namespace {

// So that the activations of a row remain small, however many sequences begin alike.
constexpr int64_t kMaxTreePlaces = 2048;
// Branches go through attention together where padding adds at most a quarter to their pairs of
// query and key, or where these are so few that the calls cost more.
constexpr int64_t kFewPairs = 8192;

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

// A place costs about 24·hidden² operations in a layer's matrix products, a pair of query and key
// 4·hidden in attention, which runs at about a third of the speed. What is shared saves both; but
// a branch's attention is not the causal kind that leaves out half of its own pairs.
bool worth_joining(const ScoreRow& row, int64_t shared, int64_t inputs, int64_t hidden_size) {
  const int64_t added = inputs - shared;
  if (added == 0) return true;
  if (row.places + added > kMaxTreePlaces || 4 * shared < added) return false;
  return 2 * hidden_size * shared + shared * shared / 2 > added * added / 2;
}

// A run of places that continues a path of earlier ones.
struct Branch {
  std::vector<int64_t> path;  // places from the sequence's start, counted in all rows
  int64_t start = 0;          // position of the first that is the branch's own
  int64_t own() const { return static_cast<int64_t>(path.size()) - start; }
  int64_t length() const { return static_cast<int64_t>(path.size()); }
};

// Writes one row of a batch, member by member.
class RowWriter {
 public:
  RowWriter(ScoreBatch& batch, std::vector<int64_t>& scored, int64_t row)
      : batch_(batch), scored_(scored), begin_(row * batch.ids.size(1)) {
    scored_at_.assign(static_cast<size_t>(batch.ids.size(1)), -1);
    ids_ = batch.ids.mutable_data_ptr<int64_t>() + begin_;
    positions_ = batch.tree ? batch.tree->positions.mutable_data_ptr<int64_t>() + begin_ : nullptr;
  }

  void add(const CutRequest& request, const ScoreRow::Member& member) {
    const bool continues = branches_.empty() && member.shared == stem_;
    path_.resize(static_cast<size_t>(member.shared));
    for (int64_t depth = member.shared; depth < request.inputs(); ++depth) {
      add_place(request.id(depth), depth);
    }
    if (continues) {
      stem_ = used_;
    } else if (request.inputs() > member.shared) {
      branches_.push_back({path_, member.shared});
    }
    for (int64_t i = request.inputs() - request.scored(); i < request.inputs(); ++i) {
      batch_.targets.push_back(
          {member.request, scored(path_[static_cast<size_t>(i)]), request.id(i + 1)});
    }
  }

  int64_t stem() const { return stem_; }
  std::vector<Branch>& branches() { return branches_; }

 private:
  void add_place(int64_t id, int64_t depth) {
    const int64_t place = used_++;
    ids_[place] = id;
    if (positions_ != nullptr) positions_[place] = depth;
    path_.push_back(begin_ + place);
  }

  int64_t scored(int64_t place) {
    int64_t& index = scored_at_[static_cast<size_t>(place - begin_)];
    if (index < 0) {
      index = static_cast<int64_t>(scored_.size());
      scored_.push_back(place);
    }
    return index;
  }

  ScoreBatch& batch_;
  std::vector<int64_t>& scored_;
  int64_t begin_;
  int64_t used_ = 0;
  int64_t stem_ = 0;
  int64_t* ids_ = nullptr;
  int64_t* positions_ = nullptr;
  std::vector<int64_t> path_;       // places of the last member, by depth, counted in all rows
  std::vector<int64_t> scored_at_;  // position in scored_, or −1
  std::vector<Branch> branches_;
};

TokenTree::Branches padded(std::span<const Branch> branches) {
  const auto count = static_cast<int64_t>(branches.size());
  int64_t own = 0, length = 0;
  bool same_start = true;
  for (const Branch& branch : branches) {
    own = std::max(own, branch.own());
    length = std::max(length, branch.length());
    same_start = same_start && branch.start == branches.front().start;
  }
  TokenTree::Branches result;
  result.queries = at::empty({count, own}, at::kLong);
  result.keys = at::empty({count, length}, at::kLong);
  auto* queries = result.queries.mutable_data_ptr<int64_t>();
  auto* keys = result.keys.mutable_data_ptr<int64_t>();
  std::vector<int64_t> starts, lengths, filled;
  for (const Branch& branch : branches) {
    const int64_t row = static_cast<int64_t>(starts.size()) * own;
    for (int64_t i = 0; i < branch.own(); ++i) filled.push_back(row + i);
    queries = std::copy(branch.path.begin() + branch.start, branch.path.end(), queries);
    queries = std::fill_n(queries, own - branch.own(), branch.path.back());
    keys = std::copy(branch.path.begin(), branch.path.end(), keys);
    keys = std::fill_n(keys, length - branch.length(), branch.path.back());
    starts.push_back(branch.start);
    lengths.push_back(branch.length());
  }
  result.starts = at::tensor(starts, at::kLong);
  result.lengths = at::tensor(lengths, at::kLong);
  result.filled = at::tensor(filled, at::kLong);
  result.bias =
      causal_mask(same_start ? result.starts.narrow(0, 0, 1) : result.starts, own, length);
  return result;
}

std::vector<TokenTree::Branches> grouped(std::vector<Branch> branches) {
  std::stable_sort(branches.begin(), branches.end(), [](const Branch& a, const Branch& b) {
    return std::pair(a.own(), a.length()) > std::pair(b.own(), b.length());
  });
  std::vector<TokenTree::Branches> groups;
  for (size_t begin = 0; begin < branches.size();) {
    int64_t length = 0, pairs = 0;
    size_t end = begin;
    for (; end < branches.size(); ++end) {
      const int64_t longest = std::max(length, branches[end].length());
      const int64_t more = pairs + branches[end].own() * branches[end].length();
      const int64_t all = static_cast<int64_t>(end - begin + 1) * branches[begin].own() * longest;
      if (end > begin && all > kFewPairs && 4 * all > 5 * more) break;
      length = longest;
      pairs = more;
    }
    groups.push_back(padded(std::span(branches).subspan(begin, end - begin)));
    begin = end;
  }
  return groups;
}

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
    batch.tree.emplace();
    batch.tree->positions = at::zeros({count, length}, at::kLong);
  }
  std::vector<int64_t> scored;
  std::vector<Branch> branches;
  for (int64_t i = 0; i < count; ++i) {
    RowWriter writer(batch, scored, i);
    for (const ScoreRow::Member& member : rows[static_cast<size_t>(i)].members) {
      writer.add(requests[member.request], member);
    }
    if (batch.tree) batch.tree->stem = std::max(batch.tree->stem, writer.stem());
    std::move(writer.branches().begin(), writer.branches().end(), std::back_inserter(branches));
  }
  if (batch.tree) batch.tree->branches = grouped(std::move(branches));
  batch.scored = at::tensor(scored, at::kLong);
  return batch;
}

}  // namespace prunus
