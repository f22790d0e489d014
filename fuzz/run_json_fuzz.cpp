// What `prunus compare` reads: run.json, or the output of eval and bench.
#include <nlohmann/json.hpp>

#include "prunus/cli/compare_table.h"

#include "fuzz/target.h"

PRUNUS_FUZZ_TARGET(text) {
  using namespace prunus;
  CompareTable table;
  add_argument(table, fuzz::scratch_file("run.json", text));
  table.add_shares();
  table.text();
  table.markdown();
  table.csv();
  table.json().dump();
}
