// Masks of wanda and ria against scores written out weight by weight in FP64.
#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ATen.h>

#include <gtest/gtest.h>

#include "prunus/pipeline/masks.h"
#include "prunus/pipeline/prune.h"

#include "support/expect_error.h"
#include "support/golden_models.h"
#include "support/paths.h"
#include "support/recorded_inputs.h"
#include "support/tiny_model.h"

namespace prunus::test::wanda_ria_test {
namespace {

using Table = std::vector<std::vector<double>>;

Table table_of(const at::Tensor& matrix) {
  Table table;
  for (int64_t i = 0; i < matrix.size(0); ++i) {
    table.emplace_back();
    for (int64_t j = 0; j < matrix.size(1); ++j)
      table.back().push_back(matrix[i][j].item<double>());
  }
  return table;
}

std::vector<double> norms_of(const at::Tensor& x) {
  std::vector<double> norms(static_cast<size_t>(x.size(1)));
  for (const auto& token : table_of(x)) {
    for (size_t j = 0; j < norms.size(); ++j) norms[j] += token[j] * token[j];
  }
  for (double& one : norms) one = std::sqrt(one);
  return norms;
}

Table wanda(const Table& weight, const std::vector<double>& norms) {
  Table scores = weight;
  for (auto& row : scores) {
    for (size_t j = 0; j < row.size(); ++j) row[j] = std::abs(row[j]) * norms[j];
  }
  return scores;
}

Table ria(const Table& weight, const std::vector<double>& norms) {
  std::vector<double> columns(weight[0].size());
  for (const auto& row : weight) {
    for (size_t j = 0; j < row.size(); ++j) columns[j] += std::abs(row[j]);
  }
  Table scores = weight;
  for (auto& row : scores) {
    double sum = 0;
    for (const double one : row) sum += std::abs(one);
    for (size_t j = 0; j < row.size(); ++j) {
      row[j] = std::abs(row[j]) * (1 / sum + 1 / columns[j]) * std::sqrt(norms[j]);
    }
  }
  return scores;
}

// The lowest of these places go.
void remove_lowest(const Table& scores, std::vector<std::pair<size_t, size_t>> places,
                   size_t removed, std::vector<std::vector<bool>>& kept) {
  std::stable_sort(places.begin(), places.end(), [&](const auto& a, const auto& b) {
    return scores[a.first][a.second] < scores[b.first][b.second];
  });
  for (size_t i = 0; i < removed; ++i) kept[places[i].first][places[i].second] = false;
}

// In groups of `rows` × `columns` weights, a share of each.
std::vector<std::vector<bool>> kept_of(const Table& scores, size_t rows, size_t columns,
                                       double share) {
  std::vector<std::vector<bool>> kept(scores.size(), std::vector<bool>(scores[0].size(), true));
  for (size_t r = 0; r < scores.size(); r += rows) {
    for (size_t c = 0; c < scores[0].size(); c += columns) {
      std::vector<std::pair<size_t, size_t>> places;
      for (size_t i = r; i < std::min(scores.size(), r + rows); ++i) {
        for (size_t j = c; j < std::min(scores[0].size(), c + columns); ++j)
          places.push_back({i, j});
      }
      const auto removed = static_cast<size_t>(static_cast<double>(places.size()) * share);
      remove_lowest(scores, places, removed, kept);
    }
  }
  return kept;
}

enum class Group { Row, Layer, TwoOfFour };

std::vector<std::vector<bool>> kept_of(const Table& scores, Group group) {
  switch (group) {
    case Group::Row:
      return kept_of(scores, 1, scores[0].size(), 0.6);
    case Group::Layer:
      return kept_of(scores, scores.size(), scores[0].size(), 0.6);
    case Group::TwoOfFour:
      return kept_of(scores, 1, 4, 0.5);
  }
  return {};
}

struct Case {
  const char* method;
  Table (*score)(const Table&, const std::vector<double>&);
  Group group;
  PruneOptions options;
};

void expect_masks(const Model& model, const std::vector<TokenBatch>& batches, const Case& one) {
  const TempDir folder;
  PruneOptions options = one.options;
  options.method = one.method;
  options.precision = at::kDouble;
  make_plan(model, {.calibration = [&](int64_t) { return batches; }, .mask_dir = folder.path()},
            options);
  const LayerFiles files = mask_files(model, folder.path());
  for (int layer = 0; layer < model.layer_count(); ++layer) {
    const TempDir prefix;  // masks of the layers in front of it alone
    for (int i = 0; i < layer; ++i) mask_files(model, prefix.path()).keep(i, files.restore(i));
    const RecordedInputs seen(masked(model, prefix.path()), batches);
    ASSERT_FALSE(files.restore(layer).empty());
    for (const OverlayTensor& mask : files.restore(layer)) {
      const Role role = mask.tensor->spec->role;
      const at::Tensor x = seen.input(layer, role);
      if (!x.defined()) continue;  // of experts: below
      const auto want =
          kept_of(one.score(table_of(model.source().read(*mask.tensor)), norms_of(x)), one.group);
      const at::Tensor kept = unpack_mask(mask.value, mask.tensor->shape[1]);
      for (size_t i = 0; i < want.size(); ++i) {
        for (size_t j = 0; j < want[i].size(); ++j) {
          ASSERT_EQ(kept[static_cast<int64_t>(i)][static_cast<int64_t>(j)].item<bool>(), want[i][j])
              << one.method << " " << mask.tensor->name << " " << i << " " << j;
        }
      }
    }
  }
}

TEST(WandaAndRia, MasksAreThoseOfScoresInDoublePrecision) {
  const Model model = tiny_model({.kv_heads = 2});
  const std::vector<TokenBatch> batches = {{random_ids(model, 2, 7, 1)},
                                           {random_ids(model, 1, 7, 2)}};
  for (const Case& one : {Case{"wanda", wanda, Group::Row, {.sparsity = 0.6}},
                          Case{"wanda", wanda, Group::Layer, {.sparsity = 0.6, .group = "layer"}},
                          Case{"wanda", wanda, Group::TwoOfFour, {.pattern = "2:4"}},
                          Case{"ria", ria, Group::Layer, {.sparsity = 0.6}},
                          Case{"ria", ria, Group::Row, {.sparsity = 0.6, .group = "row"}},
                          Case{"ria", ria, Group::TwoOfFour, {.pattern = "2:4"}}}) {
    expect_masks(model, batches, one);
  }
}

// Each expert's matrix by the tokens that chose it, shares of rows and columns its own.
TEST(WandaAndRia, JudgeEachExpertByItsOwnTokens) {
  const Model model = open_model(golden_dir("mixtral"));
  const std::vector<TokenBatch> batches = {{random_ids(model, 4, 16, 1)}};
  const RecordedInputs seen(model, batches);
  const TempDir folder;
  make_plan(model, {.calibration = [&](int64_t) { return batches; }, .mask_dir = folder.path()},
            {.method = "ria", .sparsity = 0.6, .precision = at::kDouble});
  const at::Tensor weight = model.source().read(model.tensor(Role::DownProj, 0));
  const auto experts = model.config().layers[0].experts;
  const int64_t width = weight.size(1) / experts;
  for (const OverlayTensor& mask : mask_files(model, folder.path()).restore(0)) {
    if (mask.tensor->spec->role != Role::DownProj) continue;
    const at::Tensor kept = unpack_mask(mask.value, weight.size(1));
    for (int64_t expert = 0; expert < experts; ++expert) {
      const auto want =
          kept_of(ria(table_of(weight.narrow(1, expert * width, width)),
                      norms_of(seen.input(0, Role::DownProj, static_cast<int>(expert)))),
                  Group::Layer);
      for (size_t i = 0; i < want.size(); ++i) {
        for (size_t j = 0; j < want[i].size(); ++j) {
          EXPECT_EQ(
              kept[static_cast<int64_t>(i)][expert * width + static_cast<int64_t>(j)].item<bool>(),
              want[i][j]);
        }
      }
    }
  }
}

TEST(WandaAndRia, AreForSingleWeights) {
  expect_error(ErrorKind::InvalidArgument, "it is for --structure weight",
               [] { resolve({.method = "ria", .structure = Structure::Block}, 2); });
  expect_error(ErrorKind::InvalidArgument, "drop --group",
               [] { resolve({.method = "wanda", .pattern = "2:4", .group = "row"}, 2); });
  expect_error(ErrorKind::InvalidArgument, "--pattern 2:4",
               [] { resolve({.method = "wanda", .group = "2:4"}, 2); });
}

}  // namespace
}  // namespace prunus::test::wanda_ria_test
