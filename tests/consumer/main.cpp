// consumer MODEL OUT: removes a quarter of the heads and channels of a model.
#include <iostream>
#include <prunus/pipeline/run.h>

#include <nlohmann/json.hpp>

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  prunus::PruneJob job{.model_dir = argv[1], .out_dir = argv[2]};
  job.calib_file = std::string(argv[1]) + "/README.md";
  job.options.ratio = 0.25;
  std::cout << prunus::run_prune(job).at("parameters_removed") << '\n';
}
