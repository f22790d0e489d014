#include "prunus/text/reference_windows.h"

#include <algorithm>
#include <string_view>

#include "prunus/base/error.h"
#include "prunus/base/rng.h"
#include "prunus/text/dataset.h"
#include "prunus/text/tokenizer.h"

namespace prunus {
namespace {

// The rows of one call. A row that is drawn is used at once or never, so each is looked at once.
class RowPool {
 public:
  RowPool(size_t rows, const RowIds& ids_of_row, const WindowCounts& counts)
      : ids_of_row_(ids_of_row), counts_(counts), drawn_(rows, false), fresh_(rows) {}

  // The ids of the next row that is fresh and long enough.
  std::vector<int64_t> draw(PythonRandom& random) {
    while (true) {
      PRUNUS_CHECK(fresh_ > 0, InvalidArgument, "calibration text: ", used_, " of its ",
                   drawn_.size(), " rows have ", counts_.tokens, " tokens or more, but ",
                   counts_.samples,
                   " rows are needed (one a window); lower --calib-samples or --calib-tokens, or "
                   "give text with more long rows");
      const size_t row = random.below(drawn_.size());
      if (drawn_[row]) continue;
      drawn_[row] = true;
      --fresh_;
      auto ids = ids_of_row_(row);
      if (ids.size() < static_cast<size_t>(counts_.tokens)) continue;
      ++used_;
      return ids;
    }
  }

 private:
  const RowIds& ids_of_row_;
  WindowCounts counts_;
  std::vector<bool> drawn_;
  size_t fresh_;
  size_t used_ = 0;
};

std::vector<std::string> lines_with_text(std::string_view content) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    std::string_view line = content.substr(at, end - at);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t\r") != line.npos) lines.emplace_back(line);
    at = end + 1;
  }
  return lines;
}

}  // namespace

std::vector<std::string> read_rows(const TextFile& file) {
  auto rows = documents_of(file);
  if (!file.is_json()) rows = lines_with_text(rows.front());
  PRUNUS_CHECK(!rows.empty(), Corrupt, file.path, ": holds no text");
  return rows;
}

std::vector<std::vector<int64_t>> sample_reference_windows(size_t rows, const RowIds& ids_of_row,
                                                           const WindowCounts& counts,
                                                           PythonRandom& random) {
  PRUNUS_CHECK(counts.samples >= 1, InvalidArgument, "calibration samples: got ", counts.samples,
               ", expected at least 1");
  PRUNUS_CHECK(counts.tokens >= 2 && counts.tokens <= kMaxWindowTokens, InvalidArgument,
               "calibration tokens: got ", counts.tokens, ", expected 2 to ", kMaxWindowTokens);
  const auto tokens = static_cast<size_t>(counts.tokens);
  RowPool pool(rows, ids_of_row, counts);
  std::vector<std::vector<int64_t>> windows;
  for (int64_t i = 0; i < counts.samples; ++i) {
    const auto ids = pool.draw(random);
    const auto first =
        ids.begin() + static_cast<std::ptrdiff_t>(random.below(ids.size() - tokens + 1));
    windows.emplace_back(first, first + static_cast<std::ptrdiff_t>(tokens));
  }
  return windows;
}

std::vector<std::vector<int64_t>> sample_reference_windows(const Tokenizer& tokenizer,
                                                           const std::vector<std::string>& rows,
                                                           const WindowCounts& counts,
                                                           PythonRandom& random) {
  const RowIds ids_of_row = [&](size_t row) {
    auto ids = tokenizer.encode(rows[row]);
    const auto start = tokenizer.document_start();
    ids.insert(ids.begin(), start.begin(), start.end());
    return ids;
  };
  return sample_reference_windows(rows.size(), ids_of_row, counts, random);
}

}  // namespace prunus
