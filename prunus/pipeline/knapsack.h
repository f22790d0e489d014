#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace prunus {

/// One of the things that a unit may become.
struct KnapsackLevel {
  int64_t weight = 0;  ///< ≥ 0
  double cost = 0;
};

/// The level of each unit, one of each, such that the weights together are at most `capacity` and
/// the costs together least: the multiple-choice knapsack problem. Exact up to `bins`: weights are
/// rounded up to multiples of capacity / bins, so that the capacity always holds; with weights that
/// are such multiples the result is optimal. Equal costs: the heavier level.
/// Throws InvalidArgument where the lightest levels together are too heavy, saying by how much.
std::vector<size_t> solve_knapsack(const std::vector<std::vector<KnapsackLevel>>& units,
                                   int64_t capacity, int64_t bins = 20'000);

}  // namespace prunus
