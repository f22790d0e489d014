#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/eval/request.h"
#include "prunus/model/decoder.h"

namespace prunus {

/// What of a request goes through the model: of context and continuation the last context_size + 1
/// ids, all but the last of which are input. The last scored() of them are predicted.
/// Source: lm-evaluation-harness, models/huggingface.py, _loglikelihood_tokens. Differs: there a
/// continuation longer than the context is an error, here it loses its beginning too.
/// Refers to the request, which must outlive it.
class CutRequest {
 public:
  CutRequest(const ScoreRequest& request, int64_t context_size);
  int64_t inputs() const { return inputs_; }
  int64_t scored() const { return scored_; }
  /// 0 … inputs(): the last is predicted only.
  int64_t id(int64_t place) const;

 private:
  const ScoreRequest* request_;
  int64_t skipped_ = 0;
  int64_t inputs_ = 0;
  int64_t scored_ = 0;
};

/// Requests whose inputs begin alike, in one row of a batch, as a tree of ids.
struct ScoreRow {
  struct Member {
    size_t request = 0;
    int64_t shared = 0;  ///< leading inputs that are those of the member before, hence not repeated
  };
  std::vector<Member> members;
  int64_t places = 0;  ///< ids in the row
  bool plain = true;   ///< one sequence and its beginnings: plain causal attention will do
};

/// Lays requests out in rows. Inputs are sorted as words in a dictionary; one joins the row of its
/// neighbour where the ids this saves cost more than the attention it spends on pairs that it
/// masks. Depends on the requests and hidden_size only. Cost: n·log n comparisons.
std::vector<ScoreRow> make_score_rows(std::span<const CutRequest> requests, int64_t hidden_size);

/// Rows that go through the model together, padded to the longest.
struct ScoreBatch {
  struct Target {
    size_t request = 0;
    int64_t place = 0;  ///< position in `scored`
    int64_t id = 0;     ///< to be predicted there
  };
  at::Tensor ids;                 ///< int64 [rows, places]
  std::optional<TokenTree> tree;  ///< none: every row is plain
  at::Tensor scored;              ///< int64 [n]: the places that predict, in ids.flatten()
  std::vector<Target> targets;    ///< a request's follow each other
};

/// Puts rows into one batch; all of them plain, or none.
ScoreBatch make_score_batch(std::span<const CutRequest> requests, std::span<const ScoreRow> rows);

}  // namespace prunus
