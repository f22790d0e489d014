#pragma once
// A job with an option of every kind, for tests of tables and recipes.
#include <optional>
#include <string>
#include <vector>

#include "prunus/base/option.h"

namespace prunus::test {

enum class Fruit { Plum, Pear };

struct Pie {
  std::string model;
  Fruit fruit = Fruit::Plum;
  int64_t slices = 8;
  struct {
    double sugar = 0.5;
  } inside;
  std::optional<double> salt;
  std::optional<int64_t> heat;
  uint64_t seed = 0;
  bool cream = false;
  bool warm = true;
  std::string note;
  std::vector<int64_t> sizes = {1, 2};
  std::vector<std::string> guests;
  std::string baker;
  std::string recipe;
};

extern const OptionTable<Pie> pie_table;

}  // namespace prunus::test
