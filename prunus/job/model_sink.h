#pragma once
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "prunus/base/json.h"
#include "prunus/io/checkpoint_writer.h"
#include "prunus/model/layout.h"
#include "prunus/model/model.h"

namespace prunus {

/// A form of file that a model is written in. write_model() (job/output.h) calls begin() once, then
/// tensor() for each tensor in the order that begin() gave, then finish() once. Which names, dtypes
/// and files the tensors get is the sink's to say: by a tensor's name, or by the roles of its parts
/// (parts[i]->spec->role).
class ModelSink {
 public:
  virtual ~ModelSink() = default;

  /// All tensors of `model`, none read yet. → the same in the order in which they are wanted, some
  /// several times where their parts lie apart in the file.
  /// Pointers are into `tensors`, which outlives the sink's work, as `model` does.
  /// Throws Unsupported where this form cannot hold the model; InvalidArgument.
  virtual std::vector<const FileTensor*> begin(const Model& model,
                                               std::span<const FileTensor> tensors) = 0;

  /// The next tensor. `value`: CPU, contiguous, finite, of tensor.shape, in the dtype of the
  /// model's source; not kept. Throws Io.
  virtual void tensor(const FileTensor& tensor, const at::Tensor& value) = 0;

  /// What is left to write: configuration, vocabulary, index. Throws Io.
  virtual void finish(const Model& model) = 0;
};

/// The config.json to write, from that of the source.
using ConfigWriter = std::function<Json(const Json& original, const Model& model)>;

/// What stands beside the weights of a Hugging Face directory: config.json as `config` makes it of
/// source_dir's (without one: rewrite_config()), and every other file of source_dir that is not a
/// weight. Throws Io.
void write_side_files(const std::string& source_dir, const std::string& dir, const Model& model,
                      const ConfigWriter& config);

/// A Hugging Face directory: safetensors in shards of at most 5 GB (io/checkpoint_writer.h),
/// config.json rewritten from `source_dir`'s, every other file of `source_dir` that is not a weight
/// copied. `dir` exists and is empty.
class SafetensorsSink : public ModelSink {
 public:
  using Config = ConfigWriter;

  /// Without `config`: rewrite_config().
  SafetensorsSink(std::string source_dir, std::string dir, Config config = {});

  std::vector<const FileTensor*> begin(const Model& model,
                                       std::span<const FileTensor> tensors) override;
  void tensor(const FileTensor& tensor, const at::Tensor& value) override;
  void finish(const Model& model) override;

 private:
  std::string source_dir_;
  std::string dir_;
  Config config_;
  std::optional<CheckpointWriter> writer_;
};

}  // namespace prunus
