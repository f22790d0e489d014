#include "prunus/job/model_sink.h"

#include <map>

#include <nlohmann/json.hpp>

#include "prunus/base/files.h"
#include "prunus/io/hf_directory.h"
#include "prunus/model/model_files.h"
#include "prunus/model/text_part.h"
#include "prunus/text/companion_tokenizer.h"

namespace prunus {

void write_side_files(const std::string& source_dir, const std::string& dir, const Model& model,
                      const ConfigWriter& config) {
  const SideFiles side(source_dir);
  const Json original = read_config(side.dir());
  const bool multimodal = text_part(original, source_dir + "/config.json").has_value();
  copy_companions(side.dir(), dir, multimodal ? Companions::OfText : Companions::All);
  const Json written = config ? config(original, model) : rewrite_config(original, model.config());
  write_file(dir + "/config.json", written.dump(2) + "\n");
  keep_stock_tokenizer(side.dir(), dir);
}

SafetensorsSink::SafetensorsSink(std::string source_dir, std::string dir, Config config)
    : source_dir_(std::move(source_dir)), dir_(std::move(dir)), config_(std::move(config)) {}

std::vector<const FileTensor*> SafetensorsSink::begin(const Model& model,
                                                      std::span<const FileTensor> tensors) {
  std::vector<TensorPlan> plans;
  std::map<std::string, const FileTensor*> by_name;
  for (const FileTensor& tensor : tensors) {
    plans.push_back({tensor.name, model.source().dtype(*tensor.parts[0]), tensor.shape});
    by_name[tensor.name] = &tensor;
  }
  writer_.emplace(dir_, std::move(plans));
  std::vector<const FileTensor*> order;
  for (const TensorPlan& plan : writer_->order()) order.push_back(by_name.at(plan.name));
  return order;
}

void SafetensorsSink::tensor(const FileTensor& tensor, const at::Tensor& value) {
  writer_->write(tensor.name, value);
}

void SafetensorsSink::finish(const Model& model) {
  writer_->finish();
  write_side_files(source_dir_, dir_, model, config_);
}

}  // namespace prunus
